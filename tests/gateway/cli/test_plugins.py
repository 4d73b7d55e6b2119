from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.plugins import discover

PLUGIN = '''"""Counts what passes.

More words.
"""
import msgspec
from gateway import Duration, Secret, hookimpl

class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings.

    every: How often it tells.
    key: What opens it.
    """
    every: Duration = Duration(5_000_000_000)
    key: Secret | None = None

class Plugin:
    reads = "json"
    fails = "open"

    def __init__(self, config): pass

    @hookimpl
    async def limit(self, exchange): pass

    @hookimpl
    def account(self, exchange): pass
'''


@pytest.fixture
def config(tmp_path) -> Path:
    (tmp_path / "counts.py").write_text(PLUGIN)
    file = tmp_path / "weir.toml"
    file.write_text('enabled = ["counts.py"]\n')
    return file


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["plugins", "--config", str(config), *arguments])


def found(config: Path) -> dict[str, Any]:
    return {plugin["name"]: plugin for plugin in json.loads(run(config, "--json").output)}


def test_an_enabled_plugin_is_described(config):
    result = run(config)
    assert result.exit_code == 0
    text = f"""counts  Counts what passes.
  source  {config.parent}/counts.py
  hooks   limit, account
  reads   json
  fails   open
  [plugins.counts] every  How often it tells. Default: "5s"
  [plugins.counts] key    What opens it. Default: none
"""
    assert result.output.startswith(text)


def test_as_json_it_is_the_same_for_scripts(config):
    assert found(config)["counts"] == {
        "name": "counts",
        "enabled": True,
        "source": f"{config.parent}/counts.py",
        "summary": "Counts what passes.",
        "hooks": ["limit", "account"],
        "reads": "json",
        "fails": "open",
        "config": [
            {
                "key": "every",
                "wanted": 'a duration such as "5s" or "250ms"',
                "default": '"5s"',
                "meaning": "How often it tells.",
            },
            {
                "key": "key",
                "wanted": 'a reference such as "env:NAME" or "file:/path"',
                "default": None,
                "meaning": "What opens it.",
            },
        ],
    }


def test_bundled_plugins_that_are_off_are_listed_as_off(config):
    bundled = {name for name, source in discover().items() if source == "bundled"}
    off = {name for name, plugin in found(config).items() if not plugin["enabled"]}
    assert off == bundled
    output = run(config).output
    for name in bundled:
        assert f"\n{name} (off)  " in output


def test_a_plugin_that_does_not_exist_is_a_problem_of_the_configuration(config):
    config.write_text('\nenabled = ["cuonts.py", "nothing"]\n')
    result = run(config)
    assert result.exit_code == 78
    first, second = result.stderr.splitlines()
    assert first.startswith(f'{config}:2: enabled: no plugin "cuonts.py"')
    assert second.startswith(f'{config}:2: enabled: no plugin "nothing"')


def test_a_problem_in_a_plugins_table_has_its_line(config):
    config.write_text('enabled = ["counts.py"]\n[plugins.counts]\nevrey = "5s"\nkey = 3\n')
    result = run(config)
    assert (result.exit_code, result.stderr.splitlines()) == (
        78,
        [
            f"{config}:3: [plugins.counts] evrey: no such key; did you mean every?",
            (
                f'{config}:4: [plugins.counts] key: wanted a reference such as "env:NAME" or '
                '"file:/path", given a value of another kind'
            ),
        ],
    )
