"""Teams are managed by commands as keys are."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration without a gateway."""
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    return file


def weir(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(config)])


def test_a_team_is_made_shown_changed_and_deleted(config):
    options = ("--name", "search", "--rate", "9/min", "--provider-key", "openai=env:TEAM_KEY")
    made = orjson.loads(weir(config, "teams", "create", *options, "--json").stdout)
    assert made["provider_keys"] == {"openai": "env:TEAM_KEY"}
    assert made["rate_limits"] == ["9/min"]
    assert "env:TEAM_KEY" in weir(config, "teams", "show", "search").stdout
    assert "search" in weir(config, "teams", "list").stdout
    done = weir(config, "teams", "update", "search", "--clear", "rate_limits", "--json")
    assert orjson.loads(done.stdout)["rate_limits"] == []
    assert weir(config, "keys", "create", "--name", "a", "--team", "search").exit_code == 0
    assert "has 1 keys" in weir(config, "teams", "delete", "search").stderr
    (key,) = orjson.loads(weir(config, "keys", "list", "--json").stdout)["keys"]
    assert weir(config, "keys", "delete", key["id"]).exit_code == 0
    assert weir(config, "teams", "delete", "search").stdout == "search is deleted\n"


def test_a_provider_key_itself_is_refused(config):
    done = weir(config, "teams", "create", "--name", "a", "--provider-key", "openai=sk-12345678")
    assert done.exit_code == 1
    assert "never the key" in done.stderr
    assert "sk-12345678" not in done.stderr


def test_lists_come_in_pages(config):
    for name in ("a", "b", "c"):
        weir(config, "teams", "create", "--name", name)
    page = weir(config, "teams", "list", "--limit", "2")
    assert "--cursor b" in page.stderr
    rest = weir(config, "teams", "list", "--cursor", "b", "--json")
    assert [team["name"] for team in orjson.loads(rest.stdout)["teams"]] == ["c"]
