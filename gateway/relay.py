"""The answer's body on its way to the caller.

A relay is the sink of one answer. The plain one frames each slice and writes it, and that is all:
no queue, no task, no copy beyond the framing. The watched one stands in its place only where a
plugin taps, rewrites or settles, or where the end of a stream can be told by its end marker alone.
Both keep one promise: the last chunk is written only for an end that the upstream (or a `stop`)
made; whatever else happens leaves the message visibly unfinished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from gateway.decoding import Decoder, Undecodable
from gateway.errors import GatewayError, OwnFault, UpstreamFault
from gateway.exchange import COMPLETE, PROVIDER_ERROR, TRUNCATED
from gateway.sse import Event, Splitter

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.upstream import Answer

LAST_CHUNK: Final = b"0\r\n\r\n"
# Above this a slice is written in three pieces (one writev) instead of being copied into one.
COPY_BYTES_MAX: Final = 32 * 1024
CUT: Final = "The upstream broke off in the middle of its answer."


class Outlet(Protocol):
    """The caller's side of an exchange: a socket, a null sink, or the collector of a child call."""

    is_full: bool

    def write(self, data: bytes) -> None: ...
    def writelines(self, pieces: list[bytes]) -> None: ...


class Watchers(Protocol):
    """What the relay tells the line."""

    def settle(self, outcome: str) -> None: ...
    def tap_failed(self, tap: object, error: Exception) -> None: ...
    def rewriter_failed(self, rewriter: object, error: Exception) -> None: ...


