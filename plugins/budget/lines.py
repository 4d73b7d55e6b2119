"""Lines of JSON as a stream of events: what Ollama sends."""

from __future__ import annotations

from typing import Final

# No answer has a line near this size; what is larger is passed on in pieces, unread.
LINE_BYTES_MAX: Final = 1024 * 1024


class Line:
    """One line. raw: as it stood, with its end. data: without, empty for a piece of a large one."""

    __slots__ = ("data", "raw")

    name = b""

    def __init__(self, raw: bytes, data: bytes) -> None:
        self.raw = raw
        self.data = data


class LineSplitter:
    """Cuts one stream into lines; what it gives, joined, and then `rest` are the stream."""

    __slots__ = ("_is_large", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._is_large = False  # the line under way is being passed on in pieces

    def feed(self, data: bytes) -> list[Line]:
        *ended, rest = (self.rest + data).split(b"\n")
        found = []
        for line in ended:
            found.append(Line(line + b"\n", b"" if self._is_large else line.strip()))
            self._is_large = False
        if len(rest) > LINE_BYTES_MAX:
            found.append(Line(rest, b""))
            self._is_large, rest = True, b""
        self.rest = rest
        return found
