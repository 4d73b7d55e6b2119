"""The line: one request, one way, read top to bottom.

    accept -> route -> authenticate -> read -> prepare -> lookup -> limit
           -> [ pick -> send -> judge ]*     (attempts, until the first byte goes to the caller)
           -> answer -> relay (rewrite, tap) -> settle -> account

A `Reply` of a hook and an error join the line at `answer`; nothing else jumps. The caller's leaving
aborts the upstream at once and cancels this task wherever it waits; `settle` and `account` run all
the same, once each. What the caller has seen decides what may still be said: before the head
anything, after it only the upstream's own bytes, or a cut.

`gateway.asking` holds how plugins are asked, `gateway.attempting` the attempts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gateway import message
from gateway.asking import FAULT
from gateway.attempting import Attempting
from gateway.clock import date, monotonic_ns
from gateway.dialects import shape_error
from gateway.errors import CallerFault, GatewayError, OwnFault, UpstreamFault
from gateway.exchange import (
    CLIENT_ABORT,
    COMPLETE,
    FAILED,
    PROVIDER_ERROR,
    REFUSED,
    STOPPED,
    Exchange,
)
from gateway.headers import Headers
from gateway.intake import take_in
from gateway.log import get
from gateway.opening import BODILESS, STARTS_TEXT, is_event_stream, opened, shown_whole
from gateway.outlet import Null
from gateway.relay import COPY_BYTES_MAX, Relay
from gateway.reply import Head, Reply
from gateway.routes import NoRoute

if TYPE_CHECKING:
    from gateway.body import RequestBody
    from gateway.gateway import Gateway
    from gateway.outlet import CallerOutlet
    from gateway.screened import Screened
    from gateway.upstream import Answer

log = get("line")

LENGTH: Final = b"Content-Length: %b\r\n"


class Line(Attempting):
    """One exchange on its way. Owned by the connection that it serves (or by the parent of a child
    call).
    """

    __slots__ = (
        "_detach",
        "_timer",
        "is_child",
        "outlet",
        "relay",
        "rewriters",
    )

    def __init__(
        self,
        gateway: Gateway,
        exchange: Exchange,
        outlet: CallerOutlet,
        body: bytes | RequestBody,
        screened: Screened,
    ) -> None:
        super().__init__(gateway, exchange, body, screened)
        self.outlet = outlet
        self.is_child = False
        self.relay: Relay | None = None
        self.rewriters: list[Any] | None = None  # of the answer's body, once they were asked for
        self._detach: tuple[int, float] | None = None
        self._timer: asyncio.TimerHandle | None = None
        exchange.line = self

    def start(self) -> Line:
        """Run at once, as far as it goes; what is returned can be awaited."""
        gateway = self.gateway
        self.begin(self.run(), in_context=not gateway.is_bare, as_task=gateway.waits)
        return self

    async def run(self) -> None:
        """The whole line, with every ending."""
        try:
            try:
                await self._serve()
            except asyncio.CancelledError as error:
                if self._stopped is not None:
                    await self._apologise(self._stopped)
                elif self.exchange.outcome is None:
                    # Not ours: something that was waited for has been cancelled.
                    log.error("line_failed", error=repr(error), exc_info=error)
                    await self._apologise(OwnFault(FAULT, detail=repr(error)))
                else:
                    raise  # the caller left: `leave` has settled, there is nobody to answer
            except GatewayError as error:
                await self._apologise(error)
            except Exception as error:
                log.error("line_failed", error=repr(error), exc_info=error)
                await self._apologise(OwnFault(FAULT, detail=repr(error)))
        except asyncio.CancelledError:
            self.settle(CLIENT_ABORT)
        finally:
            self._close()

    async def _serve(self) -> None:
        self._route()
        found: Answer | Reply | None = None
        if self.exchange.plan.asks:
            found = await self._before()
        if found is None:
            found = await self._attempts()
        if self._gates:
            found = await self.apart(self._wait_for_gates()) or found
        if self._stopped is not None:
            raise self._stopped
        if isinstance(found, Reply):
            await self._give(found, rewritten=True)
        else:
            await self._pass_on(found)

    async def _before(self) -> Reply | None:
        """What comes before the attempts, as far as a plugin has part in it."""
        plan = self.exchange.plan
        reply = None
        # authenticate
        if plan.authenticate and not self.is_child:
            reply = await self._ask(plan.authenticate)
        # read
        if reply is None:
            reads = plan.reads or self.exchange.reads
            if reads is not None and (self.whole or self.coming is not None):
                await take_in(self, reads)
            # prepare
            if plan.prepare:
                reply = await self._ask(plan.prepare)
        # lookup
        if reply is None and plan.lookup:
            reply = await self._ask(plan.lookup, fails_open=True)
        # limit
        if reply is None and plan.limit:
            reply = await self._limit()
        return reply

    # -- route -------------------------------------------------------------------------------------

    def _route(self) -> None:
        exchange, gateway = self.exchange, self.gateway
        plan = exchange.plan = gateway.plans["default"]
        if plan.measures:
            exchange.spent_ns = [0] * len(plan.plugins)
        named = None
        if exchange.controls is not None:
            named = exchange.control(b"gateway") or exchange.control(b"gateway-id")
        if named is None and self.is_child and exchange.gateway != "default":
            named = exchange.gateway.encode()  # its parent's
        found = gateway.table.known.get(exchange.target) if named is None else None
        if found is None:
            try:
                found = gateway.table.find(exchange.target, named, self.screened.host)
            except NoRoute as fault:
                exchange.surface = fault.surface
                raise
        self._found = found
        exchange.provider = found.provider
        exchange.path = found.path
        if found.surface is not None:
            exchange.surface = found.surface
            exchange.account_id = found.account
            exchange.speaks(found.dialect)
        if found.gateway != exchange.gateway:
            exchange.gateway = found.gateway
            plan = exchange.plan = gateway.plans[found.gateway]
            exchange.spent_ns = [0] * len(plan.plugins) if plan.measures else None

    # -- answer and relay --------------------------------------------------------------------------

    async def _pass_on(self, answer: Answer) -> None:
        """An upstream's answer: its head through the `answer` hooks, its body as it comes."""
        exchange, passed, kind = self.exchange, answer.passed, answer.kind
        if kind is not None and kind[:1] in STARTS_TEXT and is_event_stream(kind):
            exchange.streaming = True
        head = None
        if exchange.plan.answer:
            head = Head(answer.status, answer.reason, Headers.over(passed))
            self._edit(head)
        else:
            exchange.status = answer.status
            exchange.answered_ns = monotonic_ns()
        if answer.ended and answer.length is not None and self._pass_whole(answer, head):
            return
        if head is None:
            head = Head(answer.status, answer.reason, Headers.over(passed))
        relay = self.relay = opened(
            self, head, answer, length=answer.length, kind=kind, coding=answer.coding
        )
        if relay.is_silent:
            answer.abort()  # a body that a plugin's status rules out is not read to its end
            relay.feed(b"", True)
        elif answer.ended:
            relay.feed(answer.take(), True)
        else:
            answer.attach(relay)
            relay.flush()
            if not relay.is_over:
                await relay.over()
        if self.outlet.is_full and relay.fault is None:
            await relay.room()
        self._end(relay)

    def _pass_whole(self, answer: Answer, head: Head | None) -> bool:
        """An answer that came whole goes out whole, in one write and without a relay, unless
        somebody changes it, it is large, or the caller is not a usual one.
        """
        exchange, outlet = self.exchange, self.outlet
        status = exchange.status
        if (
            answer.bodiless
            or status is None
            or status in BODILESS
            or answer.held_bytes > COPY_BYTES_MAX
            or exchange.version != "1.1"
            or outlet.is_full
            or self.is_child
        ):
            return False
        held = answer.held
        data = held[0] if len(held) == 1 else b"".join(held)
        if exchange.plan.watches and not shown_whole(self, answer, data):
            return False
        keep = outlet.may_keep
        framing = LENGTH % answer.length if keep else LENGTH % answer.length + message.CLOSE
        if head is not None:
            text = message.answer_head(head, framing)
        else:
            line = message.status_line(status, answer.reason)
            text = b"%b%b%b\r\n" % (line, answer.passed.text(), framing)
        stopped = self._stopped
        if stopped is not None:  # by who watched; nothing of the body goes out, as in a relay
            self._stopped = None
            relay = self.relay = Relay(exchange, self, outlet, None, text, chunked=False)
            relay.abandon(stopped, _outcome_of(stopped))
            self._end(relay)
            return True
        exchange.bytes_sent = len(data)
        self.settle(COMPLETE if status < 400 else PROVIDER_ERROR)
        outlet.write(text + data)
        outlet.done(keep=keep)
        return True

    async def _give(self, reply: Reply, *, rewritten: bool) -> None:
        """An answer of our own, whole or streamed."""
        exchange = self.exchange
        headers = reply.headers.copy()
        if b"date" not in headers:
            headers.add(b"Date", date())
        head = Head(reply.status, message.reason_of(reply.status), headers)
        self._edit(head)
        length = None if reply.stream is not None else b"%d" % len(reply.body)
        kind = headers.get(b"content-type")
        relay = self.relay = opened(
            self, head, None, length=length, kind=kind, coding=None, rewritten=rewritten
        )
        if exchange.outcome is None and reply.outcome != "complete":
            relay.outcome = reply.outcome
        is_silent = exchange.method == b"HEAD" or reply.status in (204, 304)
        if is_silent or reply.stream is None:
            relay.feed(b"" if is_silent else reply.body, True)
        else:
            relay.flush()
            await self.apart(self._stream(reply, relay))
        if self.outlet.is_full and relay.fault is None:
            await relay.room()
        self._end(relay)

    async def _stream(self, reply: Reply, relay: Relay) -> None:
        assert reply.stream is not None
        try:
            async for data in reply.stream:
                if data:
                    relay.feed(data, False)
                if relay.is_over:
                    return
                if self.outlet.is_full:
                    await relay.room()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self.exchange.outcome is not None:
                raise
            # A stream that breaks off is cut like an upstream's.
            self._blame(self._giver, error, "reply")
            relay.fail(UpstreamFault("The answer broke off.", code="reply_cut", detail=repr(error)))
            return
        relay.feed(b"", True)

    def _edit(self, head: Head) -> None:
        exchange = self.exchange
        exchange.status = head.status
        exchange.answered_ns = monotonic_ns()
        measures = exchange.spent_ns is not None
        since = exchange.answered_ns
        for hook in exchange.plan.answer:
            try:
                hook.call(exchange, head)
            except Exception as error:
                raise self.blame(hook, error) from error
            finally:
                if measures:
                    since = self._spend(hook, since)
        exchange.status = head.status
        if self._stopped is not None:
            raise self._stopped

    def _end(self, relay: Relay) -> None:
        """The relay is over, for good or ill: the caller's connection goes on, or says by its end
        that it was cut.
        """
        if relay.fault is None:
            self.outlet.done(keep=relay.keeps)
            return
        exchange = self.exchange
        exchange.error = relay.fault
        attempt = exchange.attempt
        if attempt is not None and self._answer is not None:
            attempt.failure = relay.fault
            try:
                self._judge(attempt)
            except GatewayError as error:
                log.error("judge_failed", detail=error.detail)
        log.warning(
            "answer_cut",
            provider=_name(exchange),
            code=relay.fault.code,
            detail=relay.fault.detail,
            bytes_sent=exchange.bytes_sent,
        )
        self.outlet.cut(reset_too=relay.is_unframed)

    async def _apologise(self, error: GatewayError) -> None:
        """Answer with an error in the route's surface; after the head only a cut is left."""
        exchange = self.exchange
        self._stopped = None  # it is obeyed now
        if self._answer is not None:
            self._answer.abort()
        exchange.error = error
        if error.status >= 500:
            log.warning(
                "exchange_failed",
                provider=_name(exchange),
                status=error.status,
                code=error.code,
                detail=error.detail,
            )
        if self.relay is not None:
            self.relay.abandon(error, FAILED)
            self.outlet.cut(reset_too=self.relay.is_unframed)
            return
        outcome = _outcome_of(error)
        try:
            await self._give(self._shaped(error, outcome), rewritten=False)
        except Exception as cause:
            # An `answer` hook failed on the error page, or spoiled it: say the least, without it.
            if not isinstance(cause, GatewayError):
                log.error("line_failed", error=repr(cause), exc_info=cause)
            fault = (
                cause if isinstance(cause, GatewayError) else OwnFault(FAULT, detail=repr(cause))
            )
            exchange.plan = exchange.plan.bare()
            self._stopped = None
            exchange.error = fault
            self.relay = None
            await self._give(self._shaped(fault, FAILED), rewritten=False)

    def _shaped(self, error: GatewayError, outcome: str) -> Reply:
        body = shape_error(self.exchange.surface, error.status, error.code, error.message)
        return Reply(
            error.status,
            body,
            headers=(*error.headers, (b"Cache-Control", b"no-store")),
            content_type=b"application/json",
            outcome=outcome,
        )

    # -- what the connection and plugins say in between --------------------------------------------

    def leave(self) -> None:
        """The caller is gone: abort the upstream now, unless a plugin wants the rest."""
        if self._detach is not None and self.exchange.outcome is None:
            bytes_max, seconds = self._detach
            self.outlet = null = Null(bytes_max, self._undetached)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._undetached)
            if self.coming is not None:
                self.coming.let_go()
            if self.relay is not None:
                self.relay.outlet = null
                self.relay.drained()
            return
        self._undetached()

    def drained(self) -> None:
        if self.relay is not None:
            self.relay.drained()

    def detach(self, bytes_max: int, seconds: float) -> None:
        self._detach = (bytes_max, seconds)

    def stop(self, outcome: str, tail: bytes) -> None:
        error = CallerFault("The exchange was stopped.", status=403, code="stopped")
        if outcome == STOPPED and self.gateway.is_draining:
            error = OwnFault("The gateway is shutting down.", status=503, code="shutting_down")  # type: ignore[assignment]
        if self.relay is not None:
            self.relay.stop(outcome, tail, error)
        elif not self.done():
            self._stopped = error
            if not self.runs:  # one of its own hooks goes on to its end
                self.cancel()

    def settle(self, outcome: str) -> None:
        """The end is known: once, and before the caller can see it."""
        exchange = self.exchange
        if exchange.outcome is not None:
            return
        exchange.outcome = outcome
        exchange.ended_ns = monotonic_ns()
        self._count_received()
        for hook in exchange.plan.settle:
            try:
                hook.call(exchange)
            except Exception as error:
                self._note(hook, error)

    # -- inner -------------------------------------------------------------------------------------

    def _undetached(self) -> None:
        if self._answer is not None:
            self._answer.abort()
        self.settle(CLIENT_ABORT)
        if self.relay is not None:
            self.relay.abandon(CallerFault("The caller left.", code="left"), CLIENT_ABORT)
        if not self.runs:
            self.cancel()

    def _close(self) -> None:
        """Account, and let go of everything that points back here."""
        exchange, coming = self.exchange, self.coming
        if exchange.outcome is None:
            self.settle(FAILED)
        if coming is not None:
            exchange.bytes_received = coming.received  # some may have come after the answer
        if self._timer is not None:
            self._timer.cancel()
        answer = self._answer
        if answer is not None and answer.connection is not None:
            answer.abort()
        for hook in exchange.plan.account:
            try:
                hook.call(exchange)
            except Exception as error:
                self._note(hook, error)
        if self._gates:
            self._close_gates()
        exchange.line = None
        if coming is not None:
            coming.let_go()
        if self._upload is not None:
            self._upload.let_go()
        self.gateway.lines.discard(self)
        self.relay = self._answer = self._upload = None


def _name(exchange: Exchange) -> str | None:
    return exchange.provider.name if exchange.provider is not None else None


def _outcome_of(error: GatewayError) -> str:
    if isinstance(error, UpstreamFault):
        return PROVIDER_ERROR
    if isinstance(error, CallerFault):
        return STOPPED if error.code == "stopped" else REFUSED
    return FAILED if error.status == 500 else REFUSED