class Relay:
    """The plain relay: frame, write, and rest the upstream while the caller does not read."""

    __slots__ = (
        "_head",
        "_room",
        "_waiter",
        "answer",
        "chunked",
        "exchange",
        "fault",
        "is_over",
        "is_silent",
        "is_unframed",
        "keeps",
        "line",
        "outcome",
        "outlet",
    )

    def __init__(
        self,
        exchange: Exchange,
        line: Watchers,
        outlet: Outlet,
        answer: Answer | None,
        head: bytes,
        *,
        chunked: bool,
    ) -> None:
        self.exchange = exchange
        self.line = line
        self.outlet = outlet
        self.answer = answer
        self.chunked = chunked
        self.is_over = False
        self.fault: GatewayError | None = None
        self.outcome: str | None = None  # what a whole answer counts as; None for an upstream's own
        self.keeps = False  # whether the caller's connection goes on afterwards
        self.is_silent = False  # there is no body, whatever the upstream sends
        self.is_unframed = False  # HTTP/1.0 without a length: only the close ends the body
        self._head: bytes | None = head
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def feed(self, data: bytes, ended: bool) -> None:
        """Pass a slice on; with `ended`, the end too."""
        if self.is_over:
            return
        if ended:
            self.close(data)
        else:
            self.write(data)

    def fail(self, fault: UpstreamFault) -> None:
        """The upstream broke off: nothing more is written, and the line cuts the caller."""
        self.abandon(fault, TRUNCATED)

    def flush(self) -> None:
        """Send the head now if no slice has taken it along."""
        if self._head is not None and not self.is_over:
            head, self._head = self._head, None
            self.outlet.write(head)

    def write(self, data: bytes) -> None:
        """Frame and send a slice; pauses the upstream while the caller's buffer is full."""
        outlet = self.outlet
        head = self._head
        size = len(data)
        self.exchange.bytes_sent += size
        if head is not None:
            self._head = None
        else:
            head = b""
        if size > COPY_BYTES_MAX:
            outlet.writelines(
                [b"%b%x\r\n" % (head, size), data, b"\r\n"] if self.chunked else [head, data]
            )
        elif self.chunked and size:
            outlet.write(b"%b%x\r\n%b\r\n" % (head, size, data))
        else:
            outlet.write(head + data)
        if outlet.is_full and self.answer is not None:
            self.answer.pause()

    def close(self, data: bytes) -> None:
        """Send the last slice and the end. What must be durable before the caller sees the end is
        settled first.
        """
        self.is_over = True
        size = len(data)
        self.exchange.bytes_sent += size
        self.line.settle(self.whole_outcome())
        head = self._head or b""
        self._head = None
        if not self.chunked:
            if head or size:
                self.outlet.write(head + data)
        elif not size:
            self.outlet.write(head + LAST_CHUNK)
        else:
            self.outlet.write(b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, size, data))
        self._wake()

    def stop(self, outcome: str, tail: bytes, error: GatewayError) -> None:
        """End the answer here with `tail`; a cut where that would not be truthful, because a length
        was promised.
        """
        if self.is_over:
            return
        if self.answer is not None:
            self.answer.abort()
        if tail and self.chunked:
            self.settle_before(tail, outcome)
            self.close(tail)
        else:
            self.abandon(error, outcome)

    def settle_before(self, data: bytes, outcome: str) -> None:
        """Settle before a slice goes out, as if it had: what is written down then is final."""
        exchange = self.exchange
        sent = exchange.bytes_sent
        exchange.bytes_sent = sent + len(data)
        self.line.settle(outcome)
        exchange.bytes_sent = sent  # whoever writes it counts it

    def abandon(self, fault: GatewayError, outcome: str) -> None:
        """No end will come. What was written stays; a head that is still here goes out."""
        if self.is_over:
            return
        self.is_over = True
        self.fault = fault
        if self._head is not None:
            head, self._head = self._head, None
            self.outlet.write(head)
        self.line.settle(outcome)
        self._wake()

    def drained(self) -> None:
        """The caller reads again."""
        if self.answer is not None:
            self.answer.resume()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def room(self) -> None:
        """Wait until the caller's buffer is below its mark."""
        while self.outlet.is_full:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None

    def whole_outcome(self) -> str:
        """What this answer counts as once it is whole."""
        status = self.exchange.status
        return self.outcome or (COMPLETE if status is None or status < 400 else PROVIDER_ERROR)

    async def over(self) -> None:
        """Wait for the end, of whatever kind."""
        if not self.is_over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        self.answer = None  # the two point at each other, and the collector is not to be needed
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Watching:
    """Who looks at a body, and how it is shown to them.

    events: it is split into events. needs_marker: only the dialect's end marker tells its end.
    """

    __slots__ = (
        "caller_taps",
        "decoder",
        "events",
        "needs_marker",
        "rewriters",
        "upstream_taps",
    )

    def __init__(
        self,
        upstream_taps: list[Any],
        caller_taps: list[Any],
        rewriters: list[Any],
        decoder: Decoder | None,
        *,
        events: bool,
        needs_marker: bool,
    ) -> None:
        self.upstream_taps = upstream_taps
        self.caller_taps = caller_taps
        self.rewriters = rewriters
        self.decoder = decoder
        self.events = events
        self.needs_marker = needs_marker


