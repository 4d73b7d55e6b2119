"""A request's body on its way in: held until somebody takes it, then passed on slice by slice.

Most bodies are small and come along with their head; those are plain bytes to the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Sender(Protocol):
    """The caller's connection, as its body sees it."""

    buffer_bytes_max: int

    def expect_no_more(self) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...


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

    def __init__(self, caller: Sender | None, size: int | None, *, is_chunked: bool) -> None:
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
        await self._hold(bytes_max + 1)
        return b"".join(self.held) if self.held_bytes <= bytes_max else None

    async def begin(self, bytes_min: int) -> bytes:
        """Wait for its beginning, so many bytes or all there are. It stays held, for streaming."""
        await self._hold(bytes_min)
        return b"".join(self.held)

    async def _hold(self, bytes_min: int) -> None:
        self.wanted()
        while not self.complete and self.held_bytes < bytes_min:
            if self.caller is not None:
                self.caller.resume_body()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

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
            and self.held_bytes > self.caller.buffer_bytes_max
        ):
            self.caller.pause_body()

    # The upstream does not take the body, or takes it again (`gateway.upstream.Upload`).
    def pause(self) -> None:
        if self.caller is not None and not self.complete:
            self.caller.pause_body()

    def resume(self) -> None:
        if self.caller is not None:
            self.caller.resume_body()
