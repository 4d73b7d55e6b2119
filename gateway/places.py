"""A TOML text: what it says, and where each key stands, a path such as ("server", "port") to its
line.

tomllib gives values without positions, and an error without its line is half an error. The scanner
of lines runs only when an error or a provenance list is printed, over a text that tomllib has
accepted, so it needs to find its way, not to check anything.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

KeyPath = tuple[str | int, ...]

# Tables in tables and lists in lists: what walks through them is recursive, and nobody needs more.
DEPTH_MAX: Final = 64

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE: Final = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")


def read_toml(text: str) -> dict[str, Any]:
    """What the text says; `TOMLDecodeError` also for what tomllib has no error of its own for."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("Nested too deep") from None
    except ValueError:
        raise tomllib.TOMLDecodeError("A number has too many digits") from None
    level: list[Any] = [table]
    for _ in range(DEPTH_MAX):
        insides = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [inner for one in insides if isinstance(one, list) for inner in one]
    if level:
        raise tomllib.TOMLDecodeError("Nested too deep")
    return table


def find_places(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table header, key and array element."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.places


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[KeyPath, int] = {}
        self._line = 1
        self._line_at = 0
        self._implied: set[KeyPath] = set()  # tables known by [table.below] alone, so far
        self._elements: dict[KeyPath, int] = {}  # how many [[headers]] of each array were seen

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self._next_is("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> KeyPath:
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        path: KeyPath = ()
        parts = self._key()
        for index, part in enumerate(parts):
            path = (*path, part)
            if brackets == 2 and index == len(parts) - 1:
                self._elements[path] = self._elements.get(path, 0) + 1
            if path in self._elements:
                self._note(path)
                path = (*path, self._elements[path] - 1)
            if index < len(parts) - 1 and path not in self.places:
                self._note(path)
                self._implied.add(path)
        if path in self._implied:
            self._implied.remove(path)
            del self.places[path]
        self._note(path)
        self._skip(_SPACE)
        self.at += brackets
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path)
        self._skip(_SPACE)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            if self._next_is('"') or self._next_is("'"):
                parts.append(str(tomllib.loads(f"v = {self._take(_STRING)}")["v"]))
            else:
                parts.append(self._take(_BARE_KEY))
            self._skip(_SPACE)
            if not self._next_is("."):
                return parts
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        if self._next_is("["):
            self._array(path)
        elif self._next_is("{"):
            self._inline_table(path)
        elif self._next_is('"') or self._next_is("'"):
            self._take(_STRING)
        else:
            self._take(_PLAIN_VALUE)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self._more("]"):
            self._note((*path, index))
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self._more("}"):
            self._pair(path)

    def _more(self, end: str) -> bool:
        self._skip(_BLANK)
        if self._next_is(","):
            self.at += 1
            self._skip(_BLANK)
        if self._next_is(end):
            self.at += 1
            return False
        return True

    def _next_is(self, sign: str) -> bool:
        return self.text.startswith(sign, self.at)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None or found.end() == self.at:
            raise ValueError(f"lost in the text at offset {self.at}")
        self.at = found.end()
        return found[0]

    def _note(self, path: KeyPath) -> None:
        # The first mention wins: an array stands where its first element does.
        if path not in self.places:
            self._line += self.text.count("\n", self._line_at, self.at)
            self._line_at = self.at
            self.places[path] = self._line
