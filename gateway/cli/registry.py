"""The plugins as the commands see them: those in force, and those that could be."""

from __future__ import annotations

import msgspec

from gateway import plugins
from gateway.config import Config
from gateway.convert import ConfigErrors
from gateway.plugins import LoadedPlugin, Registry
from gateway.settings import Loaded


def enabled(loaded: Loaded) -> Registry:
    """The plugins of this configuration. `ConfigErrors` with places."""
    try:
        return plugins.load(loaded.config, loaded.base)
    except ConfigErrors as errors:
        raise loaded.placed(errors) from None


def bundled() -> tuple[LoadedPlugin, ...]:
    """Every plugin that comes with the gateway, with the defaults of its table, by name."""
    names = tuple(name for name, source in plugins.discover().items() if source == "bundled")
    return plugins.load(Config(enabled=names), ordered=False).plugins


def table_types(loaded: Loaded) -> dict[str, type[msgspec.Struct]]:
    """The config struct of every bundled plugin and of every enabled one."""
    known = (*bundled(), *enabled(loaded).plugins)
    return {plugin.name: plugin.config_type for plugin in known}
