"""The upstream side: one HTTP/1.1 connection to a provider, on llhttp.

`Upstream` is the connection, `Answer` one response in progress on it. Bytes arrive in
`data_received`, are judged by llhttp, and leave in the same call through the answer's sink
(`gateway.relay`); nothing is queued and no task is switched per chunk. Until a sink is attached
(the line is still judging the head) slices are held, up to a high-water mark where the socket is
paused.

What llhttp lets through and a proxy must not: a Transfer-Encoding other than `chunked` (it would be
read until close), one in HTTP/1.0, the body of a HEAD answer that never comes, interim answers, and
bytes after the end. All of these are decided here. A connection whose framing was ever in doubt is
dropped, never reused.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import httptools

from gateway.clock import monotonic_ns
from gateway.errors import UpstreamFault
from gateway.framing import REASONS, is_reason_safe, sort_fields
from gateway.handshake import wrong_switch
from gateway.headers import Headers
from gateway.shapes import Flat, Passed, paired
from gateway.strand import Waits
from gateway.tcp import Progress, progress, reset

if TYPE_CHECKING:
    from gateway.origins import Origin
    from gateway.pool import Pool
    from gateway.strand import Wakes

BAD_FRAMING_CODE: Final = "bad_upstream_framing"
NO_ANSWER: Final = "The upstream closed the connection without an answer."
BAD_FRAMING: Final = "The upstream's answer was not valid HTTP."
CUT: Final = "The upstream broke off in the middle of its answer."
TOO_SLOW: Final = "The upstream did not answer in time."
FELL_SILENT: Final = "The upstream fell silent in the middle of its answer."


NO_FIELDS: Final = Passed.only([])
HTTP_1_1: Final = b"HTTP/1.1 "
_VERSIONS: Final = ("1.1", "1.0")
_BODILESS: Final = (204, 304)


class Sink(Protocol):
    """Where an answer's body goes."""

    def feed(self, data: bytes, ended: bool) -> None: ...
    def fail(self, fault: UpstreamFault) -> None: ...


