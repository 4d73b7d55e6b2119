"""The line of a request that asks for a WebSocket (RFC 6455).

It is a line like any other up to the head of the answer: the same hooks, the same targets. Only its
head goes up with its upgrade, over a connection of its own, because none is left to keep
afterwards. After a right 101 the two connections become a tunnel (`gateway.duplex`), and what is
left of the line waits for its end, to settle and account. Any other answer goes the usual way.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from gateway import message
from gateway.asking import FAULT
from gateway.clock import monotonic_ns
from gateway.duplex import IDLE, STALLED, Tunnel
from gateway.errors import GatewayError, OwnFault, UpstreamFault
from gateway.exchange import FAILED, STOPPED, TRUNCATED
from gateway.frames import GOING_AWAY, POLICY
from gateway.handshake import UPGRADE, deflate_of
from gateway.headers import Headers
from gateway.line import Line
from gateway.log import get
from gateway.opening import taps_of
from gateway.reply import Head, Reply
from gateway.strand import PAUSE
from gateway.websocket import Inflater, Reader, Unreadable

if TYPE_CHECKING:
    import asyncio

    from gateway.caller import Caller
    from gateway.exchange import Attempt, Exchange
    from gateway.gateway import Gateway
    from gateway.screened import Screened
    from gateway.upstream import Answer

log = get("line")

CUT: Final = "The upstream broke off in the middle of a WebSocket."
FELL_SILENT: Final = "Nothing came through the WebSocket for too long."
STOPPED_HERE: Final = "The WebSocket was ended by the gateway."


class Switching(Line):
    """One exchange that may become a tunnel. key: its Sec-WebSocket-Key."""

    __slots__ = ("_caller", "_ended", "_taps", "key", "tunnel")

    def __init__(
        self, gateway: Gateway, exchange: Exchange, caller: Caller, screened: Screened, key: bytes
    ) -> None:
        super().__init__(gateway, exchange, caller, b"", screened)
        self.key = key
        self.tunnel: Tunnel | None = None
        self._caller: Caller | None = caller
        self._taps: list[Any] = []
        self._ended: asyncio.Future[None] | None = None

    async def _before(self) -> Reply | None:
        exchange = self.exchange
        dialect = exchange.dialect
        if dialect is not None:
            exchange.model = dialect.model(None, exchange.path)  # there is no body that names one
        return await super()._before()

    async def _go(self, attempt: Attempt) -> Answer:
        """Send the request with its upgrade, and wait for the head."""
        target = attempt.target
        head = message.request_head(self.exchange.method, attempt, UPGRADE)
        connection = await self._connected(
            self.gateway.pool.connect(target.origin, attempt, target.provider.connections_max)
        )
        attempt.connected_ns = monotonic_ns()
        connection.first_byte_timeout_ns = attempt.first_byte_timeout_ns
        connection.idle_timeout_ns = attempt.idle_timeout_ns
        connection.key = self.key
        answer = self._answer = connection.ask(head, is_head=False, uploading=False)
        attempt.sent_ns = monotonic_ns()
        try:
            while not answer.head_known and answer.fault is None:
                answer.waiter = self
                await PAUSE
        finally:
            answer.waiter = None
        # A connection that asked for an upgrade and got another answer is kept like any other.
        connection.key = None
        fault = None if answer.fault is None else answer.head_fault()
        if fault is not None:
            raise fault
        attempt.first_byte_ns = answer.first_byte_ns
        return answer

    async def _pass_on(self, answer: Answer) -> None:
        if answer.status != 101:
            await super()._pass_on(answer)
            return
        exchange = self.exchange
        head = Head(answer.status, answer.reason, Headers.over(answer.passed))
        self._edit(head)
        connection, caller = answer.connection, self._caller
        if head.status != 101:
            raise OwnFault(FAULT, detail=f"a plugin made a {head.status} of a 101")
        if connection is None or connection.is_lost or caller is None:
            raise answer.fault or UpstreamFault(CUT, code="upstream_cut", detail="lost too soon")
        text = message.answer_head(head, UPGRADE)
        sent, given = self._readers(answer)
        self._ended = self.loop.create_future()
        tunnel = self.tunnel = Tunnel(self, self.gateway.pool.clock, self.gateway.config.limits)
        caller.write(text)
        tunnel.join(caller, connection, sent, given)
        await self._ended
        fault = exchange.error
        if isinstance(fault, UpstreamFault) and exchange.attempt is not None:
            exchange.attempt.failure = fault
            try:
                self._judge(exchange.attempt)
            except GatewayError as error:
                log.error("judge_failed", detail=error.detail)
        if fault is not None:
            provider = exchange.provider
            log.warning(
                "tunnel_cut",
                provider=None if provider is None else provider.name,
                code=fault.code,
                detail=fault.detail,
                bytes_sent=exchange.bytes_sent,
            )

    async def _apologise(self, error: GatewayError) -> None:
        if self.tunnel is None:
            await super()._apologise(error)
            return
        # It is no HTTP any more: there is nothing to be said but that it ends.
        self.exchange.error = error
        self.tunnel.stop(FAILED, error.code)

    # -- what the connection, the tunnel and plugins say in between --------------------------------

    def leave(self) -> None:
        if self.tunnel is None:
            super().leave()  # else the tunnel knows it first, and nobody can go on without a caller

    def stop(self, outcome: str, tail: bytes) -> None:
        if self.tunnel is None:
            super().stop(outcome, tail)
        else:
            draining = self.gateway.is_draining
            code = GOING_AWAY if draining else POLICY
            self.tunnel.stop(outcome, "draining" if draining else "stopped", code, tail)

    def tunnelled(self, outcome: str, why: str) -> None:
        """The tunnel's end is known, and one side at least cannot see it yet."""
        exchange = self.exchange
        if outcome == TRUNCATED:
            code = "upstream_stalled" if why == STALLED else "upstream_cut"
            exchange.error = UpstreamFault(CUT, code=code, detail=why)
        elif why == IDLE:
            exchange.error = OwnFault(
                FELL_SILENT, status=504, code="websocket_idle", detail="websocket_idle_timeout"
            )
        elif outcome == STOPPED:
            code = "shutting_down" if why == "draining" else "stopped"
            exchange.error = OwnFault(STOPPED_HERE, status=503, code=code, detail=why)
        self.settle(outcome)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def unreadable(self, error: Exception) -> None:
        """What the taps were shown cannot be read any more; the bytes flow on."""
        taps, self._taps = self._taps, []
        for tap in taps:
            self.tap_failed(tap, error)
        self._look_away()

    # -- inner -------------------------------------------------------------------------------------

    def _readers(self, answer: Answer) -> tuple[Reader, Reader]:
        """Of what the caller sends, and of what the upstream does."""
        plain = Reader(is_masked=True), Reader(is_masked=False)
        if not self.exchange.plan.tap:
            return plain
        self._taps = [tap for side in taps_of(self) for tap in side if hasattr(tap, "message")]
        if not self._taps:
            return plain
        try:
            deflate = deflate_of(answer.headers.all(b"sec-websocket-extensions"))
        except Unreadable as error:
            self.unreadable(error)
            return plain
        bytes_max = self.gateway.config.limits.websocket_message_bytes_max
        up = down = None
        if deflate is not None:
            up = Inflater(anew=deflate.client_anew, bytes_max=bytes_max)
            down = Inflater(anew=deflate.server_anew, bytes_max=bytes_max)
        return (
            Reader(
                is_masked=True,
                show=functools.partial(self._tell, "up"),
                bytes_max=bytes_max,
                inflater=up,
            ),
            Reader(
                is_masked=False,
                show=functools.partial(self._tell, "down"),
                bytes_max=bytes_max,
                inflater=down,
            ),
        )

    def _tell(self, direction: str, kind: str, data: bytes | None) -> None:
        for tap in tuple(self._taps):
            try:
                tap.message(direction, kind, data)
            except Exception as error:  # what only watches is contained
                self._taps.remove(tap)
                self.tap_failed(tap, error)
        if not self._taps:
            self._look_away()

    def _look_away(self) -> None:
        if self.tunnel is not None and self.tunnel.caller is not None:
            self.tunnel.caller.reader.look_away()
            self.tunnel.up.reader.look_away()

    def _close(self) -> None:
        super()._close()
        self.tunnel = self._caller = self._ended = None
        self._taps = []
