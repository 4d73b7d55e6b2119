"""The attempts of a line: pick -> send -> judge, until there is an answer to give.

An attempt may be repeated as long as nothing of its answer has gone to the caller, and a body that
streams up only has one. Below that, and unseen by plugins, a request goes again on a fresh
connection where the kept one had died before anything of it was acknowledged.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gateway import message
from gateway.asking import Asking
from gateway.clock import monotonic_ns
from gateway.errors import UpstreamFault
from gateway.exchange import Attempt
from gateway.relay import LAST_CHUNK
from gateway.reply import Reply
from gateway.strand import PAUSE
from gateway.upload import Upload, framed_chunk
from gateway.views import Skip, nowhere

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.body import RequestBody
    from gateway.exchange import Exchange
    from gateway.gateway import Gateway
    from gateway.screened import Screened
    from gateway.upstream import Answer, Upstream

# Once for the kept connection that had died, once more for a fresh one that was given up.
REPLAYS_MAX: Final = 2
_CODINGS: Final = frozenset({b"accept-encoding"})


class Attempting(Asking):
    """The part of a line that speaks with upstreams. `gateway.line.Line` is the rest.

    whole, coming: the request's body, of which one is there.
    """

    __slots__ = ("_upload", "coming", "screened", "whole")

    def __init__(
        self,
        gateway: Gateway,
        exchange: Exchange,
        body: bytes | RequestBody,
        screened: Screened,
    ) -> None:
        super().__init__(gateway, exchange)
        self.screened = screened
        exchange.passed = screened.passed
        self.whole: bytes | None = None
        self.coming: RequestBody | None = None
        if isinstance(body, bytes):
            self.whole = body
        else:
            self.coming = body
        self._upload: Upload | None = None

    async def _attempts(self) -> Answer | Reply:
        exchange = self.exchange
        plan = exchange.plan
        attempts_max = self.gateway.config.limits.attempts_max
        body = exchange.body
        if body is None:
            body = self.whole if self.coming is None else self.coming.whole_now()
        skip: Skip | None = None
        for number in range(attempts_max):
            started_ns = monotonic_ns()
            target = self._pick(skip)
            attempt = Attempt(number, target, self.screened.passed, body, started_ns)
            exchange.attempts.append(attempt)
            if exchange.consumed or plan.reworks:
                self._prune(attempt)
            if plan.send:
                view = await self._send(attempt)
                if isinstance(view, Skip):
                    skip = view
                    continue
                if view is not None:
                    return view
            fault = answer = None
            try:
                answer = await self._go(attempt)
                attempt.answered(answer.status, answer.passed)
                if attempt.hold_first_event:
                    limits = self.gateway.config.limits
                    attempt.preview = await answer.preview(limits.preview_bytes_max)
            except UpstreamFault as error:
                attempt.failure = fault = error
            if plan.judge:
                again = self._judge(attempt)
                if again is not None and self._may_repeat(attempt) and number + 1 < attempts_max:
                    if answer is not None:
                        answer.abort()
                    await asyncio.sleep(again.after_ns / 1e9)
                    continue
            if fault is not None:
                raise fault
            if answer is not None:
                return answer
        raise nowhere(skip, f"{attempts_max} attempts")

    def _count_received(self) -> None:
        """How much of the request's body has come. A tunnel counts what goes through it itself."""
        if self.coming is not None:
            self.exchange.bytes_received = self.coming.received
        elif self.whole:
            self.exchange.bytes_received = len(self.whole)

    async def _go(self, attempt: Attempt) -> Answer:
        """Send the request and wait for the head. A kept connection that had died goes unnoticed,
        once.
        """
        method, body = self.exchange.method, attempt.body
        target = attempt.target
        if body and not self.screened.is_chunked:
            framing = b"Content-Length: %d\r\n" % len(body)
        else:
            framing = self._framing(body)
        head = message.request_head(method, attempt, framing)
        is_head = method == b"HEAD"
        if body is None:
            assert self.coming is not None
            self._upload = self._upload or Upload(self.coming, self.gateway.config.limits)
        elif framing is message.CHUNKED:
            head += framed_chunk(body) + LAST_CHUNK
        else:
            head += body
        pool = self.gateway.pool
        connection = pool.idle(target.origin)
        attempt.reused = connection is not None
        replays = 0
        while True:
            if connection is None:
                connections_max = target.provider.connections_max
                connection = await self._connected(
                    pool.connect(target.origin, attempt, connections_max)
                )
                attempt.connected_ns = monotonic_ns()
            connection.first_byte_timeout_ns = attempt.first_byte_timeout_ns
            connection.idle_timeout_ns = attempt.idle_timeout_ns
            if body is not None:
                answer = connection.ask(head, is_head=is_head, uploading=False)
            else:
                assert self._upload is not None
                answer = self._upload.begin(connection, head, is_head=is_head)
            attempt.sent_ns = monotonic_ns()
            self._answer = answer
            try:
                while not answer.head_known and answer.fault is None:
                    answer.waiter = self
                    await PAUSE
            finally:
                answer.waiter = None
            fault = None if answer.fault is None else answer.head_fault()
            if fault is None:
                attempt.first_byte_ns = answer.first_byte_ns
                return answer
            upload = self._upload
            may_replay = body is not None or (upload is not None and upload.may_replay)
            replays += 1
            if fault.reached or not may_replay or replays > REPLAYS_MAX:
                raise fault
            attempt.reused = False
            connection = None

    async def _connected(self, connecting: Coroutine[Any, Any, Upstream]) -> Upstream:
        """Connect in a task of its own, because a timeout asks for the current task."""
        task = self.loop.create_task(connecting)
        try:
            return await task
        except asyncio.CancelledError:
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().drop()  # the caller left in the very moment that it was made
            raise

    def _framing(self, body: bytes | None) -> bytes:
        """The lines that say how long the body is: as the caller said it, unless a plugin read or
        changed the body.
        """
        screened = self.screened
        coming = self.coming
        if screened.is_chunked and (
            body is None
            or (self.exchange.body is None and coming is not None and body is coming.whole)
        ):
            return message.CHUNKED
        if body is None:
            return b"Content-Length: %d\r\n" % (screened.size or 0)
        if body or screened.has_length or screened.is_chunked:
            return b"Content-Length: %d\r\n" % len(body)
        return b""

    def _may_repeat(self, attempt: Attempt) -> bool:
        return attempt.body is not None or self._upload is None or not self._upload.is_under_way

    def _prune(self, attempt: Attempt) -> None:
        """Leave out what held our own credential; ask for a plain answer if somebody here reads
        it.
        """
        consumed = self.exchange.consumed
        if consumed:
            attempt.came = attempt.came.without(consumed)
        if self.exchange.plan.reworks:
            plain = attempt.came.replaced(_CODINGS, b"identity")
            if plain is not None:
                attempt.came = plain
            else:
                attempt.headers.set(b"Accept-Encoding", b"identity")