class Upload(Protocol):
    """The request body on its way up; asked to rest while the upstream does not take it."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Answer(Waits):
    """One response: its head, then its body, as far as they have come. Awaiting it waits for news:
    the head, more of a held body, or a fault. The connection keeps the deadline.
    """

    __slots__ = (
        "bodiless",
        "close_delimited",
        "coding",
        "connection",
        "ended",
        "fault",
        "first_byte_ns",
        "head_known",
        "held",
        "held_bytes",
        "is_coded",
        "kind",
        "length",
        "passed",
        "reason",
        "sink",
        "status",
        "wants_preview",
    )

    def __init__(self, connection: Upstream, *, is_head: bool) -> None:
        self.waiter: Wakes | None = None
        self.connection: Upstream | None = connection
        self.bodiless = is_head  # a HEAD answer has no body, whatever its fields say
        self.head_known = False
        self.ended = False
        self.fault: UpstreamFault | None = None
        self.sink: Sink | None = None
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.wants_preview = False
        # of the head
        self.status = 0
        self.reason = b""
        self.first_byte_ns: int | None = None
        self.passed = NO_FIELDS
        self.length: bytes | None = None  # the values of Content-Length, -Type and -Encoding
        self.kind: bytes | None = None
        self.coding: bytes | None = None
        self.is_coded = False
        self.close_delimited = False

    @property
    def headers(self) -> Headers:
        """The fields that pass, to look at."""
        return Headers.over(self.passed)

    def head_fault(self) -> UpstreamFault | None:
        """Why there is no head to go on with, once one of the two is known.

        A fault after the head is the sink's to hear, behind the bytes that came before it. Bad
        framing is the exception: while nothing has gone out, an answer in doubt is no answer.
        """
        fault = self.fault
        if fault is not None and (not self.head_known or fault.code == BAD_FRAMING_CODE):
            return fault
        return None

    async def preview(self, bytes_max: int) -> bytes:
        """Hold the body back until its first event is whole, it ended, or that many bytes are
        there.
        """
        self.wants_preview = True
        while not self.ended and self.fault is None:
            text = b"".join(self.held)
            if self.connection is not None:
                self.connection.resume()  # what was held may have paused it
            if len(text) >= bytes_max or b"\n\n" in text or b"\r\n\r\n" in text or b"\r\r" in text:
                break
            await self.news()
        self.wants_preview = False
        return b"".join(self.held)

    def attach(self, sink: Sink) -> None:
        """From now on slices go to the sink as they come; what was held goes first."""
        self.sink = sink
        if self.connection is not None:
            self.connection.resume()
        if self.held or self.ended:
            sink.feed(self.take(), self.ended)
        if self.fault is not None:
            sink.fail(self.fault)

    def take(self) -> bytes:
        """What was held until now."""
        held = self.held
        self.held = []
        return held[0] if len(held) == 1 else b"".join(held)

    def abort(self) -> None:
        """Drop the connection now, unless the answer is whole already."""
        self.sink = None
        if self.connection is not None:
            self.connection.drop()

    def pause(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()


class Upstream(asyncio.Protocol):
    """One connection to an origin. Between requests it rests in the pool; bytes that come then end
    it.
    """

    __slots__ = (
        "_active",
        "_before",
        "_body",
        "_bytes_seen",
        "_ended_at",
        "_fields",
        "_fields_max",
        "_headless_bytes",
        "_interim",
        "_is_new",
        "_keep",
        "_notified",
        "_paused",
        "_paused_writing",
        "_since_ns",
        "_spent",
        "_uploading",
        "_written_before",
        "_wrong",
        "answer",
        "first_byte_timeout_ns",
        "idle_timeout_ns",
        "is_lost",
        "key",
        "on_body",
        "origin",
        "parser",
        "pool",
        "sock",
        "transport",
        "upload",
        "written",
    )

    def __init__(self, pool: Pool, origin: Origin, sock: socket.socket) -> None:
        self.pool = pool
        self.origin = origin
        self.sock = sock
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._body: list[bytes] = []
        # llhttp calls list.append itself: no frame of ours per slice.
        self.on_body: Any = self._body.append
        self.parser: Any = httptools.HttpResponseParser(self)
        self.answer: Answer | None = None
        self.upload: Upload | None = None
        self.is_lost = False
        self.key: bytes | None = None  # of the WebSocket that was asked for
        self.written = 0
        self.first_byte_timeout_ns = 0
        self.idle_timeout_ns = 0
        self._before: Progress | None = None
        self._written_before = 0
        self._ended_at = 0
        self._headless_bytes = 0
        self._fields: Flat = []
        self._fields_max = 2 * pool.limits.header_count_max
        self._bytes_seen = 0
        self._interim = False
        self._is_new = False
        self._keep = False
        self._spent = False
        self._wrong = ""
        self._active = False
        self._since_ns = monotonic_ns()
        self._paused = False
        self._paused_writing = False
        self._uploading = False
        self._notified = False

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, request: bytes, *, is_head: bool, uploading: bool) -> Answer:
        """Write a request, with what there is of its body; gives the answer in progress."""
        answer = self.answer = Answer(self, is_head=is_head)
        self._written_before = self.written
        if self.origin.tls:
            self._before = progress(self.sock)
        self._bytes_seen = self._headless_bytes = 0
        self._uploading = uploading
        self._active = True
        self.written += len(request)
        self.transport.write(request)
        return answer

    def more(self, data: bytes) -> None:
        """Send on a slice of the body."""
        self._active = True
        self.written += len(data)
        self.transport.write(data)

    def uploaded(self) -> None:
        """The body has gone up whole."""
        self._active = True
        self._uploading = False
        self.upload = None

    @property
    def is_full(self) -> bool:
        return self._paused_writing

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self.pool.limits.buffer_bytes_max)
        self.pool.clock.watch(self)

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None:
            self.drop()  # a byte between two answers belongs to nobody
            return
        self._active = True
        had_head = answer.head_known
        if not had_head:  # the parser formats its version each time, and takes long
            self._is_new = not self._bytes_seen and data[:9] == HTTP_1_1
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            if answer.status == 101 and not self._wrong:
                self._switched(answer, data[switch.args[0] :])
                return
            self._wrong = self._wrong or "switched protocols unasked"
        except httptools.HttpParserError as error:
            self._wrong = self._wrong or str(error)
        if had_head:
            if self._body:
                self._headless_bytes = 0
            else:
                self._check_trailers(len(data))
        elif not answer.head_known or answer.bodiless:
            self._check_head(answer, len(data))
        if self._wrong:
            self._fail(UpstreamFault(BAD_FRAMING, code=BAD_FRAMING_CODE, detail=self._wrong))
        elif answer.head_known:
            self._pass_on(answer)

    def _check_head(self, answer: Answer, size: int) -> None:
        if answer.head_known:
            if self._body:  # of an answer that has none
                self._wrong = self._wrong or "a body where none can be"
            return
        self._bytes_seen += size
        if self._bytes_seen > self.pool.limits.upstream_header_bytes_max:
            self._wrong = self._wrong or "the head of the answer is too large"

    def _check_trailers(self, size: int) -> None:
        """What is read without bringing any body is trailers or chunk heads: bounded."""
        limits = self.pool.limits
        self._headless_bytes += size
        if (
            len(self._fields) > self._fields_max
            or self._headless_bytes > limits.upstream_header_bytes_max
        ):
            self._wrong = self._wrong or "too many trailers"

    def eof_received(self) -> None:
        # With TLS: close_notify was seen; a bare FIN does not come here under uvloop.
        self._notified = True
        if self.answer is None:
            self.drop()  # at once: a TLS transport that is shutting down would still take a request

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self.pool.clock.unwatch(self)
        self.pool.forget(self)
        answer = self.answer
        if answer is not None:
            self._broke_off(answer, error)
        # Both point back here, and the collector is not to be needed.
        self.parser = self.on_body = None
        if self.origin.tls:
            self.sock.close()  # a second descriptor (`gateway.pool`); the transport has the first

    def pause_writing(self) -> None:
        self._paused_writing = True
        if self.upload is not None:
            self.upload.pause()

    def resume_writing(self) -> None:
        self._paused_writing = False
        self._active = True
        if self.upload is not None:
            self.upload.resume()

    # -- llhttp ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        answer = self.answer
        if answer is None or answer.ended or (answer.head_known and answer.bodiless):
            self._wrong = "bytes after the end of the answer"

    def on_status(self, reason: bytes) -> None:
        if self.answer is not None:
            self.answer.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += (name, value)

    def on_headers_complete(self) -> None:
        answer = self.answer
        if answer is None:
            return
        fields = self._fields
        self._fields = []
        parser = self.parser
        status = parser.get_status_code()
        version: str = "1.1" if self._is_new else parser.get_http_version()
        if status < 200 or version not in _VERSIONS or len(fields) > self._fields_max:
            if status < 100 or version not in _VERSIONS:
                self._wrong = "a status or version that is none"
            if len(fields) > self._fields_max:
                self._wrong = "too many fields"
            if status == 101 and self.key is not None:
                self._switch(answer, fields, version, self.key)
                return
            if status < 200:
                # Interim answers stop here: 100 is ours to give, and nobody has asked for the
                # others (RFC 9110 section 15.2).
                self._interim = True
                self._is_new, answer.reason = False, b""  # the answer's own head is to come
                return
        answer.status = status
        answer.first_byte_ns = monotonic_ns()
        wrong = sort_fields(answer, fields, version)
        if wrong or (answer.reason not in REASONS and not is_reason_safe(answer.reason)):
            self._wrong = wrong or "control bytes in the reason phrase"
        if answer.bodiless or status in _BODILESS:
            # llhttp waits for the body of a HEAD answer: the next answer needs a new parser.
            self._spent = answer.bodiless
            answer.bodiless = answer.ended = True
            self._keep = not answer.is_coded and parser.should_keep_alive()
        elif answer.length is None:
            answer.close_delimited = not answer.is_coded
        answer.head_known = True

    def on_message_complete(self) -> None:
        answer = self.answer
        if self._interim:
            self._interim = False
            return
        if answer is None or answer.bodiless:
            return
        if answer.ended:
            return  # a further message, which `on_message_begin` has judged already
        answer.ended = True
        self._ended_at = len(self._body)
        self._keep = self.parser.should_keep_alive()

    def _switch(self, answer: Answer, fields: Flat, version: str, key: bytes) -> None:
        """The head of a 101 that was asked for; llhttp stops behind it."""
        answer.status = 101
        answer.first_byte_ns = monotonic_ns()
        wrong = sort_fields(answer, fields, version) or wrong_switch(paired(fields), key)
        if wrong or version != "1.1" or not is_reason_safe(answer.reason):
            self._wrong = self._wrong or wrong or "a 101 that is no HTTP/1.1"
        # As HTTP it is over, so whoever waits for more of it, for a preview say, waits no longer.
        answer.head_known = answer.ended = True

    def _switched(self, answer: Answer, rest: bytes) -> None:
        """What comes now is no HTTP: it stays in the kernel until the tunnel is there."""
        self.pause()
        if rest:
            answer.held.append(rest)
        answer.wake()

    def give_up(self, other: asyncio.Protocol) -> bytes:
        """Give the connection to a tunnel's end; what has come already. Only its loss is to be told
        here.
        """
        self.pool.clock.unwatch(self)
        answer, self.answer = self.answer, None
        self.transport.set_protocol(other)
        self.resume()
        if answer is None:
            return b""
        answer.connection = None
        return answer.take()

    # -- deadlines ---------------------------------------------------------------------------------

    def check(self, now_ns: int) -> None:
        if self._active or self._paused:
            self._active = False
            self._since_ns = now_ns
            return
        waited = now_ns - self._since_ns
        answer = self.answer
        if answer is None:
            if waited > self.pool.limits.upstream_keepalive_timeout:
                self.drop()
        elif not answer.head_known:
            if self._uploading and not self._paused_writing:
                self._since_ns = now_ns  # the caller is late, whose own deadline is `body_rate_min`
            elif waited > self.first_byte_timeout_ns:
                seconds = self.first_byte_timeout_ns / 1e9
                self._fail(
                    UpstreamFault(
                        TOO_SLOW,
                        status=504,
                        code="upstream_timeout",
                        detail=f"no first byte within {seconds:g} s",
                    )
                )
        elif waited > self.idle_timeout_ns:
            seconds = self.idle_timeout_ns / 1e9
            self._fail(
                UpstreamFault(
                    FELL_SILENT,
                    status=504,
                    code="upstream_idle",
                    detail=f"no byte for {seconds:g} s",
                )
            )

    def drop(self) -> None:
        """Abort the connection; an answer in progress stays without an end."""
        if self.answer is not None:
            # A mere close would queue its FIN behind a body that the upstream does not read, and it
            # would never know.
            reset(self.sock)
        self.answer = None
        self.upload = None
        if self.transport is not None and not self.is_lost:
            self.transport.abort()

    def pause(self) -> None:
        if not self._paused and not self.is_lost:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.is_lost:
            self._paused = False
            self.transport.resume_reading()

    # -- inner -------------------------------------------------------------------------------------

    def _pass_on(self, answer: Answer) -> None:
        body = self._body
        if not body:
            data = b""
        else:
            data = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
        ended = answer.ended
        if ended:
            self._release(answer)
        sink = answer.sink
        if sink is not None:
            if data or ended:
                sink.feed(data, ended)
            return
        if data:
            answer.held.append(data)
            answer.held_bytes += len(data)
            if (
                not ended
                and answer.held_bytes > self.pool.limits.buffer_bytes_max
                and not answer.wants_preview
            ):
                self.pause()
        answer.wake()

    def _release(self, answer: Answer) -> None:
        """The answer is whole: the connection goes back to the pool, or away."""
        self.answer = answer.connection = self.upload = None
        if self.is_lost:
            self._uploading = False
            return
        if self._uploading or self._paused_writing or not self._keep:
            if self._uploading:
                self._uploading = False
                reset(self.sock)
            self.transport.abort()
            return
        if self._paused:
            self.resume()
        self._active = True
        if self._fields:
            self._fields = []  # trailers: dropped (RFC 9110 section 6.5.1)
        if self._spent:
            self._spent = False
            self.parser = httptools.HttpResponseParser(self)
        self.pool.release(self)

    def _broke_off(self, answer: Answer, error: Exception | None) -> None:
        """The connection ended with an answer in progress: its end, a cut, or no answer at all."""
        if (
            answer.head_known
            and answer.close_delimited
            and error is None
            and self._ended_by_close()
        ):
            answer.ended = True
            self._pass_on(answer)
            return
        if answer.head_known:
            fault = UpstreamFault(
                CUT, code="upstream_cut", detail=_cause(error, "closed in mid-answer")
            )
        else:
            fault = UpstreamFault(
                NO_ANSWER,
                code="upstream_no_answer",
                detail=_cause(error, "closed without an answer"),
                reached=self._reached(error),
            )
        self._fail(fault)

    def _fail(self, fault: UpstreamFault) -> None:
        answer = self.answer
        # What llhttp took for the body of a further message belongs to nobody.
        is_over = answer is not None and answer.ended
        body = b"".join(self._body[: self._ended_at] if is_over else self._body)
        self._body.clear()
        self.drop()
        if answer is None:
            return
        answer.connection = None
        if answer.fault is not None:
            return
        answer.fault = fault
        answer.ended = False
        if answer.sink is not None:
            # What came before the fault is the upstream's honest word, and the caller gets it.
            if body:
                answer.sink.feed(body, False)
            answer.sink.fail(fault)
            return
        if body and fault.code != BAD_FRAMING_CODE:
            answer.held.append(body)
        answer.wake()

    def _ended_by_close(self) -> bool:
        return not self.origin.tls or self._notified

    def _reached(self, error: Exception | None) -> bool:
        """Whether the upstream may have seen any of the request.

        It has not if none of it left this machine, or if nothing was acknowledged and the end came
        as a FIN (or as EPIPE, its echo): then the other end had closed before the bytes came. A
        reset by itself says nothing, because its own acknowledgement is not counted.
        """
        if self.sock.family == socket.AF_UNIX:
            # EPIPE: the other end was closed before the write.
            return not isinstance(error, BrokenPipeError)
        now = progress(self.sock)
        before = self._before
        if not self.origin.tls:
            # All that was written before was acknowledged before it was answered; the SYN counts
            # as 1.
            before = Progress(self._written_before + 1, self._written_before)
        if before is None or now is None:
            return True
        if now.sent <= before.sent:
            return False
        return now.acked > before.acked or not (error is None or isinstance(error, BrokenPipeError))


def _cause(error: Exception | None, otherwise: str) -> str:
    return otherwise if error is None else f"{type(error).__name__}: {error}"
