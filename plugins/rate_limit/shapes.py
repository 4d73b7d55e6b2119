"""The shapes of limits: how much of one is used up, and when there is room again.

A bucket (GCRA) holds the whole limit, drains steadily and lets through what still fits. A fixed
window begins with its first request and counts up to the limit. A sliding window counter counts two
fixed windows of that kind, the last one by the share of it that still lies within the window. Slots
are what is under way at this moment.

What is used beyond the limit is debt (an answer was larger than was reserved): a bucket drains it,
windows carry it over, one limit a window. It is never more than `DEBT_WINDOWS_MAX` limits.

All numbers are whole and below 2**53, which is where the floats of Lua stop counting by one: the
same arithmetic runs in Redis (`scripts`). Time is in ticks of a limit's own, a microsecond or a
round number of them, since whenever the clock that is used began.

The package `limits` was weighed: a hit of its memory strategies takes 10 to 17 us where one of
these takes 0.5 to 0.7, its moving window keeps an entry for each token, and none of them can give
back what a request did not use, or take several limits or none.
"""

from __future__ import annotations

from math import gcd
from typing import Final

SECOND_US: Final = 1_000_000
DEBT_WINDOWS_MAX: Final = 8
# With debt, and a window's ticks, what is computed stays below 2**53.
_PRODUCT_MAX: Final = 2**49
_TICKS_US: Final = (1, 10, 100, 1_000, 10_000, 100_000, SECOND_US)

BUCKET: Final = "bucket"
FIXED: Final = "fixed"
SLIDING: Final = "sliding"
SLOTS: Final = "slots"


