"""What a script of the scripted upstream sees and does: a connection, a request, a visit."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Final

from gateway.testing.wire import (
    RESET,
    SILENCE,
    BrokenOff,
    Wire,
    is_chunked,
    parse_head,
    size_of,
    values,
)

# How long an ended connection is read on, so that the other end sees a FIN and not a reset.
LINGER_S: Final = 2.0
HANDSHAKE_S: Final = 10.0
# SO_LINGER on, with a time of 0: closing sends a reset.
_ABORT: Final = struct.pack("ii", 1, 0)


class Stopped(OSError):
    """The upstream is being closed while a script waits."""


class Connection:
    """One connection of the gateway.

    number: 0 for the first. opened_ns, fin_ns, reset_ns: when it came, and when the gateway closed
    or reset it (monotonic clock, None until then). served: requests so far. unread: bytes that the
    kernel had taken, and nobody had read, when it was hung up on. error: what ended it, if
    something did.
    """

    def __init__(self, sock: socket.socket, number: int, changed: threading.Condition) -> None:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.number = number
        self.wire = Wire(sock)
        self.opened_ns = time.monotonic_ns()
        self.fin_ns: int | None = None
        self.reset_ns: int | None = None
        self.served = 0
        self.unread = 0
        self.is_ended = False
        self.error: OSError | None = None
        self._changed = changed

    @property
    def gone_ns(self) -> int | None:
        """When the gateway left, whichever way it did."""
        return self.fin_ns if self.fin_ns is not None else self.reset_ns

    def wait_gone(self, timeout_s: float = 10.0) -> int:
        """Wait until the gateway has left, and give the time; `TimeoutError` if it stays."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.gone_ns is not None, timeout_s):
                raise TimeoutError(f"connection {self.number} is still open after {timeout_s} s")
        assert self.gone_ns is not None
        return self.gone_ns

    def note(self, now_ns: int, *, was_reset: bool) -> None:
        """Keep the first sight of the gateway's leaving."""
        with self._changed:
            if self.gone_ns is None and not was_reset:
                self.fin_ns = now_ns
            if self.reset_ns is None and was_reset:
                self.reset_ns = now_ns
            self._changed.notify_all()

    def wrap(self, context: ssl.SSLContext) -> None:
        self.sock.settimeout(HANDSHAKE_S)
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.wire = Wire(self.sock)

    # -- the ways to end it ------------------------------------------------------------------------

    def fin(self) -> None:
        """Close our direction in an orderly way; with TLS, without the close_notify it asks for."""
        self._shut(socket.SHUT_WR)

    def close_notify(self) -> None:
        """Close our direction as TLS wants it: close_notify, then FIN."""
        self._notify()
        self._shut(socket.SHUT_WR)

    def reset(self) -> None:
        """Abort: the other end gets a reset (RST), and what is unsent is forgotten."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.close()

    def hang_up(self) -> None:
        """Close both directions at once, as a server does with an idle connection.

        After this the kernel answers further bytes with a reset and acknowledges none (RFC 1122
        section 4.2.2.13). Those it had taken before are counted in `unread`; with TLS that
        includes what OpenSSL reads, and throws away, while it says goodbye.
        """
        taken = self._bytes_received() - self._bytes_waiting()
        self._notify()
        with contextlib.suppress(OSError):  # the other end may have been quicker still
            self._shut(socket.SHUT_RDWR)
        more = self._bytes_received() - taken
        self.unread += more if more > 1 else 0  # the kernel counts a FIN as one

    def wake(self) -> None:
        """Make a blocked read or write of this connection end."""
        with contextlib.suppress(OSError):
            self._shut(socket.SHUT_RDWR)

    def close(self) -> None:
        self.is_ended = True
        self.sock.close()

    def read_away(self) -> None:
        """Having ended our direction, read on until the gateway has ended its own."""
        self.sock.settimeout(LINGER_S)
        try:
            for _ in self.wire.rest():
                pass
        except BrokenOff as broken:
            self.broke(broken)
        else:
            self.note(time.monotonic_ns(), was_reset=False)

    def broke(self, broken: BrokenOff) -> None:
        """Keep what a read found out, where the watch has not been quicker."""
        if broken.ending != SILENCE:
            self.note(time.monotonic_ns(), was_reset=broken.ending == RESET)

    def failed(self, error: OSError) -> None:
        """Keep what a write found out: to write to one who is gone is an error."""
        self.error = error
        if isinstance(error, ConnectionError | ssl.SSLError):
            self.note(time.monotonic_ns(), was_reset=True)

    def _bytes_received(self) -> int:
        """What the kernel has taken from the other end (struct tcp_info, tcpi_bytes_received)."""
        if self.sock.family == socket.AF_UNIX:
            return self._bytes_waiting()
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        return int.from_bytes(info[128:136], sys.byteorder)

    def _bytes_waiting(self) -> int:
        """What of it nobody has read yet."""
        return int.from_bytes(fcntl.ioctl(self.sock, termios.FIONREAD, b"\0" * 4), sys.byteorder)

    def _notify(self) -> None:
        """Send TLS's close_notify, if this is TLS; the other end's own is not waited for."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.setblocking(False)
            with contextlib.suppress(OSError):
                self.sock.unwrap()

    def _shut(self, how: int) -> None:
        self.is_ended = True
        # The method of SSLSocket would also forget the TLS state, under a thread that may use it.
        socket.socket.shutdown(self.sock, how)


