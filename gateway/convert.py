"""From a raw table to a frozen struct, with every problem of a run instead of the first.

msgspec checks one value well and stops at the first fault, so this walks structs, tables and
lists itself and hands only the leaves to msgspec. A `Problem` knows its path; `gateway.settings`
knows the sources and adds the file and line, or the environment variable, that the value came
from.
"""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import FieldInfo

from gateway.errors import StartError
from gateway.places import KeyPath
from gateway.proxies import ProxyUrl
from gateway.secret import Secret, resolve
from gateway.units import Duration, Size, parse_duration, parse_size

T = TypeVar("T")

# A value longer than this is cut in a message: one line is to stay one line.
SHOWN_MAX: Final = 60
_INVALID: Final = object()
_LISTS: Final = (tuple, list, set, frozenset)


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with the configuration.

    path: the table and key it is about. text: what is wrong. nearest: the right name, where
        one is near.
    place: "FILE:LINE" or the environment variable's name; empty until the sources are known.
    """

    path: KeyPath
    text: str
    nearest: str = ""
    place: str = ""

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        parts = (self.place, shown_path(self.path), self.text + hint)
        return ": ".join(part for part in parts if part)


class ConfigErrors(StartError):
    """Everything wrong with the configuration, found in one run."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def convert_table(
    type_: type[T],
    raw: Mapping[str, Any],
    *,
    where: str | KeyPath,
    environ: Mapping[str, str] = os.environ,
) -> tuple[T | None, list[Problem]]:
    """Make a struct of a raw table. `where` is the table's path, such as "plugins.cache", or its
    parts.

    Gives the struct and no problem, or None and all of them.
    """
    path: KeyPath = tuple(where.split(".")) if isinstance(where, str) else where
    value, problems = convert_what_is_right(type_, raw, path, environ)
    return (None if problems else value), problems


def convert_what_is_right(
    type_: type[T], raw: Any, path: KeyPath, environ: Mapping[str, str]
) -> tuple[T | None, list[Problem]]:
    """The same with defaults in place of what is wrong, so that the rest can be judged too."""
    walk = _Walk(environ)
    value = walk.value(type_, raw, path)
    return (None if value is _INVALID else value), walk.problems


def secrets_in(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Secret]]:
    """Every secret inside a struct, table or list, with its path."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, ProxyUrl):
        yield from secrets_in(value.secret, path)
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from secrets_in(getattr(value, field.name), (*path, field.encode_name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from secrets_in(inner, (*path, key))
    elif isinstance(value, _LISTS):
        for index, inner in enumerate(value):
            yield from secrets_in(inner, (*path, index))


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, or an empty text."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def shown_path(path: KeyPath) -> str:
    """A path as TOML has it: `[plugins.cache] ttl`, `enabled[2]`, `[a] rules[0].name`."""
    end = next((at for at, part in enumerate(path) if isinstance(part, int)), len(path))
    *table, key = map(str, path[:end] or ("",))
    start = f"[{'.'.join(table)}] " if table else ""
    inside = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path[end:])
    return start + key + "".join(inside)


class _Walk:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[Problem] = []

    def value(self, type_: Any, raw: Any, path: KeyPath) -> Any:
        type_ = _without_none(type_)
        origin = typing.get_origin(type_)
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            return self._struct(type_, raw, path)
        if origin is not None and isinstance(origin, type):
            if issubclass(origin, Mapping):
                return self._mapping(type_, raw, path)
            if origin in _LISTS and _is_of_one_type(type_):
                return self._list(type_, raw, path)
        return self._leaf(type_, raw, path)

    def _struct(self, type_: type[msgspec.Struct], raw: Any, path: KeyPath) -> Any:
        if not isinstance(raw, Mapping):
            return self._refuse(path, f"wanted a table, given {shown(raw)}")
        fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
        values = {}
        for key, inner in raw.items():
            if key in fields:
                values[fields[key].name] = self.value(fields[key].type, inner, (*path, key))
            else:
                self._unknown(path, key, inner, fields)
        for name, field in fields.items():
            if name not in raw and field.required:
                self._refuse((*path, name), f"missing; wanted {wanted(field.type)}")
        right = {name: value for name, value in values.items() if value is not _INVALID}
        if any(field.required and field.name not in right for field in fields.values()):
            return _INVALID
        return self._built(type_, right, path, fields)

    def _built(
        self, type_: Any, values: dict[str, Any], path: KeyPath, fields: dict[str, FieldInfo]
    ) -> Any:
        try:
            return type_(**values)
        except ValueError as error:
            # A struct's own rule. "key: what is wrong" puts the blame on that key.
            key, colon, text = str(error).partition(": ")
            if colon and key in fields:
                return self._refuse((*path, key), text)
            return self._refuse(path, str(error))

    def _unknown(self, path: KeyPath, key: str, inner: Any, fields: Mapping[str, Any]) -> None:
        kind = "table" if isinstance(inner, Mapping) else "key"
        near = nearest(key, fields)
        self.problems.append(Problem((*path, key), f"no such {kind}", nearest=near))

    def _mapping(self, type_: Any, raw: Any, path: KeyPath) -> Any:
        if not isinstance(raw, Mapping):
            return self._refuse(path, f"wanted a table, given {shown(raw)}")
        inner_type = typing.get_args(type_)[1]
        values = {key: self.value(inner_type, inner, (*path, key)) for key, inner in raw.items()}
        values = {key: value for key, value in values.items() if value is not _INVALID}
        is_frozen = typing.get_origin(type_) is not dict
        return types.MappingProxyType(values) if is_frozen else values

    def _list(self, type_: Any, raw: Any, path: KeyPath) -> Any:
        if not isinstance(raw, list):
            hidden = holds_secret(type_)
            return self._refuse(path, f"wanted {wanted(type_)}, given {shown(raw, hidden=hidden)}")
        inner_type = typing.get_args(type_)[0]
        values = [self.value(inner_type, inner, (*path, at)) for at, inner in enumerate(raw)]
        if any(value is _INVALID for value in values):
            return _INVALID  # without one element the others would have other numbers
        return typing.get_origin(type_)(values)

    def _leaf(self, type_: Any, raw: Any, path: KeyPath) -> Any:
        reasons: list[str] = []
        try:
            return msgspec.convert(raw, type_, dec_hook=self._hook(reasons))
        except (msgspec.ValidationError, UnicodeEncodeError):  # a variable may hold any bytes
            given = shown(raw, hidden=holds_secret(type_))
            reason = f" ({reasons[0]})" if reasons else ""
            return self._refuse(path, f"wanted {wanted(type_)}, given {given}{reason}")

    def _hook(self, reasons: list[str]) -> Callable[[type, Any], Any]:
        def decode(type_: type, raw: Any) -> Any:
            try:
                if type_ in (Secret, ProxyUrl) and isinstance(raw, str):
                    return (resolve if type_ is Secret else ProxyUrl)(raw, self.environ)
                if type_ is Duration:
                    return parse_duration(raw)
                if type_ is Size:
                    return parse_size(raw)
            except ValueError as error:
                if isinstance(raw, str):
                    reasons.append(str(error))
                raise
            raise ValueError("not of this type")

        return decode

    def _refuse(self, path: KeyPath, text: str) -> Any:
        self.problems.append(Problem(path, text))
        return _INVALID


def shown(value: Any, *, hidden: bool = False) -> str:
    """A given value for a message; only its kind if it may be a secret."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if hidden:
        return "text" if isinstance(value, str) else "a value of another kind"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."


