"""`weir config show`, `weir config diff` and `weir config schema`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import click
import msgspec
import orjson

from gateway import settings
from gateway.cli.registry import bundled, table_types
from gateway.cli.text import config_option, json_option, say_json, say_rows
from gateway.config import Config, ProviderConfig
from gateway.convert import convert_table
from gateway.places import KeyPath
from gateway.providers import built_in_names
from gateway.schema import default_of, schema, written
from gateway.secret import MASK, Secret
from gateway.units import Duration, Size


@click.group("config")
def command() -> None:
    """Show the configuration in force, what differs from the defaults, or its JSON Schema."""


@command.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of config.toml, bundled plugins and providers included."""
    types = {plugin.name: plugin.config_type for plugin in bundled()}
    say_json(schema(types, built_in_names()))


@command.command("show")
@config_option
@json_option
def show(path: str | None, as_json: bool) -> None:
    """Print every value in force and where it comes from. Secrets are masked."""
    loaded = settings.load(path, os.environ)
    rows = list(effective(loaded))
    if as_json:
        say_json({key: {"value": _plain(value), "from": source} for key, value, source in rows})
        return
    texts = ((key, written(value), source) for key, value, source in rows)
    say_rows((f"{key} = {text}", f"# {source}") for key, text, source in texts if text)


@command.command("diff")
@config_option
@json_option
def diff(path: str | None, as_json: bool) -> None:
    """Print what differs from the defaults, and where it comes from. Secrets are masked."""
    loaded = settings.load(path, os.environ)
    usual = dict(_defaults(loaded))
    rows = [
        (key, value, usual.get(key), source)
        for key, value, source in effective(loaded)
        if source != "default" and (key not in usual or value != usual[key])
    ]
    if as_json:
        document = {}
        for key, value, default, source in rows:
            document[key] = {"value": _plain(value), "default": _plain(default), "from": source}
        say_json(document)
        return
    texts = []
    for key, value, default, source in rows:
        was = f"default {written(default)}; " if written(default) else ""
        texts.append((f"{key} = {written(value)}", f"# {was}{source}"))
    say_rows(texts)


def _defaults(loaded: settings.Loaded) -> Iterator[tuple[str, Any]]:
    """The default of each key that may be in force; a provider's are the same for all."""
    document = {field: getattr(Config(), field) for field in Config.__struct_fields__}
    types = table_types(loaded)
    document["plugins"] = {name: _defaulted(type_) for name, type_ in types.items()}
    document["providers"] = dict.fromkeys(loaded.config.providers, ProviderConfig())
    for path, value in _values(document):
        yield ".".join(str(part) for part in path), value


def _defaulted(type_: type[msgspec.Struct]) -> dict[str, Any]:
    """The keys of a plugin's table that have a default."""
    fields = msgspec.structs.fields(type_)
    return {field.encode_name: default_of(field) for field in fields if not field.required}


def effective(loaded: settings.Loaded) -> Iterator[tuple[str, Any, str]]:
    """Each key, its value and its source, with the defaults of the plugins' tables."""
    provenance = loaded.provenance
    for path, value in _values(_with_tables(loaded)):
        key = ".".join(str(part) for part in path)
        yield key, value, provenance.get(key, "default")


def _with_tables(loaded: settings.Loaded) -> dict[str, Any]:
    config = loaded.config
    document = {field: getattr(config, field) for field in config.__struct_fields__}
    types = table_types(loaded)
    names = dict.fromkeys([*types, *config.plugins])
    document["plugins"] = {name: _table(types, name, config.table(name)) for name in names}
    gateways = document["gateways"] = {}
    for name, gateway in config.gateways.items():
        own = {field: getattr(gateway, field) for field in gateway.__struct_fields__}
        own["plugins"] = {
            plugin: _given(_table(types, plugin, config.table(plugin, name)), raw)
            for plugin, raw in gateway.plugins.items()
        }
        gateways[name] = own
    return document


def _table(types: Mapping[str, type[msgspec.Struct]], name: str, raw: Mapping[str, Any]) -> Any:
    """A plugin's table as its struct. Without one, nobody knows which of its keys are secret."""
    value = None
    if name in types:
        value, _ = convert_table(types[name], raw, where=("plugins", name))
    return _given(None, raw) if value is None else value


def _given(table: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Of a named gateway's table, the keys that it sets itself."""
    return {key: getattr(table, key, Secret(None)) for key in raw}


def _values(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from _values(getattr(value, field.name), (*path, field.encode_name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _values(inner, (*path, key))
    else:
        yield path, value


def _plain(value: Any) -> Any:
    if isinstance(value, Duration | Size):
        return str(value)
    if isinstance(value, Secret):
        return value.reference or MASK
    return orjson.loads(orjson.dumps(value, default=str))
