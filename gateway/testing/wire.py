"""HTTP/1.1 off a blocking socket, byte for byte, for either end of a test.

A `Wire` takes messages as they are framed and keeps every raw byte of them. It judges nothing: what
is odd is what a test looks for. A message that does not become whole raises `BrokenOff`, which says
how the other end went and brings the bytes that had come.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Final

END_OF_HEAD: Final = b"\r\n\r\n"
RECEIVE_BYTES: Final = 64 * 1024

# How the other end went: an orderly close, an abort, or not at all within the socket's timeout.
FIN: Final = "fin"
RESET: Final = "reset"
SILENCE: Final = "silence"

Fields = list[tuple[bytes, bytes]]


class BrokenOff(Exception):
    """The other end stopped before the message was whole.

    ending: "fin", "reset" or "silence". raw: the message's bytes that had come.
    """

    def __init__(self, ending: str, raw: bytes = b"") -> None:
        super().__init__(f"{ending} after {len(raw)} bytes: {raw[-200:]!r}")
        self.ending = ending
        self.raw = raw


class Wire:
    """One end of a connection, read message by message."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()

    def head(self) -> bytes:
        """Read a head up to and with its empty line."""
        buffer = self._buffer
        while (end := buffer.find(END_OF_HEAD)) < 0:
            self._fill(bytes(buffer))
        return self._cut(end + len(END_OF_HEAD))

    def line(self) -> bytes:
        """Read up to and with the next CRLF."""
        buffer = self._buffer
        while (end := buffer.find(b"\r\n")) < 0:
            self._fill(bytes(buffer))
        return self._cut(end + 2)

    def sized(self, size: int) -> Iterator[bytes]:
        """Read that many bytes, in pieces as they come."""
        while size:
            if not self._buffer:
                self._fill(b"")
            piece = self._cut(min(size, len(self._buffer)))
            size -= len(piece)
            yield piece

    def chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """Read a chunked body: pairs of raw bytes and the body's bytes in them."""
        while True:
            size_line = self.line()
            size = int(re.split(rb"[;\s]", size_line, maxsplit=1)[0], 16)
            yield size_line, b""
            if not size:
                break
            for piece in self.sized(size):
                yield piece, piece
            yield b"".join(self.sized(2)), b""
        while (line := self.line()) != b"\r\n":
            yield line, b""
        yield line, b""

    def rest(self) -> Iterator[bytes]:
        """Read until the other end closes; only an orderly close ends this without `BrokenOff`."""
        while True:
            if self._buffer:
                yield self._cut(len(self._buffer))
            try:
                self._fill(b"")
            except BrokenOff as broken:
                if broken.ending == FIN:
                    return
                raise

    @property
    def is_quiet(self) -> bool:
        """Whether no byte is waiting that has been received and not been read."""
        return not self._buffer

    def _fill(self, so_far: bytes) -> None:
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise BrokenOff(SILENCE, so_far) from None
        except OSError as error:
            raise BrokenOff(RESET, so_far) from error
        if not data:
            raise BrokenOff(FIN, so_far)
        self._buffer += data

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece


def parse_head(head: bytes) -> tuple[bytes, Fields]:
    """Give the start line, and the fields in their order and case, values trimmed."""
    start, *lines = head.split(b"\r\n")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            fields.append((name, value.strip(b" \t")))
    return start, fields


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Give every value of that name, in order; the name in lower case."""
    return [value for have, value in fields if have.lower() == name]


def size_of(fields: Fields) -> int | None:
    """Give the announced length of a body; None if it is chunked or ends with the connection."""
    if values(fields, b"transfer-encoding"):
        return None
    lengths = values(fields, b"content-length")
    return int(lengths[0]) if lengths else None


def is_chunked(fields: Fields) -> bool:
    return any(value.lower() == b"chunked" for value in values(fields, b"transfer-encoding"))


def chunk(data: bytes) -> bytes:
    """Frame a piece of a chunked body; an empty one is the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(*pieces: bytes) -> bytes:
    """Frame a whole chunked body, last chunk and all."""
    return b"".join(map(chunk, (*pieces, b"")))
