"""What a process knows of the shared store: its clock, its keys, and what it said last."""

from __future__ import annotations

import asyncio

from gateway import Subject, now_ms

from .counters import Tally
from .places import Held, Place, snapshot, written
from .rules import Limit
from .shares import Shares


class Book:
    """reads: whether there is a ledger that says what was spent before.

    has_counted: whether the store has counted for this process. renew_now: set where it has
    forgotten what lives.
    """

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.reads = False
        self.has_counted = False
        self.renew_now = asyncio.Event()
        self._ahead_ms = 0  # of the server's clock before ours
        self._places: dict[tuple[object, ...], Place] = {}

    def clock(self) -> int:
        """The time by the server's clock, a moment late at most."""
        return now_ms() + self._ahead_ms

    def hear_clock(self, server_us: int) -> None:
        self._ahead_ms = server_us // 1000 - now_ms()

    def place(self, limit: Limit) -> Place:
        found = self._places.get(limit.key)
        if found is None:
            found = self._places[limit.key] = Place(limit)
        return found

    def hold(self, limit: Limit, tally: Tally, subject: Subject, provider: str | None) -> Held:
        """A hold of nothing yet."""
        tally.turn(self.clock())
        named = (subject,) if isinstance(subject, str) else subject
        counter = snapshot(named, tally, 0, 0, [])
        epoch = tally.window.epoch
        name, place = written(subject), self.place(limit)
        return Held(limit, tally, counter, epoch, 0, provider, name=name, place=place)

    def hear(self, hold: Held, used: int) -> None:
        """The counter of a hold has so much spent and reserved."""
        self.shares.hear(hold, used, self.clock())

    def hear_generation(self, place: Place, generation: int) -> None:
        self.has_counted = True
        if generation != place.generation:
            if place.generation:
                self.renew_now.set()
            place.generation = generation
