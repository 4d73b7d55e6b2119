"""A request body that streams up: with back-pressure, in constant memory, once.

What was sent before any answer came is kept up to `replay_bytes_max`, for the one case where
sending again is no second sending: a kept connection whose kernel acknowledged nothing. Bodies that
are whole in memory, because a plugin read them or because they came along with the head, need none
of this (`gateway.line`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.relay import LAST_CHUNK

if TYPE_CHECKING:
    from gateway.body import RequestBody
    from gateway.config import Limits
    from gateway.upstream import Answer, Upstream


class Upload:
    """One exchange's body on its way."""

    __slots__ = (
        "_answer",
        "_body",
        "_connection",
        "_is_chunked",
        "_kept",
        "_kept_bytes",
        "_kept_bytes_max",
    )

    def __init__(self, body: RequestBody, limits: Limits) -> None:
        self._body = body
        self._is_chunked = body.is_chunked
        self._kept_bytes_max = limits.replay_bytes_max
        self._connection: Upstream | None = None
        self._answer: Answer | None = None
        self._kept: list[bytes] | None = None
        self._kept_bytes = 0

    @property
    def is_under_way(self) -> bool:
        """Whether slices were taken from the caller, so that no other attempt can have them."""
        return self._connection is not None

    @property
    def may_replay(self) -> bool:
        """Whether the very same bytes can be written to a fresh connection."""
        return self._kept is not None

    def begin(self, connection: Upstream, head: bytes, *, is_head: bool) -> Answer:
        """Write the head and what there is of the body, and keep the rest coming."""
        body = self._body
        is_first = self._connection is None
        if is_first:
            self._kept = []
            self._keep(self._frame(b"".join(body.held), body.complete))
        self._connection = connection
        connection.upload = body
        first = head + b"".join(self._kept or ())
        self._answer = connection.ask(first, is_head=is_head, uploading=not body.complete)
        if is_first:
            body.start(self._take)
        if connection.is_full:
            body.pause()
        elif not is_first:
            body.resume()  # the dead connection may have made it rest
        return self._answer

    def let_go(self) -> None:
        """The exchange is over: point at nobody, so that the collector is not needed."""
        self._connection = self._answer = self._kept = None

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
        if not self._is_chunked:
            return data
        framed = framed_chunk(data)
        return framed + LAST_CHUNK if complete else framed

    def _keep(self, framed: bytes) -> None:
        if self._kept is None:
            return
        self._kept_bytes += len(framed)
        if self._kept_bytes > self._kept_bytes_max and self._connection is not None:
            self._kept = None  # too much to send twice; from here on a dead connection is an error
        else:
            self._kept.append(framed)


def framed_chunk(data: bytes) -> bytes:
    """A chunk (RFC 9112 section 7.1); nothing for no data, because an empty chunk would be the
    last.
    """
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
