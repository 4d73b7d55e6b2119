"""What was spent and what is reserved, by rule and subject, in memory and bounded in number.

A counter belongs to a span of its rule's window (`windows`). Spending and reservations stay in the
span in which their request began, so that each request is in one window only, the one in which it
was let in; a span that is over takes its reservations along.

Nothing here awaits, so what is checked still holds when it is added.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from .windows import Rolling, Window

# A search for counters to let go looks at all of them; one in vain is not repeated sooner.
_SWEEP_MS: Final = 1000


class Counter:
    """Of one subject of a calendar's rule.

    subject: the values of the rule's scope. told: how many alerts this span has had.
    """

    __slots__ = ("epoch", "reserved", "spent", "subject", "told")

    def __init__(self, subject: tuple[str, ...], window: Window) -> None:
        self.subject = subject
        self.epoch = window.epoch
        self.spent = 0
        self.reserved = 0
        self.told = 0

    def turn(self, window: Window) -> None:
        """Begin the window's present span."""
        if self.epoch != window.epoch:
            self.epoch = window.epoch
            self.spent = self.reserved = self.told = 0

    def add(self, epoch: int, reserved: int, spent: int) -> None:
        """Add to both in that span, unless it is over. Either may be negative."""
        if epoch == self.epoch:
            self.reserved += reserved
            self.spent += spent

    def resets_ms(self, window: Window) -> int:
        """When some of what was spent counts no more."""
        return window.until_ms

    def room_at(self, window: Window, limit: int, amount: int) -> int | None:
        """When there will be room for so much, if nobody spends more; None for never."""
        return window.until_ms if amount <= limit else None


class RollingCounter(Counter):
    """Of one subject of a rolling rule: the steps that still count, oldest first."""

    __slots__ = ("oldest", "steps")

    def __init__(self, subject: tuple[str, ...], window: Rolling) -> None:
        super().__init__(subject, window)
        self.oldest = window.epoch - window.steps
        self.steps: deque[list[int]] = deque()  # epoch, reserved, spent

    def turn(self, window: Window) -> None:
        if self.epoch == window.epoch:
            return
        assert isinstance(window, Rolling)
        self.epoch = window.epoch
        self.oldest = window.epoch - window.steps
        steps = self.steps
        while steps and steps[0][0] < self.oldest:
            _, reserved, spent = steps.popleft()
            self.reserved -= reserved
            self.spent -= spent

    def add(self, epoch: int, reserved: int, spent: int) -> None:
        step = self._step(epoch)
        if step is not None:
            step[1] += reserved
            step[2] += spent
            self.reserved += reserved
            self.spent += spent

    def resets_ms(self, window: Window) -> int:
        assert isinstance(window, Rolling)
        return window.leaves_ms(self.steps[0][0]) if self.steps else window.until_ms

    def room_at(self, window: Window, limit: int, amount: int) -> int | None:
        assert isinstance(window, Rolling)
        left = self.spent
        for epoch, _, spent in self.steps:
            left -= spent
            if left + amount <= limit:
                return window.leaves_ms(epoch)
        return None

    def _step(self, epoch: int) -> list[int] | None:
        """The step of that epoch, made where it is new; None where it is over."""
        if epoch < self.oldest:
            return None
        steps = self.steps
        at = len(steps)
        while at and steps[at - 1][0] > epoch:
            at -= 1
        if at and steps[at - 1][0] == epoch:
            return steps[at - 1]
        made = [epoch, 0, 0]
        steps.insert(at, made)
        return made


class Tally:
    """The counters of one rule, which those of its name in other gateways share."""

    __slots__ = ("counters", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.counters: dict[str | tuple[str, ...], Counter] = {}

    def turn(self, now_ms: int) -> None:
        window = self.window
        if window.is_past(now_ms):
            window.turn(now_ms)


class Store:
    """All tallies of the process, at most `counters_max` counters together."""

    def __init__(self, counters_max: int, clock: Callable[[], int]) -> None:
        self.counters_max = counters_max
        self.clock = clock
        self.count = 0
        self._tallies: dict[tuple[object, ...], Tally] = {}
        self._swept_ms = 0

    def tally(self, key: tuple[object, ...], make: Callable[[], Window]) -> Tally:
        """The tally of a rule; make: gives its window where it is new."""
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally(make())
            found.turn(self.clock())
        return found

    def keys(self) -> frozenset[tuple[object, ...]]:
        return frozenset(self._tallies)

    def keep(self, keys: Iterable[tuple[object, ...]]) -> None:
        """Let go of the tallies that no rule uses any more."""
        for key in self._tallies.keys() - set(keys):
            self.count -= len(self._tallies.pop(key).counters)

    def counter(
        self, tally: Tally, subject: str | tuple[str, ...], taken: Sequence[Counter] = ()
    ) -> Counter | None:
        """The counter of a subject in its tally's present span; None where there is no room.

        taken: counters that are about to be added to, however little they hold now.
        """
        found = tally.counters.get(subject)
        if found is None:
            if self.count >= self.counters_max and not self._sweep(taken):
                return None
            named = (subject,) if isinstance(subject, str) else subject
            window = tally.window
            if isinstance(window, Rolling):
                found = RollingCounter(named, window)
            else:
                found = Counter(named, window)
            tally.counters[subject] = found
            self.count += 1
        elif found.epoch != tally.window.epoch:
            found.turn(tally.window)
        return found

    def _sweep(self, taken: Sequence[Counter]) -> bool:
        """Let counters go that hold nothing, those among them whose span is over."""
        now = self.clock()
        if 0 <= now - self._swept_ms < _SWEEP_MS:
            return False
        freed = 0
        for tally in self._tallies.values():
            tally.turn(now)
            idle = []
            for subject, counter in tally.counters.items():
                counter.turn(tally.window)
                if not counter.spent and not counter.reserved and counter not in taken:
                    idle.append(subject)
            for subject in idle:
                del tally.counters[subject]
            freed += len(idle)
        self.count -= freed
        if not freed:
            self._swept_ms = now
        return freed > 0
