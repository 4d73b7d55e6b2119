"""Other people's proxies, each in a folder of its own in the cache of the bench.

A lock file beside this module names every package with its hash (pip, npm), or the pin names a
series of Debian's, whose packages are unpacked and not installed. Nothing is built and no script of
a package runs. What was tried leaves a note: the lock file's digest where it went well, the reason
where it did not, so that a comparison can say why somebody is missing.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import orjson

from bench.peers.kinds import ROOT

CACHE = ROOT / "bench" / ".cache" / "peers"
LOCKS = Path(__file__).parent / "locks"
UNPACKED = "root"
STAMP = ".installed"
FAILED = ".failed"
STEP_TIMEOUT_S = 900.0
# Of a failure: enough for what pip says of a hash, and it still reads as a sentence.
LINES_TOLD = 5
NPM_FILES = ("package.json", "package-lock.json", ".npmrc")
# `Inst haproxy [2.6.12-1] (2.6.12-1+deb12u4 Debian:12.15/stable [amd64])`, the second where another
# version is there already.
PLANNED = re.compile(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", re.MULTILINE)

How = Literal["pip", "npm", "debian"]


class InstallError(Exception):
    """A peer cannot be installed; the text says who and why."""


class Package(msgspec.Struct, frozen=True):
    """What to install and how. `pin` is for Debian, the others have lock files."""

    name: str
    how: How
    pin: str = ""
    cache: Path = CACHE
    locks: Path = LOCKS

    @property
    def folder(self) -> Path:
        return self.cache / self.name

    @property
    def lock(self) -> Path:
        if self.how == "npm":
            return self.locks / self.name / "package-lock.json"
        return self.locks / f"{self.name}.lock"

    def digest(self) -> str:
        """Differs when what would be installed differs; a virtual environment knows one Python."""
        what = self.pin.encode() if self.how == "debian" else self.lock.read_bytes()
        python = sys.version if self.how == "pip" else ""
        return hashlib.sha256(what + python.encode()).hexdigest()

    def missing(self) -> str:
        """Why it cannot be used; empty if it can."""
        way_out = f"python -m bench peers install {self.name}"
        if (self.folder / STAMP).exists():
            if (self.folder / STAMP).read_text() == self.digest():
                return ""
            return f"what is installed is not what is locked now; run {way_out}"
        if (self.folder / FAILED).exists():
            return f"it cannot be installed here: {(self.folder / FAILED).read_text()}"
        return f"it is not installed; run {way_out}"

    def install(self) -> None:
        """Begin anew, unless it is there. Raises InstallError, and leaves the reason for
        `missing`.
        """
        if not self.missing():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            WAYS[self.how](self)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            (self.folder / FAILED).write_text(str(error))
            raise InstallError(f"it cannot be installed here: {error}") from error
        (self.folder / STAMP).write_text(self.digest())


def pinned(package: Package) -> str:
    """What is locked, as a reader knows it: `litellm 1.2.3`."""
    if package.how == "npm":
        wanted = orjson.loads((package.lock.parent / "package.json").read_bytes())["dependencies"]
        return ", ".join(f"{name} {version}" for name, version in wanted.items())
    if package.how == "debian":
        return package.pin.replace("=", " ")
    lines = (package.lock.with_suffix(".in")).read_text().splitlines()
    wanted = [line for line in lines if "==" in line and not line.startswith("#")]
    return ", ".join(re.sub(r"\[.*?\]", "", line).replace("==", " ") for line in wanted)


def by_pip(package: Package) -> None:
    python = package.folder / "bin" / "python"
    step([sys.executable, "-m", "venv", str(package.folder)])
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    # The lock file is whole, so nothing is resolved; and a wheel runs nothing when it is installed.
    exact = ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    step([str(python), "-m", "pip", *quiet, "install", *exact, "-r", str(package.lock)])


def by_npm(package: Package) -> None:
    for name in NPM_FILES:
        shutil.copy(package.lock.parent / name, package.folder / name)
    step(["npm", "ci", "--ignore-scripts", "--loglevel=error"], package.folder)


def by_apt(package: Package) -> None:
    """Ask apt what it would install, which needs no rights, then download and unpack just that.

    With `--reinstall` it names the package too where the system has it already.
    """
    plan = ["apt-get", "--simulate", "--no-install-recommends", "--reinstall"]
    found = PLANNED.findall(step([*plan, "install", package.pin]))
    if not found:
        raise ValueError(f"apt-get knows no {package.pin}; run apt-get update, or change the pin")
    wanted = [f"{name}={version}" for name, version in found]
    step(["apt-get", "--quiet", "download", *wanted], package.folder)
    for archive in sorted(package.folder.glob("*.deb")):
        step(["dpkg-deb", "--extract", str(archive), str(package.folder / UNPACKED)])
        archive.unlink()


WAYS: dict[How, Callable[[Package], None]] = {"pip": by_pip, "npm": by_npm, "debian": by_apt}


def step(command: list[str], folder: Path | None = None) -> str:
    """One command to its end; gives what it printed, raises ValueError with its last words."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise ValueError(f"{command[0]} is not installed") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        words = " ".join(" ".join(said[-LINES_TOLD:]).split())
        raise ValueError(f"{Path(command[0]).name} ended with {done.returncode}: {words}")
    return done.stdout
