"""What keys there are, for people and for editors: names, types, defaults and meanings of a
config struct.

A key's meaning is the line `key: meaning` in its struct's docstring, so the struct is the one
place that says it. `weir config schema` makes a JSON Schema (2020-12) of it, which editors read
through the first line of config.toml.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

import msgspec
import orjson

from gateway.config import Config, GatewayConfig
from gateway.convert import wanted
from gateway.proxies import ProxyUrl
from gateway.secret import MASK, Secret
from gateway.units import DURATION_UNITS, Duration, Size

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_LEAVES: Final[dict[type, dict[str, Any]]] = {
    Duration: {
        "type": ["string", "number"],
        "pattern": rf"^\s*\d+(\.\d+)? ?({'|'.join(DURATION_UNITS)})\s*$",
        "minimum": 0,
    },
    Size: {
        "type": ["string", "number"],
        # JSON Schema's regular expressions know no flag for "any case".
        "pattern": r"^\s*\d+(\.\d+)? ?([KkMmGgTt][Ii]?)?[Bb]\s*$",
        "minimum": 0,
    },
    Secret: {"type": "string", "examples": ["env:NAME", "file:/run/secrets/NAME"]},
    ProxyUrl: {"type": "string", "examples": ["http://proxy.example:3128", "env:PROXY_URL", ""]},
}
_MEANING: Final = re.compile(r"([A-Za-z_]\w*): (.+)")


class Key(msgspec.Struct, frozen=True):
    """One key of a table.

    default: as it is written in TOML; empty where there is none.
    """

    name: str
    wanted: str
    default: str
    meaning: str


def keys(type_: type[msgspec.Struct]) -> list[Key]:
    """The keys of a struct in their order."""
    said = meanings(type_)
    return [
        Key(
            name=field.encode_name,
            wanted=wanted(field.type),
            default="" if field.required else written(default_of(field)),
            meaning=said.get(field.name, ""),
        )
        for field in msgspec.structs.fields(type_)
    ]


def meanings(type_: type) -> dict[str, str]:
    """Each field's meaning, as the struct's docstring says it."""
    names = {field.name for field in msgspec.structs.fields(type_)}
    return meanings_in(type_.__doc__ or "", names)


def meanings_in(docstring: str, names: Container[str]) -> dict[str, str]:
    """The `name: meaning` lines of a docstring, each with the lines that continue it."""
    found: dict[str, str] = {}
    current, depth = "", 0
    for line in docstring.splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        match = _MEANING.fullmatch(text)
        if match and match[1] in names:
            current, depth = match[1], indent
            found[current] = match[2]
        elif current and text and indent > depth:
            found[current] += " " + text
        else:
            current = ""
    return found


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    """A field's default value."""
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def written(value: object) -> str:
    """A value as TOML writes it; empty for None, which TOML has not, and for a table."""
    if isinstance(value, Duration | Size):
        return f'"{value}"'
    if isinstance(value, Secret):
        return orjson.dumps(value.reference or MASK).decode()
    if isinstance(value, ProxyUrl):
        value = value.shown
    if isinstance(value, bool | str):
        return orjson.dumps(value).decode()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list | set | frozenset):
        return f"[{', '.join(written(inner) for inner in value)}]"
    if isinstance(value, Mapping) and value:
        pairs = (f"{orjson.dumps(key).decode()} = {written(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return ""


def schema(plugins: Mapping[str, type[msgspec.Struct]], providers: Iterable[str]) -> dict[str, Any]:
    """The JSON Schema of config.toml: the core's keys, these plugins', these providers."""
    maker = _Maker()
    root = maker.of(Config)
    tables = {name: maker.of_plugin(name, type_) for name, type_ in sorted(plugins.items())}
    # Another plugin's table is its own business; a misspelt name is found by `weir check`.
    plugin_tables = {"type": "object", "properties": tables}
    definitions = maker.definitions
    properties = definitions["Config"]["properties"]
    properties["plugins"].update(plugin_tables)
    definitions[GatewayConfig.__name__]["properties"]["plugins"].update(plugin_tables)
    row = properties["providers"]["additionalProperties"]
    properties["providers"]["properties"] = dict.fromkeys(providers, row)
    return {"$schema": DRAFT, "title": "Weir", **root, "$defs": definitions}


class _Maker:
    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._names: dict[type, str] = {}
        self._plugin = ""

    def of_plugin(self, name: str, type_: type[msgspec.Struct]) -> dict[str, Any]:
        self._plugin = name
        return self.of(type_)

    def of(self, type_: Any) -> dict[str, Any]:
        members = [m for m in typing.get_args(type_) if m is not types.NoneType]
        if typing.get_origin(type_) in (typing.Union, types.UnionType):
            # TOML has no null: what may be None may be left out.
            return self.of(members[0]) if len(members) == 1 else {"anyOf": [*map(self.of, members)]}
        origin = typing.get_origin(type_) or type_
        if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
            return self._struct(origin)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            inner = self.of(members[1]) if members else {}
            return {"type": "object", "additionalProperties": inner}
        if origin in (tuple, list, set, frozenset) and members and _is_uniform(members):
            return {"type": "array", "items": self.of(members[0])}
        return _leaf(type_)

    def _struct(self, type_: type[msgspec.Struct]) -> dict[str, Any]:
        if type_ not in self._names:
            name = type_.__name__
            if name in self.definitions:  # every plugin calls its struct Config
                name = f"{self._plugin}.{name}"
            self._names[type_] = name
            self.definitions[name] = {}  # stands before its fields, which may name it
            self.definitions[name].update(self._table(type_))
        return {"$ref": f"#/$defs/{self._names[type_]}"}

    def _table(self, type_: type[msgspec.Struct]) -> dict[str, Any]:
        said = meanings(type_)
        properties: dict[str, Any] = {}
        required = []
        for field in msgspec.structs.fields(type_):
            entry = {**self.of(field.type)}
            if field.name in said:
                entry["description"] = said[field.name]
            if field.required:
                required.append(field.encode_name)
            elif (default := _as_json(default_of(field))) is not None:
                entry["default"] = default
            properties[field.encode_name] = entry
        table: dict[str, Any] = {"type": "object", "additionalProperties": False}
        if summary := (type_.__doc__ or "").strip().partition("\n")[0]:
            table["description"] = summary
        table["properties"] = properties
        return {**table, "required": required} if required else table


def _leaf(type_: Any) -> dict[str, Any]:
    found = msgspec.json.schema(type_, schema_hook=lambda custom: dict(_LEAVES.get(custom, {})))
    found.pop("title", None)
    return found


def _is_uniform(members: list[Any]) -> bool:
    return len(members) == 1 or (len(members) == 2 and members[1] is Ellipsis)


def _as_json(value: object) -> Any:
    if isinstance(value, Duration | Size):
        return str(value)
    if isinstance(value, tuple | list | set | frozenset):
        return [_as_json(inner) for inner in value]
    if isinstance(value, str | bool | int | float):
        return value
    return None