class Watched(Relay):
    """A relay whose body is looked at: decoded for its readers if need be, split into events at
    most once.
    """

    __slots__ = (
        "_caller_taps",
        "_decoder",
        "_is_end",
        "_marked",
        "_needs_marker",
        "_rewriters",
        "_running",
        "_sent",
        "_splitter",
        "_upstream_taps",
    )

    def __init__(
        self,
        exchange: Exchange,
        line: Watchers,
        outlet: Outlet,
        answer: Answer | None,
        head: bytes,
        watching: Watching,
        *,
        chunked: bool,
    ) -> None:
        super().__init__(exchange, line, outlet, answer, head, chunked=chunked)
        events = watching.events
        self._upstream_taps = watching.upstream_taps
        self._caller_taps = watching.caller_taps
        self._rewriters = [_Stage(rewriter, events=events) for rewriter in watching.rewriters]
        self._sent: Splitter | None = None
        self._running: object = None  # the rewriter at work, for blaming it
        self._decoder = watching.decoder
        self._splitter = Splitter() if events else None
        dialect = exchange.dialect
        self._is_end: Callable[[Event], bool] | None = (
            dialect.is_end if events and dialect is not None else None
        )
        self._needs_marker = watching.needs_marker and self._is_end is not None
        self._marked = False
        if self._is_end is not None:
            exchange.end_marker_seen = False

    def feed(self, data: bytes, ended: bool) -> None:
        if self.is_over:
            return
        try:
            if self._decoder is None:
                self._pass_on(data, data, ended)
            elif self._rewriters:
                self._decoder.push(data, ended)
                self._inflate()
            else:
                self._watch_inflated(data, ended)
                self._finish_slice(data, ended)
        except Exception as error:
            self._abort(error)

    def drained(self) -> None:
        if self._decoder is not None and self._rewriters and not self.is_over:
            try:
                self._inflate()
            except Exception as error:
                self._abort(error)
        if not self.outlet.is_full:
            super().drained()

    def fail(self, fault: UpstreamFault) -> None:
        if not self.is_over and self._splitter is not None and self._rewriters:
            # An unfinished event was held back for its rewriter; it is incomplete, so it is not
            # sent.
            self._splitter = None
        super().fail(fault)

    def _inflate(self) -> None:
        """Pass on what there is, step by step, as far as the caller takes it; `drained` goes on."""
        decoder = self._decoder
        assert decoder is not None
        while not self.is_over and not self.outlet.is_full:
            plain = decoder.step()
            if plain is None:
                return
            self._pass_on(plain, plain, decoder.is_over)

    def _watch_inflated(self, data: bytes, ended: bool) -> None:
        """Show watchers the plain body while the packed one goes on."""
        decoder = self._decoder
        assert decoder is not None
        try:
            decoder.push(data, ended)
            while (plain := decoder.step()) is not None:
                self._look_at(plain, decoder.is_over)
        except Undecodable as error:
            for tap in (*self._upstream_taps, *self._caller_taps):
                self.line.tap_failed(tap, error)
            self._upstream_taps.clear()
            self._caller_taps.clear()
            self._decoder = self._splitter = self._is_end = None

    def _pass_on(self, data: bytes, plain: bytes, ended: bool) -> None:
        """One slice through taps and rewriters, and out."""
        events = self._look_at(plain, ended)
        if not self._rewriters:
            self._finish_slice(data, ended)
            return
        pieces: bytes | list[Event] = plain if events is None else events
        for stage in self._rewriters:
            self._running = stage.rewriter
            pieces = stage.feed(pieces, ended)
        if isinstance(pieces, bytes):
            out = pieces
            self._show(self._caller_taps, out, self._events_sent(out, ended))
        else:
            out = b"".join(event.raw for event in pieces)
            self._show(self._caller_taps, out, pieces)
        self._finish_slice(out, ended)

    def _look_at(self, plain: bytes, ended: bool) -> list[Event] | None:
        """Show a slice to those who watch what comes, and look for the end marker."""
        events: list[Event] | None = None
        if self._splitter is not None:
            events = self._splitter.feed(plain)
            if ended and self._splitter.rest:
                events.append(Event(self._splitter.rest))
        self._show(self._upstream_taps, plain, events)
        if events and self._is_end is not None and self._any_end(events):
            self._marked = self.exchange.end_marker_seen = True
            self._note_error(events)
            goes_on = getattr(self.exchange.dialect, "goes_on", False)
            if not goes_on or self.outcome == PROVIDER_ERROR:
                self._is_end = None  # it was the last that is looked for
        if not self._rewriters:
            self._show(self._caller_taps, plain, events)
        return events

    def _finish_slice(self, out: bytes, ended: bool) -> None:
        if self.is_over:
            return  # a tap stopped the answer: this slice is not sent any more
        if self._marked and self._is_end is None:
            self.settle_before(out, self.whole_outcome())
        if not ended:
            if out:
                self.write(out)
        elif self._needs_marker and not self._marked:
            # Only the upstream's FIN ends this stream, and its dialect says that it is not over.
            if out:
                self.write(out)
            self.fail(
                UpstreamFault(
                    CUT, code="upstream_cut", detail="closed before the dialect's end marker"
                )
            )
        else:
            self.close(out)

    def _events_sent(self, out: bytes, ended: bool) -> list[Event] | None:
        """The events in what a rewriter of bytes made, where somebody watches events there."""
        if self._splitter is None or not any(hasattr(tap, "event") for tap in self._caller_taps):
            return None
        self._sent = self._sent or Splitter()
        events = self._sent.feed(out)
        if ended and self._sent.rest:
            events.append(Event(self._sent.rest))
        return events

    def _any_end(self, events: list[Event]) -> bool:
        is_end = self._is_end
        try:
            if is_end is not None:
                for event in events:
                    if is_end(event):
                        return True
            return False
        except Exception as error:  # a reader that cannot read: the bytes still flow
            self._is_end = None
            self.line.tap_failed(is_end, error)
            return False

    def _note_error(self, events: list[Event]) -> None:
        """An error inside a 200 is no success, however well the stream ends."""
        dialect = self.exchange.dialect
        for event in events:
            if dialect is not None and b"error" in event.data:
                try:
                    document = orjson.loads(event.data)
                except orjson.JSONDecodeError:
                    continue
                if dialect.error_in(document) is not None:
                    self.outcome = PROVIDER_ERROR

    def _show(self, taps: list[Any], data: bytes, events: list[Event] | None) -> None:
        for tap in tuple(taps):
            try:
                watch = getattr(tap, "event", None)
                if watch is None:
                    if data:
                        tap(data)
                elif events is not None:
                    for event in events:
                        watch(event)
            except Exception as error:  # what only watches is contained
                taps.remove(tap)
                self.line.tap_failed(tap, error)

    def _abort(self, error: Exception) -> None:
        """What would have been sent is unknown, so nothing more goes out."""
        if self.answer is not None:
            self.answer.abort()
        fault: GatewayError
        if isinstance(error, Undecodable):
            fault = UpstreamFault(CUT, code="upstream_coding", detail=f"not as encoded: {error}")
        else:
            self.line.rewriter_failed(self._running, error)
            fault = OwnFault(
                "The answer could not be passed on.", code="rewrite_failed", detail=repr(error)
            )
        fault.__cause__ = error
        self.abandon(fault, TRUNCATED)


