from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.providers import built_in_names

PLUGIN = """
import msgspec
from gateway import Secret

class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Secret | None = None

class Plugin:
    def __init__(self, config): pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A directory with a plugin, and an environment without any provider's key."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_TOKEN", "_KEY", "_API_TOKEN")):
            monkeypatch.delenv(name)
    (tmp_path / "keeper.py").write_text(PLUGIN)
    before = os.umask(0o022)
    yield tmp_path
    os.umask(before)


def check(folder: Path, text: str, *, mode: int = 0o600) -> Result:
    file = folder / "weir.toml"
    file.write_text(f'state_dir = "{folder}/state"\n{text}')
    file.chmod(mode)
    return CliRunner().invoke(main, ["check", "--config", str(file)])


def lines(result: Result, kind: str) -> list[str]:
    found = [line for line in result.output.splitlines() if line.startswith(kind)]
    return [line.removeprefix(kind).lstrip() for line in found]


def test_a_good_configuration_is_ok(folder):
    result = check(folder, 'enabled = ["keeper.py"]\n')
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == f"{folder}/weir.toml: 1 plugins, ok"
    assert lines(result, "error") == lines(result, "warning") == []


def test_without_a_file_the_defaults_are_named(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WEIR_ENABLED", "[]")
    monkeypatch.setenv("WEIR_STATE_DIR", f"{folder}/state")
    result = CliRunner().invoke(main, ["check"])
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        0,
        "built-in defaults: 0 plugins, ok",
    )


def test_errors_of_plugins_and_providers_come_in_one_run(folder):
    text = """enabled = ["keeper.py", "nothing"]
[plugins.keeper]
kye = 1
[providers.nobody]
api_key = "env:X"
[providers.openai]
dialect = "klingon"
"""
    result = check(folder, text)
    assert result.exit_code == 78
    found = lines(result, "error")
    assert any(f'{folder}/weir.toml:2: enabled: no plugin "nothing"' in line for line in found)
    assert any(f"{folder}/weir.toml:5: [providers] nobody: missing" in line for line in found)
    assert any(f"{folder}/weir.toml:8: [providers.openai] dialect: " in line for line in found)
    assert " ok" not in result.output.splitlines()[-1]


def test_what_is_wrong_with_a_type_hides_nothing_else(folder):
    text = """enabled = ["nothing"]
[server]
prot = 1
[providers.openai]
dialect = "klingon"
"""
    result = check(folder, text)
    assert result.exit_code == 78
    found = lines(result, "error")
    assert len(found) == 3
    assert found[0] == f"{folder}/weir.toml:4: [server] prot: no such key; did you mean port?"
    assert any(f'{folder}/weir.toml:2: enabled: no plugin "nothing"' in line for line in found)
    assert any(f"{folder}/weir.toml:6: [providers.openai] dialect: " in line for line in found)


def test_a_missing_key_is_listed_and_no_error(folder):
    text = """enabled = ["keeper.py"]
[plugins.keeper]
key = "env:KEEPER"
[providers.openai]
api_key = "file:/nowhere/key"
"""
    result = check(folder, text)
    assert result.exit_code == 0
    assert lines(result, "no key")[:2] == [
        "providers.openai.api_key: file:/nowhere/key is unreadable: no such file or directory",
        "plugins.keeper.key: env:KEEPER is not set",
    ]


def test_the_usual_variables_of_the_other_providers_are_told_in_one_line(folder, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-live-0123456789")
    result = check(folder, "enabled = []\n")
    (line,) = lines(result, "no key")
    assert line.startswith("callers bring their own for anthropic (env:ANTHROPIC_API_KEY), ")
    assert "openai (" not in line.replace("azure-openai (", "")
    assert {name.split(" (")[0].strip() for name in line.split(" for ")[1].split(", ")} < set(
        built_in_names()
    )
    assert "sk-live" not in result.output


def test_an_inline_secret_is_a_warning_and_never_shown(folder):
    text = """enabled = ["keeper.py"]
