"""The door for commands that plugins bring, as `gateway` is the one for hooks.

`plugins/NAME/command_WORD.py` is `weir WORD`: a module with a click command named `command`, whose
docstring's first line is what `weir --help` says. An installed plugin names its module as an entry
point of the group `weir.commands`. Nothing is imported before the word is typed.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from gateway import plugins, settings
from gateway.cli.health import admin_url
from gateway.cli.text import DURATION, aligned, config_option, json_option, say, say_json, say_rows
from gateway.convert import ConfigErrors, convert_table

if TYPE_CHECKING:
    from gateway.config import Config

__all__ = [
    "DURATION",
    "admin_url",
    "aligned",
    "config_option",
    "in_force",
    "json_option",
    "say",
    "say_json",
    "say_rows",
]


def in_force(path: str | None, plugin: str) -> tuple[Config, Any]:
    """The configuration, and a plugin's own table in it, enabled or not. Raises `StartError`."""
    loaded = settings.load(path, os.environ)
    module = importlib.import_module(f"{plugins.BUNDLED}.{plugin}")
    table = loaded.config.table(plugin, None)
    value, problems = convert_table(module.Config, table, where=("plugins", plugin))
    if problems:
        raise loaded.placed(ConfigErrors(problems))
    return loaded.config, value