def holds_secret(type_: Any) -> bool:
    """Whether a value of this type is, or holds, a secret."""
    return type_ in (Secret, ProxyUrl) or any(holds_secret(part) for part in typing.get_args(type_))


def wanted(type_: Any) -> str:
    """What a value of this type looks like, in words."""
    return _in_words(msgspec.inspect.type_info(type_))


def _in_words(info: Any) -> str:
    match info:
        case msgspec.inspect.CustomType(cls=cls):
            return _CUSTOM.get(cls, cls.__name__)
        case msgspec.inspect.IntType():
            return "a whole number" + _bounds(info.ge, info.le)
        case msgspec.inspect.FloatType():
            return "a number" + _bounds(info.ge, info.le)
        case msgspec.inspect.StrType():
            return "text" + (f" matching {info.pattern}" if info.pattern else "")
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(shown(value) for value in values)
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            return f"a list, each {_in_words(info.item_type)}"
        case msgspec.inspect.UnionType(types=members):
            some = (m for m in members if not isinstance(m, msgspec.inspect.NoneType))
            return " or ".join(_in_words(member) for member in some)
        case msgspec.inspect.Metadata(type=inner):
            return _in_words(inner)
    return _PLAIN.get(type(info), "another kind of value")


_CUSTOM: Final = {
    Duration: 'a duration such as "5s" or "250ms"',
    Size: 'a size such as "64KiB" or "10MB"',
    Secret: 'a reference such as "env:NAME" or "file:/path"',
    ProxyUrl: "the URL of an HTTP proxy",
}
_PLAIN: Final[dict[type, str]] = {
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.StructType: "a table",
    msgspec.inspect.DictType: "a table",
}


def _bounds(least: Any, most: Any) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return f" of at most {most}" if most is not None else ""


def _without_none(type_: Any) -> Any:
    """`X | None` as X: TOML has no null, so a key that is there has a value."""
    if typing.get_origin(type_) not in (typing.Union, types.UnionType):
        return type_
    members = [member for member in typing.get_args(type_) if member is not types.NoneType]
    return members[0] if len(members) == 1 else type_


def _is_of_one_type(type_: Any) -> bool:
    arguments = typing.get_args(type_)
    return len(arguments) == 1 or (len(arguments) == 2 and arguments[1] is Ellipsis)
