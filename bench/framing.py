"""Just enough HTTP/1.1 for both ends of the bench, which talk to us or through a proxy that does
its job.

A reader of other people's bytes must be strict; this one must be cheap. What the bench cannot make
sense of it counts as an error, so a proxy that breaks the framing shows up in the table and not as
a good number.
"""

from __future__ import annotations

import re

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
# Framings beside a plain number of bytes.
BY_CHUNKS = -1
BY_CLOSE = -2


def framing_of(head: bytes, otherwise: int) -> int:
    """The body's length, or BY_CHUNKS, or what the head leaves open: nothing for a request,
    BY_CLOSE for an answer.
    """
    if CHUNKED.search(head):
        return BY_CHUNKS
    found = LENGTH.search(head)
    return int(found[1]) if found else otherwise


class Body:
    """Takes a body off the front of what is read. `done` says that it is whole."""

    __slots__ = ("done", "framing", "left", "rest")

    def __init__(self, framing: int) -> None:
        self.framing = framing
        self.left = max(framing, 0)
        self.rest = b""
        self.done = framing == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Give the body's own bytes, and what comes after it (only once it is done)."""
        if self.framing == BY_CLOSE:
            return data, b""
        if self.framing == BY_CHUNKS:
            return self.feed_chunks(data)
        mine, beyond = data[: self.left], data[self.left :]
        self.left -= len(mine)
        self.done = self.left == 0
        return mine, beyond

    def feed_chunks(self, data: bytes) -> tuple[bytes, bytes]:
        """`left` counts what is to come of a chunk with the CRLF at its end."""
        data = self.rest + data
        self.rest = b""
        pieces = []
        while data:
            if self.left > 2:
                piece = data[: self.left - 2]
                pieces.append(piece)
                data = data[len(piece) :]
                self.left -= len(piece)
            elif self.left:
                gone = min(self.left, len(data))
                data = data[gone:]
                self.left -= gone
            elif data.startswith(b"0\r\n\r\n"):
                self.done = True
                return b"".join(pieces), data[5:]
            else:
                size, newline, after = data.partition(b"\r\n")
                if not newline or data in {b"0\r\n", b"0\r\n\r"}:
                    self.rest = data
                    break
                self.left = int(size, 16) + 2
                if self.left == 2:
                    raise ValueError("trailers are not for the bench")
                data = after
        return b"".join(pieces), b""
