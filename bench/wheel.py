"""One timer for all streams.

A task or a `call_later` for each of 3,000 streams would make the mock upstream dearer than the
proxies it is to measure. Here a stream is one entry in the list of its millisecond, and one timer
of the loop turns the wheel. It stands still while nothing is due.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

TICK_NS = 1_000_000


class Wheel:
    """Calls things about when they are due, never early, in the order of their ticks."""

    __slots__ = ("loop", "next", "slots", "turning")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.slots: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        self.next = 0
        self.turning = False

    def at(self, due_ns: int, call: Callable[[], None]) -> None:
        tick = -(-due_ns // TICK_NS)
        if not self.turning:
            self.next = min(tick, time.monotonic_ns() // TICK_NS)
            self.turning = True
            self.loop.call_later(TICK_NS / 1e9, self.turn)
        self.slots[max(tick, self.next)].append(call)

    def turn(self) -> None:
        """Everything up to now, late ticks included; a call may put itself back."""
        now = time.monotonic_ns() // TICK_NS
        slots = self.slots
        while self.next <= now and slots:
            calls = slots.pop(self.next, ())
            self.next += 1
            for call in calls:
                call()
        self.next = max(self.next, now + 1) if not slots else self.next
        self.turning = bool(slots)
        if slots:
            self.loop.call_later(TICK_NS / 1e9, self.turn)
