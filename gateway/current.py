"""A strand as the current task of the code that runs in it.

What plugins call (timeouts, task groups, HTTP clients) asks asyncio for the current task, cancels
it, counts its cancellations, or keeps a weak reference to it. asyncio lets other kinds of task
stand there (Python's documentation of asyncio, "Extending", "Task lifetime support"). This one
stands apart from the strand because the core may be compiled, and what is compiled cannot be
referred to weakly.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.strand import Strand


class Current:
    """What of a task's methods can be asked of the current one."""

    __slots__ = ("__weakref__", "_strand")

    def __init__(self, strand: Strand) -> None:
        self._strand = strand

    def cancel(self, msg: object = None) -> bool:
        return self._strand.cancel(msg)

    def cancelling(self) -> int:
        return self._strand.cancels

    def uncancel(self) -> int:
        strand = self._strand
        strand.cancels = max(0, strand.cancels - 1)
        return strand.cancels

    def done(self) -> bool:
        return self._strand.done()

    def get_coro(self) -> Any:
        return self._strand.coroutine

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._strand.loop

    def get_name(self) -> str:
        return f"line-{id(self):x}"

    # Where asyncio's task has it, anyio looks for these to know what may be cancelled.

    @property
    def _must_cancel(self) -> bool:
        return self._strand.must_cancel

    @property
    def _fut_waiter(self) -> Any:
        return self._strand.waits_for
