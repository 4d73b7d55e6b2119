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
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, cast

import httptools

from gateway.body import RequestBody
from gateway.chunks import Chunks
from gateway.clock import monotonic_ns
from gateway.exchange import Exchange
from gateway.handshake import key_of
from gateway.refusal import Refusal, head_too_large, refusal_bytes
from gateway.tcp import is_gone, reset, unacknowledged

if TYPE_CHECKING:
    from gateway.clock import Clock
    from gateway.config import Limits
    from gateway.screened import Screened
    from gateway.shapes import Flat

END_OF_HEAD: Final = b"\r\n\r\n"
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

    def start(self) -> object: ...
    def leave(self) -> None: ...
    def drained(self) -> None: ...


class Listener(Protocol):
    """What all connections of a listener share."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    limits: Limits
    is_draining: bool
    has_pages: bool
    connections: set[Caller]

    def serve(
        self, caller: Caller, exchange: Exchange, body: bytes | RequestBody, screened: Screened
    ) -> Served: ...
    def serve_upgrade(
        self, caller: Caller, exchange: Exchange, screened: Screened, key: bytes
    ) -> Served: ...
    def hand_over(self, target: bytes) -> asyncio.Protocol | None: ...
    def screened(self, exchange: Exchange) -> Screened: ...
    def refused(self, refusal: Refusal, peer: str) -> None: ...


class Caller(asyncio.Protocol):
    """One connection of a caller. See the module's docstring."""

    __slots__ = (
        "_active",
        "_body_bytes",
        "_body_left",
        "_body_since_ns",
        "_buffer",
        "_chunks",
        "_drain_bytes",
        "_expects",
        "_fields",
        "_fields_max",
        "_has_begun",
        "_head",
        "_head_bytes_max",
        "_headers_over",
        "_is_head",
        "_is_old",
        "_is_turned_away",
        "_is_upgrade",
        "_keep",
        "_paused",
        "_rate_bytes",
        "_resets",
        "_served_one",
        "_since_ns",
        "_stalled_ns",
        "_url",
        "body",
        "buffer_bytes_max",
        "is_full",
        "limits",
        "line",
        "listener",
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
        self.buffer_bytes_max: int = listener.limits.buffer_bytes_max
        self._chunks: Chunks | None = None
        self.parser: Any = _parser(self)
        self._buffer = bytearray()
        self._head = bytearray()
        self._head_bytes_max = listener.limits.header_bytes_max
        self._fields_max = 2 * listener.limits.header_count_max
        self._fields: Flat = []
        self._url = b""
        self._headers_over = False
        self._expects = False
        self._keep = False
        self._paused = False
        self._body_left = 0
        self._rate_bytes = 0
        self._has_begun = False
        self._is_head = False
        self._is_old = False
        self._is_turned_away = False
        self._is_upgrade = False
        self._resets = False
        self._body_bytes = 0
        self._body_since_ns = 0
        self._served_one = False
        self._active = False
        self._stalled_ns = 0
        self._drain_bytes = 0
        self._since_ns = monotonic_ns()

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
        return self._keep and (body is None or body.complete) and not self.listener.is_draining

    def done(self, *, keep: bool) -> None:
        """The line is over and its answer whole. Next request, or goodbye."""
        self.line = None
        body, self.body = self.body, None
        if self.transport.is_closing():
            return
        if not keep or self.listener.is_draining:
            self._goodbye(unread=body is not None and not body.complete)
            return
        self._served_one = True
        self._active = True
        if self._buffer:
            # In a turn of its own, or a thousand small requests would stand in each other's calls.
            self.listener.loop.call_soon(self._next)
            return
        self.state = IDLE
        if self._paused:
            self._resume_reading()

    def _next(self) -> None:
        """Go on with what the caller has sent ahead."""
        if self.state != BUSY or self.transport.is_closing():
            return
        if self.listener.is_draining:
            self._goodbye(unread=False)
            return
        self.state = IDLE
        buffered = bytes(self._buffer)
        self._buffer.clear()
        if self._paused:
            self._resume_reading()
        self.data_received(buffered)

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
        self._since_ns = monotonic_ns()
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

    def give_up(self, other: asyncio.Protocol) -> bytes:
        """Give the connection to a tunnel's end; what the caller has sent ahead. Only its loss is
        to be told here.
        """
        self.listener.clock.unwatch(self)
        ahead = bytes(self._buffer)
        self._buffer.clear()
        self.transport.set_protocol(other)
        if self._paused:
            self._resume_reading()
        return ahead

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        listener = self.listener
        name = transport.get_extra_info("peername")
        # A PROXY header may have said it already (`gateway.doors`).
        self.peer = self.peer or (f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unix")
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
        if state == IDLE:
            self._receive_head(data)
        elif state == HEAD:
            self._receive_piece(data)
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
        if self._chunks is not None:
            self._chunks.let_go()
        self.parser = None  # it points back here, and the collector is not to be needed

    def pause_writing(self) -> None:
        self.is_full = True
        self._stalled_ns = monotonic_ns()

    def resume_writing(self) -> None:
        self.is_full = False
        if self.line is not None:
            self.line.drained()

    # -- llhttp ------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += (name, value)

    def on_headers_complete(self) -> None:
        self._headers_over = True

    # -- deadlines ---------------------------------------------------------------------------------

    def check(self, now_ns: int) -> None:
        if self._resets and self._has_arrived():
            self._reset()
            return
        if self._paused and is_gone(self._socket()):
            self.transport.abort()
            return
        if self.is_full and self._is_stalled(now_ns):
            self._reset()
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
                text = "The request's head did not arrive in time."
                self._refuse_head(Refusal(408, "request_timeout", text, "header_timeout"), b"")
        elif state == BODY:
            self._check_rate(now_ns)
        elif state == LINGER:
            if waited > limits.linger_timeout:
                self.transport.abort()
        elif state == CLOSED and not self.is_full and waited > limits.stall_timeout:
            self._reset()

    def _has_arrived(self) -> bool:
        """Whether the caller's kernel has all that was written."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or self.transport.is_closing():
            return True
        return not self.transport.get_write_buffer_size() and not unacknowledged(sock)

    def _close_idle(self) -> None:
        """Close; bytes that a caller has not taken in all that time are not waited for."""
        if self.transport.get_write_buffer_size():
            self._reset()
        else:
            self.transport.close()

    # -- head --------------------------------------------------------------------------------------

    def _receive_head(self, data: bytes) -> None:
        end = data.find(END_OF_HEAD) + 4
        if end < 4 or data[0] <= 13 or self._head:
            self._receive_piece(data)
            return
        if end == len(data):
            rest = b""
        else:
            data, rest = data[:end], data[end:]
        if self.listener.has_pages and self._is_handed_over(data, rest):
            return
        if self._feed_head(data, end):
            self._begin(rest, data)

    def _receive_piece(self, data: bytes) -> None:
        """A head that comes in pieces, or behind empty lines."""
        head = self._head
        if head:
            before = len(head)
            head += data
            found = head.find(END_OF_HEAD, max(0, before - 3))
            start = before
        else:
            # Empty lines before a request are no request (RFC 9112 section 2.2).
            data = data.lstrip(b"\r\n")
            if not data:
                return
            found = data.find(END_OF_HEAD)
            start = 0
        if found < 0:
            if not start:
                self.state = HEAD
                self._since_ns = monotonic_ns()
                head += data
            self._feed_head(data, len(head))
            return
        end = found + 4 - start
        part, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self.listener.has_pages:
            whole = bytes(head[: found + 4]) if start else part
            if self._is_handed_over(whole, rest):
                return
        is_good = self._feed_head(part, found + 4)
        head.clear()
        if is_good:
            self._begin(rest, b"")

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
        self.parser = None  # as in `connection_lost`, which goes to the other one now
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
            self._is_upgrade = True  # a hop's own affair, but for WebSockets: see `_begin_upgrade`
        except httptools.HttpParserError as error:
            text = "The request is not valid HTTP/1.1."
            self._refuse_head(Refusal(400, "bad_request", text, str(error)), data)
            return False
        if size > self._head_bytes_max:
            self._refuse_head(head_too_large(len(self._url), size), data)
            return False
        if len(self._fields) > self._fields_max:
            text = "The request has too many fields."
            self._refuse_head(Refusal(431, "header_count", text, "header_count_max"), data)
            return False
        return True

    def _begin(self, rest: bytes, head: bytes) -> None:
        """The head is whole (`head`, if in one piece): make it an exchange, see what body is to
        come, and start the line.
        """
        parser = self.parser
        if not self._headers_over:
            text = "The request is not valid HTTP/1.1."
            self._refuse_head(Refusal(400, "bad_request", text, "no end of the head"), head)
            return
        method: bytes = parser.get_method()
        place = len(method) + len(self._url) + 7  # behind the two spaces and "HTTP/"
        # The parser formats its version anew each time, which costs as much as five fields.
        version = "1.1" if head[place : place + 3] == b"1.1" else parser.get_http_version()
        exchange = Exchange(method, self._url, version, self._fields, self.peer)
        self._fields = []
        self._url = b""
        self._headers_over = False
        listener = self.listener
        try:
            screened = listener.screened(exchange)
        except Refusal as refusal:
            self._refuse(refusal, exchange.method)
            return
        self._keep = screened.keep
        self._is_old = exchange.version == "1.0"
        self._has_begun = False
        body: bytes | RequestBody | None
        if screened.size == len(rest) and not self._is_upgrade:
            self.state = BUSY
            if rest:
                parser.feed_data(rest)  # it is ready for the next head then
            body = rest
        elif self._is_upgrade and self._begin_upgrade(exchange, screened, rest):
            return
        else:
            self._is_head = method == b"HEAD"
            body = self._await_body(screened, rest)
        if body is not None:
            line = self.line = listener.serve(self, exchange, body, screened)
            line.start()  # it may be over when this returns

    def _begin_upgrade(self, exchange: Exchange, screened: Screened, rest: bytes) -> bool:
        """Start the line of a request that asks for a WebSocket; any other one goes on without its
        upgrade. What came behind it waits: nobody knows yet whether it is HTTP.
        """
        is_bare = exchange.method == b"GET" and screened.size == 0 and exchange.version == "1.1"
        key = key_of(exchange.headers.items) if is_bare else None
        if key is None:
            return False
        self._await_body(screened, rest)
        line = self.line = self.listener.serve_upgrade(self, exchange, screened, key)
        line.start()
        return True

    def _await_body(self, screened: Screened, rest: bytes) -> bytes | RequestBody | None:
        """See what body is to come; None if it turned out bad at once.

        llhttp sees heads and chunks only: a sized body is counted here, so what comes next needs a
        fresh parser.
        """
        self.parser = _parser(self)
        self._is_upgrade = False
        size = screened.size
        if size is not None and size <= len(rest):
            self.state = BUSY
            self._buffer += rest[size:]
            return rest[:size]
        if size is None:
            limits = self.limits
            self._chunks = Chunks(limits.header_count_max, limits.header_bytes_max)
        body = self.body = RequestBody(self, size, is_chunked=screened.is_chunked)
        self.state = BODY
        self._expects = screened.expects
        self._body_left = size or 0
        self._body_bytes = self._rate_bytes = 0
        self._body_since_ns = monotonic_ns()
        if rest:
            self._receive_body(rest)
        return body if self.state in (BODY, BUSY) else None

    # -- body --------------------------------------------------------------------------------------

    def _receive_body(self, data: bytes) -> None:
        body = self.body
        if body is None:
            return
        rest = b""
        chunks = self._chunks
        if chunks is not None:
            try:
                part = chunks.feed(data)
            except Refusal as refusal:
                self._break_body(refusal)
                return
            complete = chunks.complete
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
            if chunks is not None:
                self._keep = self._keep and not chunks.has_surplus
                self._chunks = None
                chunks.let_go()
        if part or complete:
            body.feed(part, complete)

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
            self._refuse(refusal, b"HEAD" if self._is_head else b"")

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

    def _refuse_head(self, refusal: Refusal, data: bytes) -> None:
        """Refuse a head that is not over. data: of it, where none has been kept."""
        start = bytes(self._head[:5]) or data[:5]
        self._refuse(refusal, b"HEAD" if start == b"HEAD " else b"")

    def _refuse(self, refusal: Refusal, method: bytes = b"") -> None:
        self.listener.refused(refusal, self.peer)
        if self.transport.is_closing():
            return
        self.transport.write(refusal_bytes(refusal, is_head=method == b"HEAD"))
        self._goodbye(unread=True)

    def _goodbye(self, *, unread: bool) -> None:
        """Close; where the other end may still be sending, say only that we are done and let it
        finish reading.

        Closing over unread bytes would make the kernel send a reset that can destroy the answer on
        its way (RFC 9112 section 9.6).
        """
        self._since_ns = monotonic_ns()
        if unread or self._buffer:
            self.state = LINGER
            self._buffer.clear()
            self._drain_bytes = 0
            if self._paused:
                self._resume_reading()
            if self.transport.can_write_eof():  # not over TLS (`gateway.secure`)
                self.transport.write_eof()
        else:
            self.state = CLOSED
            self.transport.close()

    def _reset(self) -> None:
        """End it now. Behind a plain close the kernel would keep what the caller does not take,
        megabytes of it, for as long as the caller likes.
        """
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


def _parser(caller: Caller) -> Any:
    """Make a parser of heads. Whether to keep a connection is for the screen to say, by Connection
    alone; llhttp would refuse what follows a Proxy-Connection: close too.
    """
    parser: Any = httptools.HttpRequestParser(caller)
    parser.set_dangerous_leniencies(lenient_keep_alive=True)
    return parser
