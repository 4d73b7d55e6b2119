"""`weir plugins`."""

from __future__ import annotations

import os
from typing import Any

import click

from gateway import settings
from gateway.cli import registry
from gateway.cli.text import GAP, config_option, json_option, say, say_json, say_rows
from gateway.plugins import LoadedPlugin, discover
from gateway.schema import keys


@click.command("plugins")
@config_option
@json_option
def command(path: str | None, as_json: bool) -> None:
    """List the enabled plugins, then the bundled ones that are off, then other names at hand."""
    loaded = settings.load(path, os.environ)
    on = registry.enabled(loaded).plugins
    names = {plugin.name for plugin in on}
    off = [plugin for plugin in registry.bundled() if plugin.name not in names]
    if as_json:
        say_json([*(_facts(p, is_on=True) for p in on), *(_facts(p, is_on=False) for p in off)])
        return
    for plugin in on:
        _describe(plugin, "")
    for plugin in off:
        _describe(plugin, " (off)")
    known = names | {plugin.name for plugin in off}
    for name, source in discover().items():
        if name not in known:
            say(f"{name} (off){GAP}{source}")


def _describe(plugin: LoadedPlugin, state: str) -> None:
    say(f"{plugin.name}{state}{GAP}{plugin.summary}")
    facts = [
        ("source", plugin.source),
        ("hooks", ", ".join(plugin.hooks) or "none"),
        ("reads", plugin.reads or "nothing of the body"),
    ]
    if "limit" in plugin.hooks:
        facts.append(("fails", plugin.fails))
    say_rows(facts, GAP)
    table = [
        (f"[plugins.{plugin.name}] {key.name}", f"{key.meaning} Default: {key.default or 'none'}")
        for key in keys(plugin.config_type)
    ]
    say_rows(table, GAP)
    say("")


def _facts(plugin: LoadedPlugin, *, is_on: bool) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "enabled": is_on,
        "source": plugin.source,
        "summary": plugin.summary,
        "hooks": plugin.hooks,
        "reads": plugin.reads,
        "fails": plugin.fails,
        "config": [
            {"key": k.name, "wanted": k.wanted, "default": k.default or None, "meaning": k.meaning}
            for k in keys(plugin.config_type)
        ],
    }
