"""Where the configuration comes from: defaults, one TOML file, then `WEIR_*` variables, each over
the one before.

`load` gives a frozen `Config` or raises `ConfigErrors` with everything that is wrong at once.
Where a value came from is worked out only when somebody asks: a start without errors reads the
file once and scans nothing.

A variable's name is the key's path with two underscores between the parts:
`WEIR_SERVER__PORT=9000`, `WEIR_ENABLED='["mock"]'`. Its value is read as TOML if it is a number,
a truth value or a list, else as text.
"""

from __future__ import annotations

import copy
import functools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.config import Config
from gateway.convert import (
    ConfigErrors,
    Problem,
    convert_what_is_right,
    nearest,
    secrets_in,
)
from gateway.places import DEPTH_MAX, KeyPath, find_places, read_toml
from gateway.rules import problems_of, warnings_of

PREFIX: Final = "WEIR_"
CONFIG_VARIABLE: Final = "WEIR_CONFIG"
DEFAULT_FILE: Final = "config.toml"
# A longer file is not a config file, and reading it would only delay the error.
FILE_BYTES_MAX: Final = 16 * 1024 * 1024

# Kubernetes puts such variables into every pod of a namespace that has a service called "weir".
# They are not ours.
_KUBERNETES: Final = re.compile(
    r"WEIR_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
_SYNTAX_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$| \(at end of document\)$")


class Loaded:
    """A configuration together with its sources.

    config: the values. path: the file they came from, None without one. warnings: worth a
        line at start.
    provenance: for every key that has a value, "default", "file PATH:LINE" or "env NAME".
    """

    def __init__(self, config: Config, sources: _Sources) -> None:
        self.config = config
        self.path = sources.path
        self._sources = sources
        self.warnings = (
            *self._texts(warnings_of(config)),
            *self.inline_secrets(config.proxy, ("proxy",)),
            *self.inline_secrets(config.providers, ("providers",)),
        )

    @property
    def base(self) -> Path:
        """The directory that relative paths in the file start from."""
        return Path(self.path).resolve().parent if self.path else Path.cwd()

    @functools.cached_property
    def provenance(self) -> dict[str, str]:
        return {
            ".".join(str(part) for part in path): self._sources.provenance(path)
            for path in _leaves(self.config)
        }

    def placed(self, errors: ConfigErrors) -> ConfigErrors:
        """The same errors, found later by whoever loaded the plugins, with their places."""
        return ConfigErrors(self._sources.in_order(list(errors.problems)))

    def inline_secrets(self, value: object, where: KeyPath) -> tuple[str, ...]:
        """A warning for each secret, of a plugin's `Config` say, that stands in the file itself."""
        found = [path for path, secret in secrets_in(value, where) if secret.inline]
        return self._texts(
            Problem(path, 'the secret stands in the file itself; write "env:NAME" or "file:/path"')
            for path in found
            if self._sources.variable(path) is None
        )

    def _texts(self, problems: Iterable[Problem]) -> tuple[str, ...]:
        return tuple(str(self._sources.located(problem)) for problem in problems)


def load(path: str | None, environ: Mapping[str, str]) -> Loaded:
    """Read `path`, else $WEIR_CONFIG, else ./config.toml, else take the defaults."""
    loaded, errors = examine(path, environ)
    if loaded is None or errors.problems:
        raise errors
    return loaded


def examine(path: str | None, environ: Mapping[str, str]) -> tuple[Loaded | None, ConfigErrors]:
    """The same, with defaults in place of what is wrong, so that the rest can be judged too."""
    sources = _Sources(environ)
    sources.read_file(path)
    raw = copy.deepcopy(sources.raw)
    problems = list(sources.overlay(raw))
    config, faults = convert_what_is_right(Config, raw, (), environ)
    problems += faults
    if config is not None:
        problems += problems_of(config)
    errors = ConfigErrors(sources.in_order(problems))
    return (None if config is None else Loaded(config, sources)), errors


def variable_name(path: KeyPath) -> str:
    """The variable that overrides a key."""
    return PREFIX + "__".join(str(part) for part in path).replace("-", "_").upper()


class _Sources:
    """The file's text and the variables, and which of them a path came from."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.path: str | None = None
        self.raw: dict[str, Any] = {}
        self.variables: dict[KeyPath, str] = {}
        self._text = ""

    def read_file(self, path: str | None) -> None:
        chosen = path or self.environ.get(CONFIG_VARIABLE) or None
        content = _read(chosen or DEFAULT_FILE, must_exist=chosen is not None)
        if content is None:
            return
        self.path = chosen or DEFAULT_FILE
        try:
            self._text = content.decode("utf-8-sig")
            self.raw = read_toml(self._text)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise _file_error("not UTF-8", f"{self.path}:{line}") from None
        except tomllib.TOMLDecodeError as error:
            raise self._syntax_error(str(error)) from None

    def _syntax_error(self, message: str) -> ConfigErrors:
        found = _SYNTAX_LINE.search(message)
        line = int(found[1]) if found and found[1] else self._text.rstrip("\n").count("\n") + 1
        text = message[: found.start()] if found else message
        return _file_error(f"not TOML: {text[:1].lower()}{text[1:]}", f"{self.path}:{line}")

    def overlay(self, raw: dict[str, Any]) -> Iterator[Problem]:
        """Put the variables' values into the raw tables."""
        for name, text in sorted(self.environ.items()):
            if not _is_ours(name):
                continue
            path = self._path_of(name)
            self.variables[path] = name
            if len(path) > DEPTH_MAX:
                yield Problem(path[:DEPTH_MAX], "no such key: its name has too many parts")
            elif not all(path):
                yield Problem(path, "no such key: a part of the name is empty")
            elif not _put(raw, path, _value_of(text)):
                yield Problem(path, "no such key: what stands before it is not a table")

    def _path_of(self, name: str) -> tuple[str, ...]:
        parts = name.removeprefix(PREFIX).lower().split("__")
        if len(parts) > 1 and parts[0] in ("providers", "plugins", "gateways"):
            parts[1] = self._named(parts[0], parts[1])
        return tuple(parts)

    def _named(self, table: str, name: str) -> str:
        """A name as the file writes it: a variable's name cannot hold a provider's dash."""
        there = self.raw.get(table)
        for known in there if isinstance(there, dict) else ():
            if known.replace("-", "_").lower() == name:
                return str(known)
        return name.replace("_", "-") if table == "providers" else name

    def in_order(self, problems: list[Problem]) -> list[Problem]:
        """Located, in the order of the file; the variables' come last."""
        placed = [self.located(problem) for problem in problems]
        return sorted(placed, key=lambda p: (p.place.startswith(PREFIX), self._line(p.path) or 0))

    def located(self, problem: Problem) -> Problem:
        variable = self.variable(problem.path)
        if variable is not None:
            near = self._near_variable(problem, variable)
            return msgspec.structs.replace(problem, place=variable, nearest=near)
        line = self._line(problem.path)
        if self.path is None or line is None:
            return problem
        return msgspec.structs.replace(problem, place=f"{self.path}:{line}")

    def provenance(self, path: KeyPath) -> str:
        variable = self.variable(path)
        if variable is not None:
            return f"env {variable}"
        line = self._places.get(path)
        return "default" if line is None else f"file {self.path}:{line}"

    def variable(self, path: KeyPath) -> str | None:
        """The variable that set this key, or the list it is in."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.variables:
                return self.variables[path[:end]]
        if path in self._places:
            return None
        inside = (name for key, name in self.variables.items() if key[: len(path)] == path)
        return next(inside, None)  # a table that exists only through its keys' variables

    def _near_variable(self, problem: Problem, variable: str) -> str:
        path = problem.path
        if problem.nearest:
            given = self._path_of(variable)
            return variable_name((*path[:-1], problem.nearest, *given[len(path) :]))
        if len(path) == 1 and nearest(str(path[0]), ["config"]):
            return CONFIG_VARIABLE
        return ""

    def _line(self, path: KeyPath) -> int | None:
        """The key's line, else that of the table it should stand in."""
        paths = [path]
        if path[:1] == ("gateways",) and path[2:3] == ("plugins",):
            paths.append(path[2:])  # a named gateway's table inherits from the main one
        for candidate in paths:
            if candidate in self._places:
                return self._places[candidate]
        for end in range(len(path) - 1, 0, -1):
            if path[:end] in self._places:
                return self._places[path[:end]]
        return None

    @functools.cached_property
    def _places(self) -> dict[KeyPath, int]:
        return find_places(self._text)


def _is_ours(name: str) -> bool:
    return (
        name.startswith(PREFIX) and name != CONFIG_VARIABLE and _KUBERNETES.fullmatch(name) is None
    )


def _read(path: str, *, must_exist: bool) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        if must_exist:
            raise _file_error("no such file", path) from None
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _file_error(f"cannot be read: {reason.lower()}", path) from None
    if len(content) > FILE_BYTES_MAX:
        raise _file_error(f"longer than {FILE_BYTES_MAX} bytes", path)
    return content


def _file_error(text: str, place: str) -> ConfigErrors:
    return ConfigErrors([Problem((), text, place=place)])


def _value_of(text: str) -> Any:
    try:
        table = read_toml(f"v = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = table.pop("v")
    # Anything after a line break would be further keys, and a date is no type of ours.
    if table or not isinstance(value, str | bool | int | float | list):
        return text
    return value


def _put(table: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    *parents, key = path
    for part in parents:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return False
    table[key] = value
    return True


def _leaves(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every value that is not itself a table."""
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from _leaves(getattr(value, field.name), (*path, field.encode_name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path
