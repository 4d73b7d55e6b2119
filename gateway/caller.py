"""The caller's side: one accepted connection, on llhttp.

It takes requests apart, refuses what must never reach an upstream, and gives each request to a
line, one at a time. The line sees only a small seam: a request body, `write`, `writelines`,
`is_full`, `done` and, in the other direction, `leave` and `drained`. Bytes of a next request wait
unread (`pipeline_bytes_max`) until the present one is done.

The head is cut off by its empty line before llhttp sees it and a sized body is fed to the byte, so
the parser never runs into a message whose turn has not come. llhttp is strict about line ends,
folding, lengths and chunks; what it lets through and a proxy must not is refused in `screen`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, cast

import httptools

from gateway.exchange import Exchange
from gateway.headers import Headers
from gateway.refusal import Refusal, refusal_bytes
from gateway.tcp import is_gone, reset, unacknowledged

if TYPE_CHECKING:
    from gateway.clock import Clock
    from gateway.config import Limits
    from gateway.refusal import Screened

END_OF_HEAD: Final = b"\r\n\r\n"
BEFORE_CHUNKS: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# What the connection is waiting for.
IDLE: Final = 0  # the first byte of a request
HEAD: Final = 1  # the rest of a head
BODY: Final = 2  # the rest of a body; the line is running
BUSY: Final = 3  # the line
LINGER: Final = 4  # the other end to close, having been answered before it was done sending
CLOSED: Final = 5  # the last bytes to drain


class Served(Protocol):
    """A line, as the connection sees it."""

    def leave(self) -> None: ...
    def drained(self) -> None: ...


class Listener(Protocol):
    """What all connections of a listener share."""

    clock: Clock
    limits: Limits
    is_draining: bool
    has_pages: bool
    connections: set[Caller]

    def serve(self, caller: Caller, exchange: Exchange, screened: Screened) -> Served | None: ...
    def hand_over(self, target: bytes) -> asyncio.Protocol | None: ...
    def screened(self, exchange: Exchange) -> Screened: ...
    def refused(self, refusal: Refusal, peer: str) -> None: ...


class RequestBody:
    """The body on its way in: held until somebody takes it, then passed on slice by slice."""

    __slots__ = (
        "_waiter",
        "caller",
        "complete",
        "held",
        "held_bytes",
        "is_chunked",
        "received",
        "size",
        "take",
        "whole",
    )

    def __init__(self, caller: Caller | None, size: int | None, *, is_chunked: bool) -> None:
        self.caller = caller
        self.size = size  # as announced, None with chunked
        self.is_chunked = is_chunked
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.received = 0
        self.whole: bytes | None = None
        self.complete = not size and not is_chunked
        self.take: Callable[[bytes, bool], None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_empty(self) -> bool:
        return not self.size and not self.is_chunked

    def take_whole(self, data: bytes) -> None:
        """All of it came along with the head."""
        self.held.append(data)
        self.held_bytes = self.received = len(data)
        self.complete = True

    def let_go(self) -> None:
        """The exchange is over: point at nobody, so that the collector is not needed."""
        self.caller = self.take = None

    def wanted(self) -> None:
        """Somebody is about to read: an Expect: 100-continue is answered now and not before."""
        if self.caller is not None:
            self.caller.expect_no_more()

    async def read(self, bytes_max: int) -> bytes | None:
        """Read it all. None if it is larger than that: then what came so far stays held, for
        streaming.
        """
        if self.size is not None and self.size > bytes_max:
            return None
        self.wanted()
        while not self.complete:
            if self.held_bytes > bytes_max:
                return None
            if self.caller is not None:
                self.caller.resume_body()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return b"".join(self.held) if self.held_bytes <= bytes_max else None

    def whole_now(self) -> bytes | None:
        """The body, if all of it is here already, as with a small one that came along with its
        head; else None.
        """
        if not self.complete:
            return None
        held = self.held
        self.whole = held[0] if len(held) == 1 else b"".join(held)
        return self.whole

    def start(self, take: Callable[[bytes, bool], None]) -> None:
        """From now on each slice goes to `take(slice, complete)`; what was held has been taken
        already.
        """
        self.wanted()
        self.held = []
        self.held_bytes = 0
        self.take = take
        if self.caller is not None:
            self.caller.resume_body()

    def feed(self, data: bytes, complete: bool) -> None:
        self.complete = complete
        self.received += len(data)
        if self.take is not None:
            self.take(data, complete)
            return
        if data:
            self.held.append(data)
            self.held_bytes += len(data)
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif (
            not complete
            and self.caller is not None
            and self.held_bytes > self.caller.limits.buffer_bytes_max
        ):
            self.caller.pause_body()

    # The upstream does not take the body, or takes it again (`gateway.upstream.Upload`).
    def pause(self) -> None:
        if self.caller is not None and not self.complete:
            self.caller.pause_body()

    def resume(self) -> None:
        if self.caller is not None:
            self.caller.resume_body()


class Caller(asyncio.Protocol):
    """One connection of a caller. See the module's docstring."""

    __slots__ = (
        "_active",
        "_body_bytes",
        "_body_left",
        "_body_since_ns",
        "_body_slices",
        "_buffer",
        "_drain_bytes",
        "_expects",
        "_fields",
        "_has_begun",
        "_head",
        "_headers_over",
        "_is_old",
        "_is_turned_away",
        "_keep",
        "_message_done",
        "_paused",
        "_rate_bytes",
        "_resets",
        "_served_one",
        "_since_ns",
        "_slices",
        "_stalled_ns",
        "_surplus",
        "_trailer_bytes",
        "_url",
        "body",
        "is_full",
        "limits",
        "line",
        "listener",
        "on_body",
        "parser",
        "peer",
        "state",
        "transport",
    )

    # Connections of the process that are open only until they have read that they are too many.
    turned_away: ClassVar[int] = 0

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.limits = listener.limits
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self.peer = ""
        self.state = IDLE
        self.line: Served | None = None
        self.body: RequestBody | None = None
        self.is_full = False
        self._slices: list[bytes] = []
        self.on_body = self._slices.append
        self.parser = httptools.HttpRequestParser(self)
        self._buffer = bytearray()
        self._head = bytearray()
        self._fields: list[tuple[bytes, bytes]] = []
        self._url = b""
        self._headers_over = False
        self._message_done = False
        self._surplus = False
        self._expects = False
        self._keep = False
        self._paused = False
        self._body_left = 0
        self._body_slices = 0
        self._rate_bytes = 0
        self._has_begun = False
        self._is_old = False
        self._is_turned_away = False
        self._resets = False
        self._body_bytes = 0
        self._body_since_ns = 0
        self._trailer_bytes = 0
        self._served_one = False
        self._active = False
        self._stalled_ns = 0
        self._drain_bytes = 0
        self._since_ns = time.monotonic_ns()

    # -- the seam ----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._has_begun = True
        self.transport.write(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self._has_begun = True
        self.transport.writelines(pieces)

    @property
    def may_keep(self) -> bool:
        """Whether the connection can serve another request after this one."""
        body = self.body
        return (
            self._keep
            and not self._surplus
            and not self.listener.is_draining
            and (body is None or body.complete)
        )

    def done(self, *, keep: bool) -> None:
        """The line is over and its answer whole. Next request, or goodbye."""
        self.line = None
        body, self.body = self.body, None
        if self.transport.is_closing():
            return
        if not keep or self.listener.is_draining:
            self._goodbye(unread=body is not None and not body.complete)
            return
        self.state = IDLE
        self._served_one = True
        self._active = True
        if self._buffer:
            buffered = bytes(self._buffer)
            self._buffer.clear()
            self._resume_reading()
            self.data_received(buffered)
        elif self._paused:
            self._resume_reading()

    def close_if_idle(self) -> None:
        """The gateway drains: nothing is in progress here, so nothing is lost."""
        if self.state == IDLE:
            self.transport.close()

    def cut(self, *, reset_too: bool) -> None:
        """The answer will not be completed: what was written still goes out, then the connection
        ends.

        reset_too: the message has no framing of its own (HTTP/1.0), so only a reset tells that it
        is not whole.
        """
        self.line = None
        self.body = None
        if self.transport.is_closing():
            return
        self.state = CLOSED
        self._since_ns = time.monotonic_ns()
        if reset_too:
            self._resets = True  # once the last byte has arrived: see `check`
            self.listener.clock.watch_quickly(self)
        else:
            self.transport.close()

    def expect_no_more(self) -> None:
        """Answer a waiting Expect: 100-continue (RFC 9110 section 10.1.1)."""
        if self._expects:
            self._expects = False
            self.transport.write(CONTINUE)

    def pause_body(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()
            self.listener.clock.watch_quickly(self)

    def resume_body(self) -> None:
        if self._paused and self.state == BODY:
            self._resume_reading()

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        listener = self.listener
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unix"
        self.transport.set_write_buffer_limits(self.limits.buffer_bytes_max)
        is_too_many = len(listener.connections) - Caller.turned_away >= self.limits.connections_max
        listener.connections.add(self)
        listener.clock.watch(self)
        if is_too_many:
            # It lingers until its answer has arrived, but takes nobody's place.
            self._is_turned_away = True
            Caller.turned_away += 1
            text = "Too many connections are open."
            self._refuse(Refusal(503, "connections", text, "connections_max"))

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state <= HEAD:
            self._receive_head(data)
        elif state == BODY:
            self._receive_body(data)
        elif state == BUSY:
            self._buffer += data
            if len(self._buffer) > self.limits.pipeline_bytes_max:
                self.pause_body()
        elif state == LINGER:
            self._drain_bytes += len(data)

    def eof_received(self) -> None:
        # A half-closed caller counts as gone (README says so): the transport closes, and
        # `connection_lost` follows.
        if self.line is not None:
            self._leave()

    def connection_lost(self, error: Exception | None) -> None:
        self.state = CLOSED
        listener = self.listener
        listener.clock.unwatch(self)
        listener.connections.discard(self)
        if self._is_turned_away:
            Caller.turned_away -= 1
        self._leave()
        del self.parser, self.on_body  # both point back here; the collector is not to be needed

    def pause_writing(self) -> None:
        self.is_full = True
        self._stalled_ns = time.monotonic_ns()

    def resume_writing(self) -> None:
        self.is_full = False
        if self.line is not None:
            self.line.drained()

    # -- llhttp ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._message_done:
            self._surplus = (
                True  # a request behind a chunked body, in the same read: closed after this answer
            )

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._headers_over = True

    def on_message_complete(self) -> None:
        if not self._message_done:
            self._message_done = True
            self._body_slices = len(self._slices)

    # -- deadlines ---------------------------------------------------------------------------------

    def check(self, now_ns: int) -> None:
        if self._resets and self._has_arrived():
            self._reset()
            return
        if self._paused and is_gone(self._socket()):
            self.transport.abort()
            return
        if self.is_full and self._is_stalled(now_ns):
            self.transport.abort()
            return
        limits = self.limits
        state = self.state
        waited = now_ns - self._since_ns
        if state == IDLE:
            if self._active:
                self._active = False
                self._since_ns = now_ns
                return
            if waited > (limits.keepalive_timeout if self._served_one else limits.header_timeout):
                self._close_idle()
        elif state == HEAD:
            if waited > limits.header_timeout:
                self._refuse(
                    Refusal(
                        408,
                        "request_timeout",
                        "The request's head did not arrive in time.",
                        "header_timeout",
                    )
                )
        elif state == BODY:
            self._check_rate(now_ns)
        elif state == LINGER:
            if waited > limits.linger_timeout:
                self.transport.abort()
        elif state == CLOSED and not self.is_full and waited > limits.stall_timeout:
            self.transport.abort()

    def _has_arrived(self) -> bool:
        """Whether the caller's kernel has all that was written."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or self.transport.is_closing():
            return True
        return not self.transport.get_write_buffer_size() and not unacknowledged(sock)

    def _close_idle(self) -> None:
        """Close; bytes that a caller has not taken in all that time are not waited for."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # -- head --------------------------------------------------------------------------------------

    def _receive_head(self, data: bytes) -> None:
        head = self._head
        if head:
            before = len(head)
            head += data
            found = head.find(END_OF_HEAD, max(0, before - 3))
            start = before
        else:
            if data[0] <= 13:
                data = data.lstrip(
                    b"\r\n"
                )  # empty lines before a request are no request (RFC 9112 section 2.2)
                if not data:
                    return
            found = data.find(END_OF_HEAD)
            start = 0
        if found < 0:
            if not start:
                self.state = HEAD
                self._since_ns = time.monotonic_ns()
                head += data
            self._feed_head(data, len(head))
            return
        end = found + 4 - start
        part, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self.listener.has_pages:
            whole = bytes(head[: found + 4]) if start else part
            if self._is_handed_over(whole, rest):
                return
        if start:
            head.clear()
        if self._feed_head(part, found + 4):
            self._begin(rest)

    def _is_handed_over(self, part: bytes, rest: bytes) -> bool:
        """Whether the whole connection goes to an aiohttp handler of a plugin, which then reads it
        from the start.
        """
        target = part.split(b" ", 2)
        other = self.listener.hand_over(target[1]) if len(target) == 3 else None
        if other is None:
            return False
        transport = self.transport
        self.listener.clock.unwatch(self)
        self.listener.connections.discard(self)
        self.state = CLOSED
        transport.set_protocol(other)
        other.connection_made(transport)
        other.data_received(part + rest)
        return True

    def _feed_head(self, data: bytes, size: int) -> bool:
        """Give a piece of the head to llhttp; False if it was refused. size: bytes of the head so
        far.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # Upgrade is a hop's own affair: the request goes on without it
        except httptools.HttpParserError as error:
            self._refuse(
                Refusal(400, "bad_request", "The request is not valid HTTP/1.1.", str(error))
            )
            return False
        limits = self.limits
        if size > limits.header_bytes_max:
            self._refuse(
                Refusal(431, "header_bytes", "The request's head is too large.", "header_bytes_max")
            )
            return False
        if len(self._fields) > limits.header_count_max:
            self._refuse(
                Refusal(431, "header_count", "The request has too many fields.", "header_count_max")
            )
            return False
        return True

    def _begin(self, rest: bytes) -> None:
        """The head is whole: make it an exchange, see what body is to come, and start the line."""
        parser = self.parser
        if not self._headers_over:
            self._refuse(
                Refusal(
                    400, "bad_request", "The request is not valid HTTP/1.1.", "no end of the head"
                )
            )
            return
        fields, self._fields = self._fields, []
        url, self._url = self._url, b""
        self._headers_over = self._message_done = False
        exchange = Exchange(
            parser.get_method(), url, parser.get_http_version(), Headers(fields), self.peer
        )
        listener = self.listener
        try:
            screened = listener.screened(exchange)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._keep = screened.keep
        self._is_old = exchange.version == "1.0"
        self._has_begun = False
        size = screened.size
        self.body = body = RequestBody(self, size, is_chunked=screened.is_chunked)
        # llhttp sees heads and chunks only: a sized body is counted here, and what comes next needs
        # a fresh parser.
        self.parser = httptools.HttpRequestParser(self)
        if size is None:
            # An Upgrade in the head would make llhttp leave the body alone; this one has none.
            self.parser.feed_data(BEFORE_CHUNKS)
            self._fields = []
            self._url = b""
            self._headers_over = self._message_done = False
        if size == len(rest):
            self.state = BUSY
            if rest:
                body.take_whole(rest)
        elif size == 0:
            self.state = BUSY
            self._buffer += rest
        else:
            self.state = BODY
            self._expects = screened.expects
            self._body_left = size or 0
            self._body_bytes = self._rate_bytes = 0
            self._body_since_ns = time.monotonic_ns()
            if rest:
                self._receive_body(rest)
        if self.state in (BODY, BUSY):
            self.line = listener.serve(self, exchange, screened)

    # -- body --------------------------------------------------------------------------------------

    def _receive_body(self, data: bytes) -> None:
        body = self.body
        if body is None:
            return
        rest = b""
        if body.is_chunked:
            if not self._feed_chunks(data):
                return
            slices = self._slices
            complete = self._message_done
            # What llhttp took for the body of a request behind this one is not this one's.
            part = b"".join(slices[: self._body_slices] if complete else slices)
            slices.clear()
        else:
            left = self._body_left
            part, rest = (data, b"") if len(data) <= left else (data[:left], data[left:])
            self._body_left = left = left - len(part)
            complete = not left
        self._body_bytes += len(part)
        self._rate_bytes += len(part)
        if self._body_bytes > self.limits.body_bytes_max:
            self._break_body(
                Refusal(413, "body_bytes", "The request's body is too large.", "body_bytes_max")
            )
            return
        if complete:
            self.state = BUSY
            if self._paused:
                self._resume_reading()
            if rest:
                self._buffer += rest
            if body.is_chunked:
                self.parser = httptools.HttpRequestParser(self)
                self._fields = []
                self._url = b""
                self._headers_over = self._message_done = False
        if part or complete:
            body.feed(part, complete)

    def _feed_chunks(self, data: bytes) -> bool:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._surplus = True  # it belongs to a request behind this one
        except httptools.HttpParserError as error:
            if not self._message_done:
                self._break_body(
                    Refusal(
                        400, "bad_request", "The request's body is not valid HTTP/1.1.", str(error)
                    )
                )
                return False
            self._surplus = True
        if self._slices:
            self._trailer_bytes = 0
        else:
            self._trailer_bytes += len(data)
        limits = self.limits
        if (
            len(self._fields) > limits.header_count_max
            or self._trailer_bytes > limits.header_bytes_max
        ):
            # Trailers are dropped, because nobody may merge them unasked (RFC 9110 section 6.5.1),
            # but counted.
            self._break_body(
                Refusal(
                    431, "header_count", "The request has too many trailers.", "header_count_max"
                )
            )
            return False
        return True

    def _break_body(self, refusal: Refusal) -> None:
        """The body turned out bad while the line is running: the line is told that the caller is
        gone, the caller why.
        """
        has_begun = self._has_begun
        self._leave()
        if has_begun:
            # Whatever is said now would stand in the middle of the answer: its missing end says
            # enough, and where only the close ends it (HTTP/1.0) a reset does.
            self.listener.refused(refusal, self.peer)
            if self._is_old:
                self.cut(reset_too=True)
            elif not self.transport.is_closing():
                self._goodbye(unread=True)
        else:
            self._refuse(refusal)

    def _check_rate(self, now_ns: int) -> None:
        """A body must come at `body_rate_min` on average, once its grace is over; our own pauses do
        not count.
        """
        if self._paused or self._expects:
            self._body_since_ns = now_ns
            self._rate_bytes = 0
            return
        limits = self.limits
        waited = now_ns - self._body_since_ns
        if (
            waited > limits.body_rate_grace
            and self._rate_bytes * 1_000_000_000 < limits.body_rate_min * waited
        ):
            self._break_body(
                Refusal(
                    408,
                    "request_timeout",
                    "The request's body did not arrive in time.",
                    "body_rate_min",
                )
            )

    # -- endings -----------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        self.listener.refused(refusal, self.peer)
        if self.transport.is_closing():
            return
        self.transport.write(refusal_bytes(refusal))
        self._goodbye(unread=True)

    def _goodbye(self, *, unread: bool) -> None:
        """Close; where the other end may still be sending, say only that we are done and let it
        finish reading.

        Closing over unread bytes would make the kernel send a reset that can destroy the answer on
        its way (RFC 9112 section 9.6).
        """
        self._since_ns = time.monotonic_ns()
        if (unread or self._buffer) and self.transport.can_write_eof():
            self.state = LINGER
            self._buffer.clear()
            self._drain_bytes = 0
            if self._paused:
                self._resume_reading()
            self.transport.write_eof()
        else:
            self.state = CLOSED
            self.transport.close()

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            reset(sock)
        self.transport.abort()

    def _leave(self) -> None:
        line, self.line = self.line, None
        self.body = None
        if line is not None:
            line.leave()

    def _resume_reading(self) -> None:
        self._paused = False
        self.listener.clock.unwatch_quickly(self)
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _is_stalled(self, now_ns: int) -> bool:
        """Whether the caller has taken nothing of a full buffer for `stall_timeout`."""
        size = self.transport.get_write_buffer_size()
        if size != self._drain_bytes:
            self._drain_bytes = size
            self._stalled_ns = now_ns
        return now_ns - self._stalled_ns > self.limits.stall_timeout

    def _socket(self) -> socket.socket:
        return cast("socket.socket", self.transport.get_extra_info("socket"))