class Request:
    """One request as it stood on the wire.

    raw: its bytes, as far as they have been read. method, target, fields: of its head. arrived_ns:
    when its head was whole. is_whole: whether its body has been read to the end.
    """

    def __init__(self, head: bytes, connection: Connection, *, keeps_body: bool) -> None:
        self.arrived_ns = time.monotonic_ns()
        self.head = head
        self.connection = connection
        start, self.fields = parse_head(head)
        self.method, self.target, self.version = start.split(b" ")
        self.raw = bytearray(head)
        self.body = b""
        self.is_whole = False
        self._keeps_body = keeps_body
        self._started = False

    def get(self, name: bytes) -> bytes | None:
        """Give the first value of a field, by its name in lower case."""
        return next(iter(values(self.fields, name)), None)

    def pieces(self) -> Iterator[bytes]:
        """Read the body in pieces as they come; without this the rest is read after the script."""
        if self._started:
            return
        self._started = True
        wire = self.connection.wire
        kept: list[bytes] = []
        for raw, piece in self._framed(wire):
            if self._keeps_body:
                self.raw += raw
                kept.append(piece)
            if piece:
                yield piece
        self.body = b"".join(kept)
        self.is_whole = True

    def read(self) -> bytes:
        """Read the body to its end and give it."""
        for _ in self.pieces():
            pass
        return self.body

    def _framed(self, wire: Wire) -> Iterator[tuple[bytes, bytes]]:
        if is_chunked(self.fields):
            return wire.chunks()
        return ((piece, piece) for piece in wire.sized(size_of(self.fields) or 0))


class Visit:
    """One request, and all that a script may do about it."""

    def __init__(
        self,
        connection: Connection,
        request: Request,
        stopping: threading.Event,
        patience_s: float,
    ) -> None:
        self.connection = connection
        self.request = request
        self._stopping = stopping
        self._patience_s = patience_s

    def read(self) -> bytes:
        """Read the request's body to its end and give it."""
        return self.request.read()

    def send(self, *pieces: bytes) -> None:
        """Send bytes, a packet each, as far as the kernel keeps them apart."""
        for piece in pieces:
            self.connection.sock.sendall(piece)

    def pause(self, seconds: float) -> None:
        """Do nothing for that long."""
        if self._stopping.wait(seconds):
            raise Stopped

    def wait(self, event: threading.Event) -> None:
        """Wait until the test says so."""
        patient_until = time.monotonic() + self._patience_s
        while not event.wait(0.02):
            if self._stopping.is_set():
                raise Stopped
            if time.monotonic() > patient_until:
                raise AssertionError("a script waited for an event that nobody set")

    def wait_gone(self) -> None:
        """Wait until the gateway has left, or the upstream is closed."""
        while self.connection.gone_ns is None:
            self.pause(0.01)

    def fin(self) -> None:
        """End with a FIN; with TLS, without the close_notify it asks for."""
        self.connection.fin()

    def close_notify(self) -> None:
        """End with TLS's own close, then a FIN; without TLS the same as `fin`."""
        self.connection.close_notify()

    def reset(self) -> None:
        """End with a reset (RST)."""
        self.connection.reset()

    def finish(self) -> None:
        """Read what the script left: of the request, or of a connection it ended with a FIN."""
        connection = self.connection
        if not connection.is_ended:
            self.read()
            if not self.request.is_whole:
                connection.fin()  # given up in mid-body: what follows cannot be told apart
        if connection.sock.fileno() >= 0 and connection.is_ended:
            connection.read_away()
