from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.registry import bundled, enabled, table_types
from gateway.convert import ConfigErrors
from gateway.plugins import NoConfig, discover
from gateway.settings import Loaded, load

PLUGIN = "class Plugin:\n    def __init__(self, config): pass\n"


def loaded(folder: Path, text: str) -> Loaded:
    (folder / "weir.toml").write_text(text)
    return load(str(folder / "weir.toml"), {})


def test_paths_start_from_the_configurations_directory(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "mine.py").write_text(PLUGIN)
    registry = enabled(loaded(tmp_path, 'enabled = ["mine.py"]\n'))
    assert [plugin.name for plugin in registry.plugins] == ["mine"]


def test_problems_come_with_their_places(tmp_path):
    with pytest.raises(ConfigErrors) as caught:
        enabled(loaded(tmp_path, '\nenabled = ["none.py"]\n'))
    assert [problem.place for problem in caught.value.problems] == [f"{tmp_path}/weir.toml:2"]


def test_every_bundled_plugin_builds_with_its_defaults():
    names = [name for name, source in discover().items() if source == "bundled"]
    assert [plugin.name for plugin in bundled()] == names
    assert all(plugin.instance is not None for plugin in bundled())


def test_the_types_of_tables_are_those_of_bundled_and_enabled_plugins(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    types = table_types(loaded(tmp_path, 'enabled = ["mine.py"]\n'))
    assert set(types) == {"mine", *(plugin.name for plugin in bundled())}
    assert types["mine"] is NoConfig
