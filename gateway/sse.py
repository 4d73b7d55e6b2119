"""Event streams as bytes: split into events, read without changing them.

The format is the HTML standard's (WHATWG HTML, section 9.2): lines end with CR, LF or CRLF, mixed
as they like, and a blank line ends an event. Nothing here decodes text, so a character split over
two reads, invalid UTF-8, NUL or U+2028 pass as they came. An `Event` keeps its bytes as they stood
on the wire, its blank line included, and reads name and data only when asked; comments, `id`,
`retry` and unknown fields are kept in `raw` and mean nothing here.

Where an event ends follows from the bytes alone, never from how they were cut into reads, and the
joined `raw` of all events and then `rest` are the input. Two cases need a word. After CR CR an
event is over, and should a LF follow, it is a blank line before the next event: a stream that ends
its lines with CR is not held back. After LF CR the next byte decides, because in a CRLF stream the
LF of that blank line is still to come.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.dialects.loose import has

# No provider sends events near this size; what is larger is passed on in pieces, unread, because a
# stream without blank lines must not fill the memory.
EVENT_BYTES_MAX: Final = 16 * 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
# A line end and a blank line after it. There may be nothing before the first: blank lines in a row
# make an event that says nothing, which is what the standard makes of them.
_EVENT_END: Final = re.compile(rb"\n(?:\n|\r\n|\r(?=[^\n]))|\r\r")
# The longest of these is recognised at its third byte, so two earlier ones are remembered.
_EDGE_BYTES: Final = 2


class Event:
    """One event. `raw` is what goes over the wire; the rest is read from it when first asked for.

    name: the last `event` field, empty where there is none (which means "message").
    data: the `data` lines joined by LF; empty for a comment or a blank event.
    """

    __slots__ = ("_data", "_name", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._data: bytes | None = None
        self._name = b""

    def __repr__(self) -> str:
        return f"Event({self.raw!r})"

    @classmethod
    def make(cls, data: bytes, name: bytes | None = None) -> Event:
        """Make an event of our own. Line ends within `data` make several `data` lines of it."""
        lines = [b"data: " + line for line in _LINE_END.split(data)]
        if name is not None:
            if _LINE_END.search(name):
                raise ValueError(f"an event's name is one line: {name!r}")
            lines.insert(0, b"event: " + name)
        return cls(b"\n".join(lines) + b"\n\n")

    @property
    def name(self) -> bytes:
        if self._data is None:
            self._read(self.raw)
        return self._name

    @property
    def data(self) -> bytes:
        if self._data is None:
            self._read(self.raw)
        assert self._data is not None
        return self._data

    def _read(self, raw: bytes) -> None:
        # Nearly all events are this one line, so it is worth not splitting.
        if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and raw.find(b"\r") < 0:
            self._data = raw[6:-2]
            return
        lines: list[bytes] = []
        for line in raw.splitlines():  # on bytes: CR, LF and CRLF, nothing else
            field, _, value = line.partition(b":")
            if field == b"data":
                lines.append(value.removeprefix(b" "))
            elif field == b"event":
                self._name = value.removeprefix(b" ")
        self._data = b"\n".join(lines)

    def _hide(self) -> None:
        """Read nothing from it: a piece of an event that was too large."""
        self._data = b""


class Splitter:
    """Cuts one stream into events. Each byte is looked at once, however small the reads are.

    overflowed: an event was larger than the bound. Its bytes came out as they arrived, as events
    that say nothing; the events after it are split as usual.
    """

    __slots__ = ("_edge", "_oversized", "_rest", "_started", "event_bytes_max", "overflowed")

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.event_bytes_max = event_bytes_max
        self.overflowed = False
        self._rest = bytearray()  # the event under way, as far as it has not been passed on
        self._edge = b""  # its last bytes, where an end may have begun
        self._oversized = False  # the event under way is being passed on in pieces
        self._started = False

    @property
    def rest(self) -> bytes:
        """What has come of an event that is not over yet."""
        return bytes(self._rest)

    def feed(self, data: bytes) -> list[Event]:
        """Take a slice of the stream; give the events that it completes."""
        if self._started and not self._edge and self._is_one(data):
            return [Event(data)]
        events: list[Event] = []
        start = 0
        if self._edge:
            window = self._edge + data
            end = _end_of(window, 0, window.find(b"\r") >= 0)
            if end < 0:
                self._keep(data, window[-_EDGE_BYTES:], events)
                return events
            start = end - len(self._edge)
            self._rest += data[:start]
            self._emit(bytes(self._rest), events)
            self._rest.clear()
            self._oversized = False
        has_cr = data.find(b"\r") >= 0
        while (end := _end_of(data, start, has_cr)) >= 0:
            self._emit(data[start:end], events)
            start = end
        if start == len(data):
            self._edge = b""
        else:
            data = data[start:]
            self._keep(data, data[-_EDGE_BYTES:], events)
        return events

    def _is_one(self, data: bytes) -> bool:
        """Whether a slice is plainly one event of one line, or of two with its name before it, as
        nearly all are: to look for one byte costs a fraction of what it costs to look for two.
        """
        size = len(data)
        if not 2 <= size <= self.event_bytes_max:
            return False
        rest = data.partition(b"\n")[2]  # quicker than `find`: see dialects.loose.has
        if rest != b"\n":
            if rest[:1] == b"\n":
                return False
            rest = rest.partition(b"\n")[2]
        return rest == b"\n" and not has(data, b"\r")

    def _emit(self, raw: bytes, events: list[Event]) -> None:
        if self._oversized or len(raw) > self.event_bytes_max:
            self._pass_on(raw, events)
            return
        event = Event(raw)
        if not self._started:
            self._started = True
            if raw.startswith(_BOM):
                event._read(raw[len(_BOM) :])  # noqa: SLF001 - only the stream's first event may have one
        events.append(event)

    def _keep(self, data: bytes, edge: bytes, events: list[Event]) -> None:
        self._rest += data
        self._edge = edge
        if self._oversized or len(self._rest) > self.event_bytes_max:
            self._oversized = True
            self._pass_on(bytes(self._rest), events)
            self._rest.clear()

    def _pass_on(self, raw: bytes, events: list[Event]) -> None:
        self._started = True
        self.overflowed = True
        if raw:
            piece = Event(raw)
            piece._hide()  # noqa: SLF001
            events.append(piece)


def _end_of(data: bytes, start: int, has_cr: bool) -> int:
    """Where the first event from `start` on ends, or -1."""
    if has_cr:
        match = _EVENT_END.search(data, start)
        return match.end() if match is not None else -1
    found = data.find(b"\n\n", start)
    return found + 2 if found >= 0 else -1
