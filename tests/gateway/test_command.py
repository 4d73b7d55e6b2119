"""A plugin's command gets the configuration in force and its own table of it."""

from __future__ import annotations

import pytest

from gateway import StartError
from gateway.command import in_force


def test_a_table_is_read_whether_the_plugin_is_enabled_or_not(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('enabled = []\n[plugins.ledger]\nkeep = "7d"\n')
    config, table = in_force(str(file), "ledger")
    assert config.enabled == ()
    assert table.keep == 7 * 86_400 * 1_000_000_000
    assert table.store == "sqlite"


def test_a_variable_counts(tmp_path, monkeypatch):
    file = tmp_path / "config.toml"
    file.write_text("")
    monkeypatch.setenv("WEIR_PLUGINS__LEDGER__STORE", "postgresql://me@there/x")
    assert in_force(str(file), "ledger")[1].store == "postgresql://me@there/x"


def test_a_table_that_is_wrong_says_where(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[plugins.ledger]\nstoer = "sqlite"\n')
    with pytest.raises(StartError) as fault:
        in_force(str(file), "ledger")
    assert "store" in str(fault.value)
    assert "config.toml:2" in str(fault.value)
