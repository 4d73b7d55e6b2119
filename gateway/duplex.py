"""Two connections joined: what one side sends, the other gets, untouched and at once.

A tunnel begins where HTTP ends (`gateway.switching`). Each of the two `End`s takes its transport
over from the protocol that had it and writes what it receives to the other end in the same call. An
end whose other end does not keep up rests, as in a relay. Frames are only looked at, behind the
write: to know whether both sides have said goodbye, where a close frame of ours may stand, and what
the messages are, if a plugin taps them.

The end of one side ends the other, behind the last bytes. Where the upstream left, they get
`linger_timeout`, and as long as they move, no deadline. Where the caller left, they
must not stand still for a moment, and where it reset its connection, they are dropped: an upstream
that takes nothing is to know too, so it gets a reset.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final, Protocol

from gateway.clock import monotonic_ns
from gateway.exchange import CLIENT_ABORT, COMPLETE, STOPPED, TRUNCATED
from gateway.frames import GOING_AWAY, close_frame, text_frame
from gateway.tcp import is_gone, reset, round_trip_ns, unread, unsent
from gateway.websocket import Reader

if TYPE_CHECKING:
    from gateway.caller import Caller
    from gateway.clock import Clock
    from gateway.config import Limits
    from gateway.exchange import Exchange
    from gateway.upstream import Upstream

STALLED: Final = "stalled"
IDLE: Final = "idle"
# Of what a caller left behind, something must go out in this time and two round trips, so that its
# upstream knows within the promised 100 ms; looks are 30 ms apart (`gateway.clock`).
_HURRY_NS: Final = 25_000_000


class Owner(Protocol):
    """Whose tunnel it is, and what it is told."""

    exchange: Exchange

    def tunnelled(self, outcome: str, why: str) -> None: ...
    def unreadable(self, error: Exception) -> None: ...


class End(asyncio.Protocol):
    """One of the two connections. Bytes that come here are the other end's to write."""

    __slots__ = (
        "_is_seen_off",
        "_left",
        "_moved_ns",
        "connection",
        "is_full",
        "is_lost",
        "is_resting",
        "other",
        "reader",
        "transport",
        "tunnel",
    )

    def __init__(
        self, tunnel: Tunnel, connection: Caller | Upstream, reader: Reader, *, is_full: bool
    ) -> None:
        self.tunnel: Tunnel | None = tunnel
        self.connection: Caller | Upstream | None = connection
        self.transport = connection.transport
        self.reader = reader
        self.other: End | None = None
        self.is_full = is_full  # the transport has more to write than it should
        self.is_resting = False  # because the other is full
        self.is_lost = False
        self._is_seen_off = False  # the other side has left
        self._left = 0  # bytes that were to be written when last looked at
        self._moved_ns = monotonic_ns()

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        tunnel, other = self.tunnel, self.other
        if tunnel is None or other is None or tunnel.is_over:
            return  # what comes behind the end is read away
        other.transport.write(data)
        tunnel.passed(self, len(data))
        if other.is_full:
            self.rest()
        reader = self.reader
        had_fault = reader.fault is not None
        reader.feed(data)
        if reader.fault is not None and not had_fault:
            tunnel.owner_told(reader.fault)

    def eof_received(self) -> None:
        # A half-closed side counts as gone; the transport closes, and `connection_lost` follows.
        if self.tunnel is not None:
            self.tunnel.left(self, "closed")

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        tunnel, connection = self.tunnel, self.connection
        if tunnel is not None:
            why = "closed" if error is None else f"{type(error).__name__}: {error}"
            tunnel.left(self, why, was_reset=error is not None)
            tunnel.let_go(self)
        # These point back here, and the collector is not to be needed.
        self.tunnel = self.connection = self.other = None
        if connection is not None:
            connection.connection_lost(error)

    def pause_writing(self) -> None:
        self.is_full = True
        self._left, self._moved_ns = 0, monotonic_ns()

    def resume_writing(self) -> None:
        self.is_full = False
        if self.other is not None:
            self.other.go_on()

    # -- back-pressure -----------------------------------------------------------------------------

    def rest(self) -> None:
        """Read no more until the other end has room."""
        if not self.is_resting and not self.transport.is_closing():
            self.is_resting = True
            self.transport.pause_reading()
            if self.tunnel is not None:
                self.tunnel.rests(self)

    def go_on(self) -> None:
        if self.is_resting:
            self.is_resting = False
            if self.tunnel is not None:
                self.tunnel.goes_on(self)
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def is_stalled(self, now_ns: int, timeout_ns: int) -> bool:
        """Whether nothing of what is to be written has been taken for so long."""
        left = self.transport.get_write_buffer_size()
        if left != self._left:
            self._left, self._moved_ns = left, now_ns
        return now_ns - self._moved_ns > timeout_ns

    @property
    def is_gone(self) -> bool:
        """Whether the other side of this connection has closed, even behind unread bytes."""
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        return sock is not None and is_gone(sock)

    @property
    def hides_its_end(self) -> bool:
        """Whether that is so and nobody says it: a TLS transport first writes what it has left."""
        if not self.is_full or self.transport.can_write_eof() or not self.is_gone:
            return False
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        return sock is not None and not unread(sock)

    # -- ending ------------------------------------------------------------------------------------

    def say_goodbye(self, mask: bytes, code: int, last: bytes = b"") -> None:
        """Send a close frame of our own, where one may stand: between two frames, and once. Before
        it goes the last text, if there is one and a message may stand there.
        """
        reader = None if self.other is None else self.other.reader
        if reader is not None and reader.is_between and not reader.is_closed:
            text = text_frame(last) if last and reader.is_between_messages else b""
            self.transport.write(text + close_frame(code, mask=mask))

    def finish(self) -> None:
        """Send what is left, then the end. Read on for a while: to close over unread bytes would
        make the kernel send a reset that can destroy what is on its way (RFC 9112 section 9.6).
        """
        self._moved_ns = monotonic_ns()
        if self.is_lost or self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.go_on()
            self.transport.write_eof()
        else:
            self.transport.close()

    def see_off(self) -> None:
        """End it behind what is on its way, and see soon that it has gone."""
        if self.is_lost or self.transport.is_closing():
            return
        self._is_seen_off = True
        self._left, self._moved_ns = self._unsent(), monotonic_ns()
        if not self.transport.can_write_eof():
            self.transport.close()  # with close_notify, of which nobody can ask where it is
        elif self._left:
            self.transport.write_eof()
        else:
            self.drop()

    def drop(self) -> None:
        """End it now. What an upstream has not taken by then it never will, so it gets a reset: an
        end that is queued behind bytes would not reach it.
        """
        if self.is_lost:
            return
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if sock is not None and self._unsent():
            reset(sock)
        self.transport.abort()

    def check_end(self, now_ns: int, limits: Limits) -> None:
        """After the end: see that the connection goes."""
        if self.is_lost:
            return
        if self._is_seen_off:
            left = self._unsent()
            if left != self._left:
                self._left, self._moved_ns = left, now_ns
            if not left or now_ns - self._moved_ns > _HURRY_NS + 2 * self._round_trip_ns():
                self.drop()
            return
        left = self.transport.get_write_buffer_size()
        if self.is_stalled(now_ns, limits.stall_timeout if left else limits.linger_timeout):
            self.transport.abort()

    def _unsent(self) -> int:
        """How many bytes are to go out, here and in the kernel."""
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        size: int = self.transport.get_write_buffer_size()
        return size if sock is None else size + unsent(sock)

    def _round_trip_ns(self) -> int:
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        return 0 if sock is None else round_trip_ns(sock)


