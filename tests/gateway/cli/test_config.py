from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.cli.registry import bundled
from gateway.providers import built_in_names

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
