from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.cli.registry import bundled
from gateway.providers import built_in_names
from tests.tidy.source import ROOT

PLUGIN = """
import msgspec
from gateway import Duration, Secret

class Deep(msgspec.Struct, frozen=True):
    size: int = 1
    word: str = "x"

class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Secret | None = None
    every: Duration = Duration(5_000_000_000)
    deep: Deep = Deep()

class Plugin:
    def __init__(self, config): pass
"""
CONFIG = """enabled = ["keeper.py"]
[server]
port = 9000
[providers.openai]
api_key = "sk-live-inline"
[providers.groq]
api_key = "env:GROQ_API_KEY"
[plugins.keeper]
key = "sk-live-plugin"
deep.size = 2
[plugins.mock]
[gateways.staging]
hosts = ["a.example"]
[gateways.staging.plugins.keeper]
every = "1m"
"""


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "keeper.py").write_text(PLUGIN)
    file = tmp_path / "weir.toml"
    file.write_text(CONFIG)
    return file


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments])


def shown(file: Path) -> dict[str, dict[str, Any]]:
    result = run("show", "--json", "--config", str(file))
    assert result.exit_code == 0
    found: dict[str, dict[str, Any]] = json.loads(result.output)
    return found


def test_show_gives_each_value_with_its_source(file, monkeypatch):
    monkeypatch.setenv("WEIR_ADMIN__PORT", "7")
    found = shown(file)
    assert found["server.port"] == {"value": 9000, "from": f"file {file}:3"}
    assert found["admin.port"] == {"value": 7, "from": "env WEIR_ADMIN__PORT"}
    assert found["server.drain_timeout"] == {"value": "30s", "from": "default"}
    assert found["limits.body_bytes_max"] == {"value": "1GiB", "from": "default"}
    assert found["server.allowed_hosts"] == {"value": [], "from": "default"}
    assert found["gateways.staging.hosts"] == {"value": ["a.example"], "from": f"file {file}:13"}


def test_plugins_tables_are_shown_with_their_defaults(file):
    found = shown(file)
    assert found["plugins.keeper.every"] == {"value": "5s", "from": "default"}
    assert found["plugins.keeper.deep.size"] == {"value": 2, "from": f"file {file}:10"}
    assert found["plugins.keeper.deep.word"] == {"value": "x", "from": "default"}
    assert found["gateways.staging.plugins.keeper.every"] == {
        "value": "1m",
        "from": f"file {file}:15",
    }


def test_secrets_are_masked_and_references_shown(file, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-live-env")
    found = shown(file)
    assert found["providers.openai.api_key"]["value"] == "***"
    assert found["providers.groq.api_key"]["value"] == "env:GROQ_API_KEY"
    assert found["plugins.keeper.key"]["value"] == "***"
    for arguments in (["show"], ["show", "--json"]):
        assert "-live-" not in run(*arguments, "--config", str(file)).output


def test_a_table_of_a_plugin_that_nobody_knows_shows_no_value(tmp_path):
    (tmp_path / "other.py").write_text(PLUGIN)
    file = tmp_path / "weir.toml"
    file.write_text('enabled = []\n[plugins.other]\nkey = "sk-live-other"\n')
    result = run("show", "--json", "--config", str(file))
    assert "sk-live" not in result.output
    assert result.exit_code == 78


def test_as_text_it_is_toml_with_the_source_beside_it(file):
    result = run("show", "--config", str(file))
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert {line.index(" # ") for line in lines if line.index(" # ") <= 60} == {
        min(line.index(" # ") for line in lines)
    }
    document = tomllib.loads(result.output)
    assert document["server"]["port"] == 9000
    assert document["plugins"]["keeper"] == {
        "key": "***",
        "every": "5s",
        "deep": {"size": 2, "word": "x"},
    }
    assert "base_url" not in document["providers"]["openai"]


def test_what_is_shown_can_be_loaded_again(file, tmp_path):
    again = tmp_path / "again.toml"
    again.write_text(run("show", "--config", str(file)).output)
    before, after = shown(file), shown(again)
    assert {key: one["value"] for key, one in after.items()} == {
        key: one["value"] for key, one in before.items()
    }


def test_the_schema_is_json_with_every_bundled_plugin_and_provider():
    result = run("schema")
    assert result.exit_code == 0
    schema = json.loads(result.output)
    properties = schema["$defs"]["Config"]["properties"]
    assert set(properties["plugins"]["properties"]) == {plugin.name for plugin in bundled()}
    assert tuple(properties["providers"]["properties"]) == built_in_names()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_diff_gives_what_differs_with_its_default(file, monkeypatch):
    monkeypatch.setenv("WEIR_ADMIN__PORT", "8081")  # the default, and so no difference
    monkeypatch.setenv("WEIR_LIMITS__ATTEMPTS_MAX", "3")
    result = run("diff", "--json", "--config", str(file))
    found = json.loads(result.output)
    assert result.exit_code == 0
    assert found["server.port"] == {"value": 9000, "default": 8080, "from": f"file {file}:3"}
    assert found["limits.attempts_max"]["from"] == "env WEIR_LIMITS__ATTEMPTS_MAX"
    assert found["plugins.keeper.deep.size"] == {
        "value": 2,
        "default": 1,
        "from": f"file {file}:10",
    }
    assert set(found) == {
        "enabled",
        "server.port",
        "limits.attempts_max",
        "providers.openai.api_key",
        "providers.groq.api_key",
        "plugins.keeper.key",
        "plugins.keeper.deep.size",
        "gateways.staging.hosts",
        "gateways.staging.plugins.keeper.every",
    }


def test_diff_shows_no_secret_and_is_toml(file):
    result = run("diff", "--config", str(file))
    assert "-live-" not in result.output
    assert "-live-" not in run("diff", "--json", "--config", str(file)).output
    assert tomllib.loads(result.output)["server"] == {"port": 9000}
    (line,) = [line for line in result.output.splitlines() if line.startswith("server.port")]
    assert line.endswith(f"# default 8080; file {file}:3")


def test_without_a_difference_diff_is_empty(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text("[server]\nport = 8080\n")
    assert run("diff", "--config", str(file)).output == ""
    assert json.loads(run("diff", "--json", "--config", str(file)).output) == {}


def linted(folder: Path, text: str) -> tuple[int, str]:
    """What an editor's checker says of a configuration, by the schema that we print."""
    (folder / "docs").mkdir()
    (folder / "docs" / "config.schema.json").write_text(run("schema").output)
    (folder / "config.toml").write_text(text)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("tombi")), "lint", "--offline", "config.toml"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_an_editor_accepts_the_config_toml_of_the_house(tmp_path):
    text = (ROOT / "config.toml").read_text()
    assert text.startswith("#:schema ./docs/config.schema.json\n")
    code, said = linted(tmp_path, text)
    assert code == 0, said


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("[server]\nprot = 1\n", '"prot" is not allowed'),
        ('[server]\nport = "x"\n', "Integer"),
        ('[limits]\nheader_timeout = "5 parsecs"\n', "5 parsecs"),
        ('[log]\nlevel = "loud"\n', "loud"),
        ("[plugins.access_log]\none_inn = 1\n", '"one_inn" is not allowed'),
    ],
)
def test_an_editor_sees_a_mistake(tmp_path, mistake, words):
    code, said = linted(tmp_path, f"#:schema ./docs/config.schema.json\n{mistake}")
    assert code == 1
    assert words in said
