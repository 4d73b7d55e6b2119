from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import orjson
import pytest

from bench.peers.field import FIELD
from bench.peers.install import LOCKS, PLANNED, STAMP, InstallError, Package, pinned, step

# A requirement, its marker, and at least one hash.
LOCKED = re.compile(
    r"^([\w.-]+)==\S+(?: ; [^\\\n]+)? \\\n(?:    --hash=sha256:[0-9a-f]{64}.*\n?)+", re.MULTILINE
)


def wheel(folder: Path) -> Path:
    """A package of one module, made by hand (the binary distribution format, PEP 427)."""
    files = {
        "tiny.py": b"HERE = True\n",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
    }
    record = "".join(f"{name},sha256={short(data)},{len(data)}\n" for name, data in files.items())
    files["tiny-1.0.dist-info/RECORD"] = f"{record}tiny-1.0.dist-info/RECORD,,\n".encode()
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def short(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def package(folder: Path, digest: str = "") -> Package:
    path = wheel(folder)
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "tiny.lock").write_text(f"tiny @ {path.as_uri()} --hash=sha256:{digest}\n")
    return Package("tiny", "pip", cache=folder / "cache", locks=folder)


def test_what_is_locked_is_installed_into_the_cache_and_known_until_the_lock_changes(tmp_path):
    tiny = package(tmp_path)
    assert tiny.missing() == "it is not installed; run python -m bench peers install tiny"
    tiny.install()
    assert tiny.missing() == ""
    python = tiny.folder / "bin" / "python"
    code = "import tiny; print(tiny.HERE)"
    assert subprocess.check_output([python, "-c", code], text=True) == "True\n"
    before = (tiny.folder / STAMP).stat().st_mtime_ns
    tiny.install()
    assert (tiny.folder / STAMP).stat().st_mtime_ns == before
    tiny.lock.write_text(f"# newer\n{tiny.lock.read_text()}")
    assert "not what is locked now; run python -m bench peers install tiny" in tiny.missing()


def test_a_package_that_is_not_the_locked_one_is_refused_and_the_reason_kept(tmp_path):
    tiny = package(tmp_path, "0" * 64)
    with pytest.raises(InstallError, match=r"installed here: .* Expected sha256 0{64}"):
        tiny.install()
    assert tiny.missing().startswith("it cannot be installed here: python ended with 1: ")
    assert not (tiny.folder / STAMP).exists()


def test_a_series_that_apt_does_not_know_is_named(tmp_path):
    nothing = Package("nothing", "debian", "no-such-package-anywhere=1.*", cache=tmp_path)
    with pytest.raises(InstallError, match=r"no-such-package-anywhere|apt-get is not installed"):
        nothing.install()
    assert "cannot be installed here" in nothing.missing()


def test_what_apt_would_do_is_read():
    said = (
        "Reading package lists...\n"
        "Inst liblua5.3-0 (5.3.6-2 Debian:12.5/stable [amd64])\n"
        "Inst haproxy [2.6.12-1] (2.6.12-1+deb12u4 Debian-Security:12/stable [amd64])\n"
        "Conf haproxy (2.6.12-1+deb12u4 Debian-Security:12/stable [amd64])\n"
    )
    assert PLANNED.findall(said) == [("liblua5.3-0", "5.3.6-2"), ("haproxy", "2.6.12-1+deb12u4")]


def test_a_step_that_fails_says_which_and_its_last_words():
    code = "import sys; print('\\n'.join('123456'), file=sys.stderr); sys.exit(7)"
    with pytest.raises(ValueError, match=r"ended with 7: 2 3 4 5 6$"):
        step([sys.executable, "-c", code])
    with pytest.raises(ValueError, match=r"^no-such-tool is not installed$"):
        step(["no-such-tool"])


@pytest.mark.parametrize("name", ["envoy", "litellm", "tensorzero"])
def test_each_package_of_a_lock_file_has_its_hashes_and_the_pin_is_among_them(name):
    text = (LOCKS / f"{name}.lock").read_text()
    assert LOCKED.sub("", text) == ""
    product, _, version = pinned(Package(name, "pip")).partition(" ")
    assert f"\n{product}=={version} " in f"\n{text}"


def test_each_package_of_portkeys_lock_file_has_its_hash_and_no_address():
    packages = orjson.loads((LOCKS / "portkey" / "package-lock.json").read_bytes())["packages"]
    del packages[""]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())
    product, version = pinned(Package("portkey", "npm")).split(" ")
    assert packages[f"node_modules/{product}"]["version"] == version


def test_what_is_not_ours_has_a_way_in():
    assert [name for name, kind in FIELD.items() if kind.install is None] == ["aiohttp"]
