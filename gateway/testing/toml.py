"""Just enough TOML to write the configuration of a test from a Python dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson


def to_toml(table: Mapping[str, Any]) -> str:
    """Write tables, strings, numbers, truth values and lists of them, also of tables."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    # A table's own keys come before its subtables, or they would belong to the last of those.
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{_text(key)} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = (*path, key)
            yield f"[{'.'.join(map(_text, inner))}]"
            yield from _lines(value, inner)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):  # in a list
        pairs = (f"{_text(key)} = {_value(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return _text(str(value))


def _text(text: str) -> str:
    # A TOML basic string is a JSON string, but for DEL.
    return orjson.dumps(text).decode().replace("\x7f", "\\u007f")
