"""Counters in the memory of one process, bounded in number.

Nothing here awaits, so what is checked still holds when it is taken. Counters whose subject has its
whole limit again are let go a few at a time: no subject has a timer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from gateway import Exchange, Subject

from .holds import Hold, Note, Wish
from .rules import Limit
from .shapes import Counter

# Looked at in one step of a sweep, which takes a third of a millisecond.
STEP: Final = 1000
# A search for room looks at all counters; one in vain is not repeated sooner.
_SEARCH_US: Final = 1_000_000


def monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class Crowded(Exception):
    """There is no room for one more counter. limit: whose it would be."""

    def __init__(self, limit: Limit) -> None:
        super().__init__("counters_max")
        self.limit = limit


class Refused(Exception):
    """A rule has no room. wait_us: until it has; None for never. reset_us: until all is there."""

    def __init__(
        self, wish: Wish, room: int, wait_us: int | None, reset_us: int, *, degraded: bool = False
    ) -> None:
        super().__init__(wish.limit.name)
        self.wish = wish
        self.room = room
        self.wait_us = wait_us
        self.reset_us = reset_us
        self.degraded = degraded


class Memory:
    """All counters of the process. over: told what a rule that only reports would refuse."""

    def __init__(
        self,
        counters_max: int,
        over: Callable[[Limit, Subject], None],
        clock: Callable[[], int] = monotonic_us,
    ) -> None:
        self.counters_max = counters_max
        self.count = 0
        self.clock = clock
        self._over = over
        self._limits: dict[Limit, None] = {}
        self._sweeping: Iterator[tuple[Limit, Subject]] = iter(())
        self._searched_us = -_SEARCH_US

    def take(
        self, exchange: Exchange, note: Note, limits: Iterable[Limit], provider: str | None
    ) -> None:
        """Take what a request needs of each of its rules, or of none. `Refused` or `Crowded`."""
        now_us = self.clock()
        is_child = exchange.depth > 0
        holds: list[Hold] = []
        for limit in limits:
            subject = limit.subject(exchange, provider)
            if subject is None or (limit.is_slots and is_child):
                continue  # its parent has a slot for it
            counter = limit.counters.get(subject)
            if counter is None:
                counter = self._made(limit, subject, holds)
                if counter is None:
                    continue
            shape = limit.shape
            amount = note.amount(exchange, limit) if limit.is_tokens else 1
            room = counter.room(shape, now_us // limit.tick_us)
            left = room - amount
            if left < 0:
                if limit.enforced:
                    wait_us = limit.wait_us(counter, amount)
                    wish = Wish(limit, subject, amount)
                    raise Refused(wish, room, wait_us, limit.reset_us(counter))
                self._over(limit, subject)
                continue
            whose = provider if limit.is_by_provider else None
            holds.append(Hold(limit, subject, amount, left, counter, 0, -1, whose))
        for hold in holds:
            limit, took = hold.limit, hold.counter
            assert took is not None
            hold.epoch = took.take(limit.shape, hold.amount)
            note.add(hold)

    def give(self, hold: Hold, amount: int) -> None:
        """Give back so much of a hold; where negative, use so much more."""
        limit, counter = hold.limit, hold.counter
        assert counter is not None
        known = limit.counters.get(hold.subject)
        if known is not counter:
            if known is not None:  # forgotten meanwhile, and made anew
                counter = known
            else:
                limit.counters[hold.subject] = counter
                self._limits[limit] = None
                self.count += 1
        counter.room(limit.shape, self.clock() // limit.tick_us)
        counter.give(limit.shape, amount, hold.epoch)

    def sweep(self) -> bool:
        """Let go of some counters that are as good as new. False once all were looked at."""
        now_us = self.clock()
        step = list(islice(self._sweeping, STEP))
        for limit, subject in step:
            self._drop_idle(limit, subject, now_us)
        if len(step) < STEP:
            self._sweeping = self._all()
            return False
        return True

    # -- inner -------------------------------------------------------------------------------------

    def _made(self, limit: Limit, subject: Subject, holds: list[Hold]) -> Counter | None:
        if self.count >= self.counters_max and not self._search(holds):
            if limit.enforced:
                raise Crowded(limit)
            return None
        counter = limit.counters[subject] = limit.counter()
        self._limits[limit] = None
        self.count += 1
        return counter

    def _search(self, holds: list[Hold]) -> bool:
        """Let go of all that are as good as new, but not of those about to be taken from."""
        now_us = self.clock()
        if now_us - self._searched_us < _SEARCH_US:
            return False
        taken = {id(hold.counter) for hold in holds}
        for limit, subject in self._all():
            if id(limit.counters.get(subject)) not in taken:
                self._drop_idle(limit, subject, now_us)
        if self.count >= self.counters_max:
            self._searched_us = now_us
            return False
        return True

    def _all(self) -> Iterator[tuple[Limit, Subject]]:
        for limit in tuple(self._limits):
            for subject in tuple(limit.counters):
                yield limit, subject
            if not limit.counters:
                self._limits.pop(limit, None)

    def _drop_idle(self, limit: Limit, subject: Subject, now_us: int) -> None:
        counter = limit.counters.get(subject)
        if counter is None:
            return
        counter.room(limit.shape, now_us // limit.tick_us)
        if not counter.reset(limit.shape):
            del limit.counters[subject]
            self.count -= 1
