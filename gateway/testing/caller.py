"""A caller on a raw socket: it sends what no client library would and sees what each of them hides.

with RawCaller(gateway.port) as caller:
    caller.request(b"POST", b"/openai/v1/chat/completions", body=b"{}")
    answer = caller.answer()
assert answer.status == 200 and answer.is_complete
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from types import TracebackType
from typing import Final, Self

from gateway.testing.wire import SILENCE, BrokenOff, Wire, is_chunked, parse_head, size_of, values

COMPLETE: Final = "complete"
# A test that waits longer than this for a byte on the same machine has found something.
TIMEOUT_S: Final = 10.0
# Turned on with a time of 0: closing sends a reset and forgets what is unsent.
_ABORT: Final = struct.pack("ii", 1, 0)


class RawAnswer:
    """One answer as it stood on the wire.

    raw: every byte of it. ending: "complete", or how the other end went in the middle of it ("fin",
    "reset", "silence"). interim: heads of 1xx answers before it. arrived_ns: when each piece of the
    body came (monotonic clock), in step with `pieces`.
    """

    def __init__(self, head: bytes, interim: list[bytes]) -> None:
        self.head = head
        self.interim = interim
        self.start, self.fields = parse_head(head)
        self.raw = bytearray(head)
        self.pieces: list[bytes] = []
        self.arrived_ns: list[int] = []
        self.ending = COMPLETE

    @property
    def version(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def reason(self) -> bytes:
        return self.start.split(b" ", 2)[2]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def is_complete(self) -> bool:
        return self.ending == COMPLETE

    def get(self, name: bytes) -> bytes | None:
        """Give the first value of a field, by its name in lower case."""
        return next(iter(values(self.fields, name)), None)

    def took(self, raw: bytes, piece: bytes) -> None:
        self.raw += raw
        if piece:
            self.pieces.append(piece)
            self.arrived_ns.append(time.monotonic_ns())


class RawCaller:
    """One connection to a gateway, or to anything else that speaks HTTP/1.1.

    receive_bytes: size of the kernel's receive buffer, for a caller that reads slowly. An address
    is a port of this machine's loopback or the path of a Unix socket.
    """

    def __init__(
        self, address: int | str, *, timeout_s: float = TIMEOUT_S, receive_bytes: int | None = None
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.settimeout(timeout_s)
        try:
            self.sock.connect(address if isinstance(address, str) else ("127.0.0.1", address))
        except BaseException:
            self.sock.close()
            raise
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = Wire(self.sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(
        self,
        method: bytes,
        target: bytes,
        *fields: tuple[bytes, bytes],
        body: bytes | None = None,
        host: bytes = b"localhost",
    ) -> None:
        """Send a plain request: Host, the fields, and Content-Length where there is a body."""
        lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + host]
        lines += [b"%b: %b" % field for field in fields]
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        self.send(b"\r\n".join([*lines, b"", body or b""]))

    def answer(self, *, to: bytes = b"GET") -> RawAnswer:
        """Read one answer to a request of that method; a cut one comes with its `ending`."""
        answer = self.answer_head()
        try:
            self._body(answer, to)
        except BrokenOff as broken:
            answer.took(broken.raw, b"")
            answer.ending = broken.ending
        return answer

    def answer_head(self) -> RawAnswer:
        """Read a head only; 1xx heads before it are kept in `interim`."""
        interim: list[bytes] = []
        while True:
            head = self.wire.head()
            if not head.split(b" ", 2)[1].startswith(b"1"):
                return RawAnswer(head, interim)
            interim.append(head)

    def ending(self) -> str:
        """Read on to the end of the connection; say whether it was "fin", "reset" or "silence"."""
        try:
            for _ in self.wire.rest():
                pass
        except BrokenOff as broken:
            return broken.ending
        return "fin"

    def everything(self) -> bytes:
        """Read until the other end has closed or reset, and give all of it; silence is an error."""
        pieces: list[bytes] = []
        try:
            pieces.extend(self.wire.rest())
        except BrokenOff as broken:
            if broken.ending == SILENCE:
                raise
        return b"".join(pieces)

    def leave(self) -> None:
        """Close."""
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.sock.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def _body(self, answer: RawAnswer, method: bytes) -> None:
        if method == b"HEAD" or answer.status in (204, 304):
            return
        size = size_of(answer.fields)
        if is_chunked(answer.fields):
            for raw, piece in self.wire.chunks():
                answer.took(raw, piece)
        elif size is not None:
            for piece in self.wire.sized(size):
                answer.took(piece, piece)
        else:
            for piece in self.wire.rest():
                answer.took(piece, piece)


def exchange_bytes(address: int | str, request: bytes, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Send raw bytes on a connection of their own and give all that comes back."""
    with RawCaller(address, timeout_s=timeout_s) as caller:
        with contextlib.suppress(ConnectionError):  # answered and closed before we were done
            caller.send(request)
        return caller.everything()
