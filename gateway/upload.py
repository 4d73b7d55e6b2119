"""The request body on its way up.

Three cases: there is none; it is whole in memory, because a plugin read it or because it came along with the head; or
it streams. A whole body may be sent any number of times. A streamed one goes up once, with back-pressure and no
memory, except that what was sent before any answer is kept up to `replay_bytes_max`, for the one case where sending
again is no second sending: a kept connection whose kernel acknowledged nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.message import CHUNKED
from gateway.relay import LAST_CHUNK

if TYPE_CHECKING:
    from gateway.caller import RequestBody
    from gateway.config import Limits
    from gateway.exchange import Attempt, Exchange
    from gateway.refusal import Screened
    from gateway.upstream import Answer, Upstream

NO_BODY: Final = b""


class Upload:
    """One exchange's body, for all its attempts."""

    __slots__ = (
        "_answer",
        "_body",
        "_connection",
        "_exchange",
        "_kept",
        "_kept_bytes",
        "_kept_bytes_max",
        "_screened",
        "_streams",
        "_whole",
    )

    def __init__(self, body: RequestBody, exchange: Exchange, screened: Screened, limits: Limits) -> None:
        self._body = body
        self._exchange = exchange
        self._screened = screened
        self._kept_bytes_max = limits.replay_bytes_max
        self._connection: Upstream | None = None
        self._answer: Answer | None = None
        self._kept: list[bytes] | None = []
        self._kept_bytes = 0
        self._streams = False  # slices have been taken from the caller and are gone
        self._whole: bytes | None = None

    def first(self) -> bytes | None:
        """What `attempt.body` starts as: the whole body, or None if it streams."""
        if self._whole is None:
            body = self._body
            if self._exchange.body is not None:
                self._whole = self._exchange.body
            elif body.is_empty:
                self._whole = NO_BODY
            elif body.complete and not self._streams:
                self._whole = b"".join(body.held)
        return self._whole

    @property
    def may_repeat(self) -> bool:
        """Whether another attempt can be made."""
        return self._whole is not None or not self._streams

    @property
    def may_replay(self) -> bool:
        """Whether the very same bytes can be written to a fresh connection."""
        return self._whole is not None or self._kept is not None

    def framing(self, attempt: Attempt) -> bytes:
        """The lines that say how long the body is: as the caller said it, unless a plugin read or changed the body."""
        screened = self._screened
        body = attempt.body
        if body is None:
            return CHUNKED if screened.is_chunked else b"Content-Length: %d\r\n" % (screened.size or 0)
        if screened.is_chunked and self._is_untouched(body):
            return CHUNKED
        if body or screened.has_length or screened.is_chunked:
            return b"Content-Length: %d\r\n" % len(body)
        return b""

    def begin(self, connection: Upstream, head: bytes, attempt: Attempt) -> Answer:
        """Write the request to a connection, and keep the rest of the body coming."""
        is_head = self._exchange.method == b"HEAD"
        body = attempt.body
        if body is not None:
            if self._screened.is_chunked and self._is_untouched(body):
                body = _framed(body) + LAST_CHUNK
            return connection.ask(head + body if body else head, is_head=is_head, uploading=False)
        source = self._body
        if not self._streams:
            self._streams = True
            first = b"".join(source.held)
            self._keep(self._frame(first, source.complete))
        self._connection = connection
        connection.upload = source
        self._answer = connection.ask(
            head + b"".join(self._kept or ()), is_head=is_head, uploading=not source.complete
        )
        if not source.complete:
            source.start(self._take)
            if connection.is_full:
                source.pause()
        return self._answer

    def _take(self, data: bytes, complete: bool) -> None:
        """A slice from the caller; where the upstream is gone or done already, it is read away."""
        framed = self._frame(data, complete)
        self._keep(framed)
        connection = self._connection
        if connection is None or connection.answer is not self._answer:
            return
        connection.more(framed)
        if complete:
            connection.uploaded()

    def _frame(self, data: bytes, complete: bool) -> bytes:
        if not self._screened.is_chunked:
            return data
        framed = _framed(data)
        return framed + LAST_CHUNK if complete else framed

    def _keep(self, framed: bytes) -> None:
        if self._kept is None:
            return
        self._kept_bytes += len(framed)
        if self._kept_bytes > self._kept_bytes_max and self._connection is not None:
            self._kept = None  # too much to send twice; from here on a dead connection is an error
        else:
            self._kept.append(framed)

    def _is_untouched(self, body: bytes) -> bool:
        return self._exchange.body is None and body is self._whole


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