class _Stage:
    """One rewriter in the chain, given bytes or events as it wants them."""

    __slots__ = ("_bytes", "_events", "_splitter", "rewriter")

    def __init__(self, rewriter: Any, *, events: bool) -> None:
        self.rewriter = rewriter
        self._bytes = getattr(rewriter, "feed", None)
        self._events = getattr(rewriter, "event", None) if events else None
        self._splitter: Splitter | None = None

    def feed(self, pieces: bytes | list[Event], ended: bool) -> bytes | list[Event]:
        if self._events is not None:
            return self._feed_events(pieces, ended)
        if self._bytes is None:
            return pieces  # an event rewriter beside a body that has no events
        data = pieces if isinstance(pieces, bytes) else b"".join(event.raw for event in pieces)
        out = bytes(self._bytes(data)) if data else b""
        return out + self.rewriter.end() if ended else out

    def _feed_events(self, pieces: bytes | list[Event], ended: bool) -> list[Event]:
        if isinstance(pieces, bytes):
            self._splitter = self._splitter or Splitter()
            pieces = self._splitter.feed(pieces)
            if ended and self._splitter.rest:
                pieces.append(Event(self._splitter.rest))
        assert self._events is not None
        out = [made for event in pieces for made in self._events(event)]
        if ended:
            rest = self.rewriter.end()
            if rest:
                out.append(Event(rest))
        return out
