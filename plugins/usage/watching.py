"""Watchers of an answer, one a form: events, Amazon's messages, JSON lines, JSON as a whole.

None of them changes or delays a byte. JSON is decoded only where the bytes say that it can matter,
and what is kept of a stream is a few events, however long it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from gateway import BYTES_PER_TOKEN, Usage, may_tell, read_usage

from .aws import MessageSplitter, inner_of

if TYPE_CHECKING:
    from gateway import Event

# So many telling events are read as they come. Who counts in every event counts up, so of more
# than these only the last is kept, to be read at the end.
READ_AT_ONCE: Final = 8
# A whole answer up to this size is decoded; of a larger one (pictures, embeddings) its end is
# kept, where the counts stand.
WHOLE_BYTES_MAX: Final = 1024 * 1024
END_BYTES: Final = 16 * 1024
LINE_BYTES_MAX: Final = 1024 * 1024
_COUNTS: Final = (b'"usage"', b'"usageMetadata"', b'"meta"')


class Watcher:
    """What all watchers do: fold what is said into `usage`, and guess how much was written."""

    __slots__ = ("_last", "_least", "_parts", "_read", "_size", "usage")

    def __init__(self) -> None:
        self.usage = Usage()
        self._read = 0
        self._last: bytes | None = None
        self._parts = 0
        self._size = 0
        self._least = 1 << 62

    def end(self) -> Usage:
        """Read what was kept; nothing comes any more."""
        last, self._last = self._last, None
        if last is not None and last[:1] == b"{":
            read_usage(orjson.loads(last), self.usage)
        return self.usage

    def written(self) -> int:
        """Guess the tokens that were seen: events are alike but for their text, so what the
        smallest has beside it is taken off each.
        """
        if not self._parts:
            return 0
        text = self._size - self._parts * self._least
        return max(text // BYTES_PER_TOKEN, self._parts)

    def _count(self, raw: bytes) -> None:
        """Count an event that carries a piece of the answer."""
        if b'elta":' not in raw and b'"candidates"' not in raw and b'"done":' not in raw:
            return
        size = len(raw)
        self._parts += 1
        self._size += size
        if size < self._least:  # noqa: PLR1730 - no call, this is done for every event
            self._least = size

    def _tell(self, data: bytes) -> None:
        """Read what may hold something."""
        if self._read < READ_AT_ONCE:
            self._read += 1
            if data[:1] == b"{":  # an end marker, a ping or a comment is no document
                read_usage(orjson.loads(data), self.usage)
        else:
            self._last = data


class Events(Watcher):
    """Server-sent events."""

    __slots__ = ()

    def event(self, event: Event) -> None:
        raw = event.raw
        self._count(raw)
        if self.usage.model is None or may_tell(raw):
            self._tell(event.data)


class Messages(Watcher):
    """Amazon's event stream."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        super().__init__()
        self._splitter = MessageSplitter()

    def __call__(self, data: bytes) -> None:
        for payload in self._splitter.feed(data):
            inner = inner_of(payload)
            self._count(inner)
            if may_tell(inner) or b'"model"' in inner:
                self._tell(inner)


class Lines(Watcher):
    """One JSON document a line: Ollama's own streams, results of batches."""

    __slots__ = ("_rest", "_skips")

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""
        self._skips = False

    def __call__(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skips:
                self._skips = False
            elif line:
                self._line(line)
        if len(rest) > LINE_BYTES_MAX:
            rest, self._skips = b"", True
        self._rest = rest

    def end(self) -> Usage:
        if self._rest and not self._skips:
            self._line(self._rest)
            self._rest = b""
        return super().end()

    def _line(self, line: bytes) -> None:
        self._count(line)
        if may_tell(line) or self.usage.model is None:
            self._tell(line)


class Whole(Watcher):
    """A JSON document."""

    __slots__ = ("_held", "_kept")

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._kept: bytes | None = None

    def __call__(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= WHOLE_BYTES_MAX:
            self._held += data
            return
        # Of a large one the last bytes are enough; twice as many are held, so as to move them
        # seldom.
        self._held += data
        if len(self._held) > 2 * END_BYTES:
            del self._held[:-END_BYTES]

    def end(self) -> Usage:
        held, self._held = bytes(self._held), bytearray()
        if not held:
            return self.usage
        if self._size <= WHOLE_BYTES_MAX:
            read_usage(orjson.loads(held), self.usage)
        else:
            self._read_end(held)
        return self.usage

    def written(self) -> int:
        return self._size // BYTES_PER_TOKEN

    def _read_end(self, held: bytes) -> None:
        """Read the member that holds the counts off a document's end."""
        start = max(held.rfind(name) for name in _COUNTS)
        if start < 0:
            raise ValueError("a large answer without counts at its end")
        depth = 0
        for end in range(held.index(b"{", start), len(held)):
            byte = held[end]
            depth += (byte == ord("{")) - (byte == ord("}"))
            if depth == 0:
                read_usage(orjson.loads(b"{" + held[start : end + 1] + b"}"), self.usage)
                return
        raise ValueError("a large answer whose counts are cut")
