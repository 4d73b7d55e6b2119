"""One coarse timer for every deadline, and the time of day as HTTP writes it.

A proxy has a handful of deadlines per connection and moves them with every read. A timer of the
loop for each would cost more than the read itself; so connections only note what happened, and once
a tick the clock asks each of them whether its time is up. Deadlines are therefore exact to a tick,
which is plenty for seconds.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Final, Protocol

from gateway.log import get

log = get("clock")

# Read a dozen times per request; a constant of ours costs the compiled core no look-up.
monotonic_ns: Final = time.monotonic_ns

# Deadlines are seconds; a quarter of one is exact enough and costs 10,000 connections under 1 % of
# a core.
TICK_S: Final = 0.25
# A caller that we stopped reading can leave unseen (its FIN stands behind unread bytes), so those
# few are looked at often enough to abort their upstream within the promised 100 ms.
QUICK_TICK_S: Final = 0.03

_date: tuple[int, bytes] = (0, b"")


def date() -> bytes:
    """The time as a Date says it, made once a second (RFC 9110 section 6.6.1)."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True).encode())
    return _date[1]


class Watched(Protocol):
    def check(self, now_ns: int) -> None: ...


class Clock:
    """Calls `check(now)` of everything watched: once a tick, or often where that is asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: set[Watched] = set()
        self._quick: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._quick_timer: asyncio.TimerHandle | None = None

    def watch(self, item: Watched) -> None:
        self._watched.add(item)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def unwatch(self, item: Watched) -> None:
        self._watched.discard(item)
        self._quick.discard(item)

    def watch_quickly(self, item: Watched) -> None:
        self._quick.add(item)
        if self._quick_timer is None:
            self._quick_timer = self._loop.call_later(QUICK_TICK_S, self._quick_tick)

    def unwatch_quickly(self, item: Watched) -> None:
        self._quick.discard(item)

    def close(self) -> None:
        self._watched.clear()
        self._quick.clear()
        for timer in (self._timer, self._quick_timer):
            if timer is not None:
                timer.cancel()

    def _tick(self) -> None:
        self._ask(self._watched)
        again = bool(self._watched)
        self._timer = self._loop.call_later(TICK_S, self._tick) if again else None

    def _quick_tick(self) -> None:
        self._ask(self._quick)
        again = bool(self._quick)
        self._quick_timer = self._loop.call_later(QUICK_TICK_S, self._quick_tick) if again else None

    def _ask(self, items: set[Watched]) -> None:
        now = time.monotonic_ns()
        for item in tuple(items):
            try:
                item.check(now)
            except Exception as error:  # one that fails must not stop the others' deadlines
                log.error("check_failed", error=repr(error), exc_info=error)