[plugins.keeper]
key = "sk-live-one"
[providers.openai]
api_key = "sk-live-two"
"""
    result = check(folder, text)
    assert result.exit_code == 0
    assert [line.partition(": the")[0] for line in lines(result, "warning")] == [
        f"{folder}/weir.toml:6: [providers.openai] api_key",
        f"{folder}/weir.toml:4: [plugins.keeper] key",
    ]
    assert "sk-live" not in result.output


def test_a_file_that_holds_a_secret_and_lets_others_in_is_a_warning(folder):
    key = folder / "key"
    key.write_text("sk-live-three")
    key.chmod(0o640)
    text = f"""enabled = ["keeper.py"]
[plugins.keeper]
key = "sk-live-one"
[providers.openai]
api_key = "file:{key}"
"""
    state = folder / "state"
    state.mkdir(mode=0o755)
    (state / "admin.token").write_text("the-admin-token")
    (state / "admin.token").chmod(0o644)
    found = lines(check(folder, text, mode=0o644), "warning")[1:]
    assert found == [
        f"{state}: mode 0755 lets others in; chmod go= {state}",
        f"{key}: mode 0640 lets others in; chmod go= {key}",
        f"{folder}/weir.toml: mode 0644 lets others in; chmod go= {folder}/weir.toml",
        f"{state}/admin.token: mode 0644 lets others in; chmod go= {state}/admin.token",
    ]


def test_a_private_key_that_lets_others_in_is_a_warning(folder):
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    key = folder / "key.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(key))
    key.chmod(0o644)
    text = f'enabled = []\n[providers.openai]\nclient_cert = "{key}"\nclient_key = "{key}"\n'
    result = check(folder, text)
    assert result.exit_code == 0
    assert lines(result, "warning") == [f"{key}: mode 0644 lets others in; chmod go= {key}"]


def test_a_config_file_without_secrets_may_be_read_by_all(folder):
    assert lines(check(folder, "enabled = []\n", mode=0o644), "warning") == []


def test_warnings_of_the_configuration_are_shown(folder):
    result = check(folder, 'enabled = []\n[server]\nhost = "0.0.0.0"\n')
    assert result.exit_code == 0
    (line,) = lines(result, "warning")
    assert line.startswith(f"{folder}/weir.toml:4: [server] host: 0.0.0.0 is not a loopback")


CHECKING = """
import msgspec

class Config(msgspec.Struct, frozen=True):
    size: int = 1

class Plugin:
    def __init__(self, config): pass

    def check(self, config, state):
        if config.size > 1:
            yield f"size {config.size} is too large for this machine"
        if config.size > 2:
            raise RuntimeError("lost")
"""


def test_a_plugin_may_check_what_its_config_cannot_say(folder):
    (folder / "keeper.py").write_text(CHECKING)
    text = 'enabled = ["keeper.py"]\n[plugins.keeper]\nsize = {}\n'

    assert check(folder, text.format(1)).exit_code == 0
    result = check(folder, text.format(2))
    assert result.exit_code == 78
    assert lines(result, "error") == [
        f"{folder}/weir.toml:3: [plugins] keeper: size 2 is too large for this machine"
    ]
    result = check(folder, text.format(3))
    assert result.exit_code == 78
    assert "its check failed: RuntimeError('lost')" in result.output


def test_json_tells_each_finding_with_its_kind(folder):
    text = 'enabled = ["keeper.py"]\n[plugins.keeper]\nkey = "sk-live-one"\n'
    result = CliRunner().invoke(main, ["check", "--json", "--config", written(folder, text)])
    found = json.loads(result.output)
    assert (result.exit_code, found["ok"], found["file"]) == (0, True, f"{folder}/weir.toml")
    assert {one["kind"] for one in found["found"]} == {"warning", "no key"}
    assert "sk-live" not in result.output

    text = "[server]\nprot = 1\n[limits]\nattempts_max = 0\n"
    result = CliRunner().invoke(main, ["check", "--json", "--config", written(folder, text)])
    found = json.loads(result.output)
    assert (result.exit_code, found["ok"]) == (78, False)
    kinds = [one["kind"] for one in found["found"]]
    assert (kinds[:2], kinds.count("error")) == (["error", "error"], 2)
    assert "did you mean port?" in found["found"][0]["text"]


def written(folder: Path, text: str) -> str:
    file = folder / "weir.toml"
    file.write_text(f'state_dir = "{folder}/state"\n{text}')
    return str(file)
