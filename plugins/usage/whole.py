"""A watcher of an answer that is one JSON document, or an array of Gemini's chunks."""

from __future__ import annotations

import re
from typing import Final

import orjson

from gateway import BYTES_PER_TOKEN, has, may_tell, read_json, read_usage

from .guessing import text_bytes
from .watching import Watcher

# A document up to this size is decoded; of a larger one (pictures, embeddings) both ends are kept,
# where the counts stand.
WHOLE_BYTES_MAX: Final = 1024 * 1024
END_BYTES: Final = 16 * 1024
_COUNTS: Final = re.compile(rb'"(?:usage|usageMetadata|meta)"\s*+:\s*+\{')
_FACTS: Final = re.compile(rb'"(?:model|modelVersion|id|responseId)"\s*+:\s*+"[^"\\]*+"')


class Whole(Watcher):
    """A JSON document. always: decode it even where its bytes promise no counts, for its model."""

    __slots__ = ("_always", "_held", "_size", "_start")

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self._always = always
        self._held: bytes | bytearray = b""
        self._start = b""
        self._size = 0

    def __call__(self, data: bytes) -> None:
        held = self._held
        if not self._size:
            self._held = data  # nearly always it comes in one piece
        elif isinstance(held, bytearray):
            held += data
        else:
            self._held = bytearray(held) + data
        self._size += len(data)
        if self._size > WHOLE_BYTES_MAX:
            self._shorten()

    def end(self) -> None:
        held = bytes(self._held)
        if not held or not (self._always or may_tell(held)):
            return
        if self._size > WHOLE_BYTES_MAX:
            self._read_ends(held)
            return
        document = read_json(held)
        read_usage(document, self.usage)
        if isinstance(document, dict):
            self.is_pending = document.get("status") in ("queued", "in_progress")
        if has(held, b'"error"'):
            self.document = document

    def written(self) -> int:
        return text_bytes(bytes(self._held)) // BYTES_PER_TOKEN

    def _shorten(self) -> None:
        """Keep both ends. Twice as much is held, so as to move it seldom."""
        if not self._start:
            self._start = bytes(self._held[:END_BYTES])
        if len(self._held) > 2 * END_BYTES:
            self._held = bytearray(self._held[-END_BYTES:])

    def _read_ends(self, end: bytes) -> None:
        """Read facts and the member that holds the counts off a large document's ends."""
        # The last of a name counts. What stands first is of the answer itself; behind it come facts
        # of its parts and of its tools, which may name a model of their own.
        members = _FACTS.findall(end) + _FACTS.findall(self._start)[::-1]
        found = [(self._start, place) for place in _COUNTS.finditer(self._start)]
        found += [(end, place) for place in _COUNTS.finditer(end)]
        if not found:
            raise ValueError("a large answer without counts at its ends")
        part, place = found[-1]
        members.append(part[place.start() : _closed(part, place.end())])
        read_usage(orjson.loads(b"{" + b",".join(members) + b"}"), self.usage)


def _closed(part: bytes, at: int) -> int:
    """Where the object that was opened before `at` is closed."""
    depth = 1
    while depth:
        if at == len(part):
            raise ValueError("a large answer whose counts are cut")
        depth += (part[at] == ord("{")) - (part[at] == ord("}"))
        at += 1
    return at
