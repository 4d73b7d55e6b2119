"""What one process may let in by itself while the shared store is away.

It is a share, one of as many as there are processes, of what was left of a budget when the store
was last heard of; of a budget that it was never heard of, a share of the whole.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from .counters import Counter, Tally
from .places import Held, snapshot


class Known(msgspec.Struct, gc=False):
    """Of a counter: used, what was spent and reserved when it was last heard of, which counts until
    then. reserved, spent: what this process has let in by itself since.
    """

    used: int = 0
    until_ms: int = 0
    reserved: int = 0
    spent: int = 0


class Shares:
    """share: among how many each budget is divided. known_max: counters remembered at most."""

    def __init__(self, share: int, known_max: int) -> None:
        self.share = share
        self._known_max = known_max
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def hear(self, hold: Held, used: int, now_ms: int) -> None:
        """The store has said what is used of the counter of a hold."""
        known = self._of(hold, now_ms)
        known.used, known.spent = used, 0

    def room(self, hold: Held, now_ms: int) -> int:
        """How much more may be let in."""
        known = self._of(hold, now_ms)
        left = max(hold.limit.amount - known.used, 0) // self.share
        return left - known.reserved - known.spent

    def take(self, hold: Held, amount: int, now_ms: int) -> None:
        self._of(hold, now_ms).reserved += amount
        hold.here += amount

    def give(self, hold: Held, spent: int, now_ms: int) -> None:
        """Settle for what was let in."""
        if hold.here:
            known = self._of(hold, now_ms)
            known.reserved = max(known.reserved - hold.here, 0)
            known.spent += spent
            hold.here = 0

    def counter(self, hold: Held, tally: Tally, now_ms: int) -> Counter:
        """The counter of a hold as far as this process may use it."""
        subject = hold.counter.subject
        spent = hold.limit.amount - self.room(hold, now_ms)
        epoch = tally.window.epoch
        return snapshot(subject, tally, spent, 0, [[epoch, 0, spent]] if spent else [])

    def _of(self, hold: Held, now_ms: int) -> Known:
        key = hold.place.base + hold.name
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Known()
            if len(self._known) > self._known_max:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        if now_ms >= known.until_ms:
            window = hold.tally.window
            length_ms = window.until_ms - window.starts_ms()
            known.until_ms = now_ms + length_ms if window.is_rolling else window.until_ms
            known.used = known.spent = 0
        return known