class Tunnel:
    """The two ends, their deadlines, and what became of them."""

    __slots__ = ("_has_moved", "_since_ns", "caller", "clock", "is_over", "limits", "owner", "up")

    def __init__(self, owner: Owner, clock: Clock, limits: Limits) -> None:
        self.owner: Owner | None = owner
        self.clock = clock
        self.limits = limits
        self.is_over = False
        self.caller: End = None  # type: ignore[assignment]  # set by join
        self.up: End = None  # type: ignore[assignment]  # likewise
        self._has_moved = False
        self._since_ns = monotonic_ns()

    def join(self, caller: Caller, upstream: Upstream, sent: Reader, given: Reader) -> None:
        """Take both connections over. sent, given: readers of what the caller and the upstream
        send.
        """
        self.caller = End(self, caller, sent, is_full=caller.is_full)
        self.up = End(self, upstream, given, is_full=upstream.is_full)
        self.caller.other, self.up.other = self.up, self.caller
        self.clock.watch(self)
        ahead = caller.give_up(self.caller)
        held = upstream.give_up(self.up)
        if held:
            self.up.data_received(held)
        if ahead:
            self.caller.data_received(ahead)

    # -- what the ends say -------------------------------------------------------------------------

    def passed(self, end: End, size: int) -> None:
        self._has_moved = True
        if self.owner is not None:
            exchange = self.owner.exchange
            if end is self.caller:
                exchange.bytes_received += size
            else:
                exchange.bytes_sent += size

    def owner_told(self, fault: Exception) -> None:
        if self.owner is not None:
            self.owner.unreadable(fault)

    def rests(self, end: End) -> None:
        # The caller can leave unseen now: its FIN would stand behind bytes that nobody reads, or
        # its transport has what it does not take.
        self.clock.watch_quickly(self)

    def goes_on(self, end: End) -> None:
        if not (self.is_over or self.caller.is_resting or self.up.is_resting):
            self.clock.unwatch_quickly(self)

    def left(self, end: End, why: str, *, was_reset: bool = False) -> None:
        """One side is gone: tell the owner, then the other side."""
        if self.is_over:
            return
        has_ended = self.caller.reader.is_closed and self.up.reader.is_closed
        if end is self.caller:
            self._end(COMPLETE if has_ended else CLIENT_ABORT, why)
            if was_reset:
                self.up.drop()
            else:
                self.up.see_off()
                self.clock.watch_quickly(self)
        else:
            self._end(COMPLETE if has_ended else TRUNCATED, why)
            self.caller.finish()

    def let_go(self, end: End) -> None:
        """The connection is gone for good."""
        if self.caller.is_lost and self.up.is_lost:
            self.clock.unwatch(self)

    def stop(self, outcome: str, why: str, code: int = GOING_AWAY, last: bytes = b"") -> None:
        """We end it, and tell both sides with that code. last: a text for the caller before it."""
        if self.is_over:
            return
        self.caller.say_goodbye(b"", code, last)
        self.up.say_goodbye(os.urandom(4), code)
        self._end(outcome, why)
        self.caller.finish()
        self.up.finish()

    def _end(self, outcome: str, why: str) -> None:
        self.is_over = True
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.tunnelled(outcome, why)

    # -- deadlines ---------------------------------------------------------------------------------

    def check(self, now_ns: int) -> None:
        limits, caller, up = self.limits, self.caller, self.up
        if self.is_over:
            caller.check_end(now_ns, limits)
            up.check_end(now_ns, limits)
            return
        if caller.is_resting and caller.is_gone:
            caller.transport.abort()
            self.left(caller, "closed", was_reset=True)  # what it sent last is unread
        elif caller.hides_its_end:
            caller.transport.abort()
            self.left(caller, "closed")
        elif caller.is_full and caller.is_stalled(now_ns, limits.stall_timeout):
            self._end(CLIENT_ABORT, STALLED)
            caller.transport.abort()
            up.drop()
        elif up.is_full and up.is_stalled(now_ns, limits.stall_timeout):
            self._end(TRUNCATED, STALLED)
            up.drop()
            caller.finish()
        elif self._has_moved:
            self._has_moved = False
            self._since_ns = now_ns
        elif now_ns - self._since_ns > limits.websocket_idle_timeout:
            self.stop(STOPPED, IDLE)