class Shape:
    """The numbers of one limit.

    kind: which shape. amount: the limit. tick_us: a tick. window: its length in ticks.
    unit: what one unit adds to a bucket's level, and drain: what leaves it in a tick.
    full: the level of a full bucket; most: the highest level or count, debt included.
    """

    __slots__ = ("amount", "drain", "full", "kind", "most", "tick_us", "unit", "window")

    def __init__(self, kind: str, amount: int, window_s: int) -> None:
        """ValueError where the limit is too large to be counted exactly."""
        self.kind = kind
        self.amount = amount
        self.tick_us = self.unit = self.drain = 1
        self.window = window_s * SECOND_US
        if kind == BUCKET:
            self._fit_bucket()
        elif kind == SLIDING:
            self._fit(amount)
        self.full = amount * self.unit
        self.most = self.full * (1 + DEBT_WINDOWS_MAX)

    def _fit_bucket(self) -> None:
        for tick_us in _TICKS_US:
            window = self.window // tick_us
            common = gcd(self.amount, window)
            self.tick_us, self.unit, self.drain = tick_us, window // common, self.amount // common
            if self.amount * self.unit <= _PRODUCT_MAX:
                self.window = window
                return
        raise _too_large()

    def _fit(self, amount: int) -> None:
        for tick_us in _TICKS_US:
            if amount * (self.window // tick_us) <= _PRODUCT_MAX:
                self.tick_us = tick_us
                self.window //= tick_us
                return
        raise _too_large()


def _too_large() -> ValueError:
    return ValueError("it is too large to be counted exactly; take a rounder or a smaller number")


class Counter:
    """One subject's. `room` brings it up to date, which all the others want."""

    __slots__ = ()

    def room(self, shape: Shape, now: int) -> int:
        """How many units fit now; negative in debt. now: in ticks."""
        raise NotImplementedError

    def take(self, shape: Shape, amount: int) -> int:
        """Take so many, which fit; gives the epoch that they belong to."""
        raise NotImplementedError

    def give(self, shape: Shape, amount: int, epoch: int) -> None:
        """Give back so many of an epoch; where negative, use so many more."""
        raise NotImplementedError

    def wait(self, shape: Shape, amount: int) -> int:
        """In how many ticks so many, at most the limit, will fit if nobody else takes any."""
        raise NotImplementedError

    def reset(self, shape: Shape) -> int:
        """In how many ticks the whole limit is there again, which is when it can be forgotten."""
        raise NotImplementedError


class Bucket(Counter):
    """One subject's. level: how full, as of the tick `at`."""

    __slots__ = ("at", "level")

    def __init__(self) -> None:
        self.level = 0
        self.at = 0

    def room(self, shape: Shape, now: int) -> int:
        at = self.at
        if now > at:
            level = self.level
            if level:
                level -= (now - at) * shape.drain
                self.level = level if level > 0 else 0  # noqa: FURB136 - half the cost
            self.at = now
        return (shape.full - self.level) // shape.unit

    def take(self, shape: Shape, amount: int) -> int:
        self.level += amount * shape.unit
        return 0

    def give(self, shape: Shape, amount: int, epoch: int) -> None:
        self.level = min(max(self.level - amount * shape.unit, 0), shape.most)

    def wait(self, shape: Shape, amount: int) -> int:
        return max(-(-(self.level + amount * shape.unit - shape.full) // shape.drain), 0)

    def reset(self, shape: Shape) -> int:
        return -(-self.level // shape.drain)


class Fixed(Counter):
    """One subject's. start: when the present window began; used: in it."""

    __slots__ = ("at", "start", "used")

    def __init__(self) -> None:
        self.start = 0
        self.used = 0
        self.at = 0

    def room(self, shape: Shape, now: int) -> int:
        self.at = max(now, self.at)
        if self.at >= self.start + shape.window:
            passed = (self.at - self.start) // shape.window
            self.used = max(self.used - passed * shape.amount, 0)
            # Debt is paid by whole windows; without one the next begins with who comes next.
            self.start = self.start + passed * shape.window if self.used else self.at
        elif not self.used:
            self.start = self.at
        return shape.amount - self.used

    def take(self, shape: Shape, amount: int) -> int:
        self.used += amount
        return self.start

    def give(self, shape: Shape, amount: int, epoch: int) -> None:
        if amount < 0 or epoch == self.start:
            self.used = min(max(self.used - amount, 0), shape.most)

    def wait(self, shape: Shape, amount: int) -> int:
        over = self.used + amount - shape.amount
        if over <= 0:
            return 0
        return self.start + -(-over // shape.amount) * shape.window - self.at

    def reset(self, shape: Shape) -> int:
        windows = -(-self.used // shape.amount)
        return max(self.start + windows * shape.window - self.at, 0)


class Sliding(Counter):
    """One subject's. start: when the present window began; used: in it; before: in the last one."""

    __slots__ = ("at", "before", "start", "used")

    def __init__(self) -> None:
        self.start = 0
        self.used = 0
        self.before = 0
        self.at = 0

    def room(self, shape: Shape, now: int) -> int:
        self.at = at = max(now, self.at)
        amount, window = shape.amount, shape.window
        if at >= self.start + window:
            passed = (at - self.start) // window
            self.before = min(max(self.used - (passed - 1) * amount, 0), amount)
            self.used = max(self.used - passed * amount, 0)
            self.start += passed * window
        if not self.used and not self.before:
            self.start = at
        weighed = self.before * (self.start + window - at)
        return amount - self.used + -weighed // window

    def take(self, shape: Shape, amount: int) -> int:
        self.used += amount
        return self.start

    def give(self, shape: Shape, amount: int, epoch: int) -> None:
        if amount < 0 or epoch == self.start:
            self.used = min(max(self.used - amount, 0), shape.most)
        elif epoch == self.start - shape.window:
            self.before = max(self.before - amount, 0)

    def wait(self, shape: Shape, amount: int) -> int:
        limit, window = shape.amount, shape.window
        left = self.start + window - self.at
        free = limit - self.used - amount
        if self.before * left <= free * window:
            return 0
        if free >= 0:  # once the last window weighs so little
            return left - free * window // self.before
        # In windows to come: what is used now is their last one, a limit a window at most.
        passed = -(-self.used // limit) or 1
        for turns in range(max(passed - 1, 1), passed + 2):
            before = min(max(self.used - (turns - 1) * limit, 0), limit)
            free = limit - max(self.used - turns * limit, 0) - amount
            if free >= 0:
                weight = window if not before else min(free * window // before, window)
                return left + (turns - 1) * window + window - weight
        return left + (passed + 1) * window

    def reset(self, shape: Shape) -> int:
        if not self.used and not self.before:
            return 0
        windows = -(-self.used // shape.amount) + 1
        return self.start + windows * shape.window - self.at


class Slots(Counter):
    """One subject's. used: how many are under way."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0

    def room(self, shape: Shape, now: int) -> int:
        return shape.amount - self.used

    def take(self, shape: Shape, amount: int) -> int:
        self.used += amount
        return 0

    def give(self, shape: Shape, amount: int, epoch: int) -> None:
        self.used -= amount

    def wait(self, shape: Shape, amount: int) -> int:
        """Nobody knows when one ends; a second is a time to come again."""
        return SECOND_US if self.used + amount > shape.amount else 0

    def reset(self, shape: Shape) -> int:
        return SECOND_US if self.used else 0


COUNTERS: Final[dict[str, type[Counter]]] = {
    BUCKET: Bucket,
    FIXED: Fixed,
    SLIDING: Sliding,
    SLOTS: Slots,
}


def loaded(kind: str, state: list[int]) -> Counter:
    """The counter that Redis describes with three numbers, as of when it does."""
    first, second, third = state
    if kind == BUCKET:
        bucket = Bucket()
        bucket.level, bucket.at = first, second
        return bucket
    if kind == FIXED:
        fixed = Fixed()
        fixed.start, fixed.used = first, second
        return fixed
    if kind == SLIDING:
        sliding = Sliding()
        sliding.start, sliding.used, sliding.before = first, second, third
        return sliding
    slots = Slots()
    slots.used = first
    return slots
