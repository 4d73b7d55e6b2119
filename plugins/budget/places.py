"""Where a shared store has the counters of a rule, and what its scripts are told of its window."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from gateway import Subject

from .counters import Counter, RollingCounter, Tally
from .holds import Hold
from .rules import Limit
from .windows import Calendar, Rolling

# Amounts are exact there below this: they are floats.
EXACT_MAX: Final = 2**53


class Place:
    """Of one rule. base: what its keys begin with. generation: of its counters, as it was last
    heard; 0 before that.
    """

    __slots__ = ("_span", "_until_ms", "base", "generation", "index", "marker")

    def __init__(self, limit: Limit) -> None:
        digest = hashlib.sha256(repr(limit.key).encode()).hexdigest()[:16]
        self.base = f"{{weir}}:budget:{limit.name}:{digest}:".encode()
        self.marker, self.index = self.base + b"m", self.base + b"i"
        self.generation = 0
        self._span: list[bytes] = []
        self._until_ms = 0

    def keys(self, name: bytes) -> list[bytes]:
        """Of the counter of a subject, by its written name."""
        counter = self.base + name
        return [counter, counter + b"h", counter + b"l", self.marker, self.index]

    def span(self, tally: Tally, now_ms: int) -> list[bytes]:
        """The window's present span for a script."""
        tally.turn(now_ms)
        window = tally.window
        if self._until_ms != window.until_ms:
            self._until_ms = window.until_ms
            if isinstance(window, Rolling):
                self._span = [b"r", b"%d" % window.step_ms, b"%d" % window.steps, b"0"]
            else:
                assert isinstance(window, Calendar)
                times = (window.since_ms, window.until_ms, window.next_ms())
                self._span = [b"c", *(b"%d" % at for at in times)]
        return self._span


class Held(Hold, gc=False, kw_only=True):
    """A reservation that a shared store may have. name: the subject, written.

    generation: of the counters that it is in; 0 where only this process knows of it.
    here: how much of it this process let in by itself.
    """

    name: bytes
    place: Place
    generation: int = 0
    here: int = 0


def held_of(hold: Hold) -> Held:
    """A hold, which is one of a shared store."""
    assert isinstance(hold, Held)
    return hold


def written(subject: Subject) -> bytes:
    """A subject as part of a key: a list of JSON."""
    parts = (subject,) if isinstance(subject, str) else subject
    clean = [part.encode("utf-8", "backslashreplace").decode() for part in parts]
    return msgspec.json.encode(clean)


def snapshot(
    subject: tuple[str, ...], tally: Tally, spent: int, reserved: int, steps: list[list[int]]
) -> Counter:
    """A counter as it was when the store spoke of it. steps: epoch, reserved, spent of each."""
    window = tally.window
    if not isinstance(window, Rolling):
        found = Counter(subject, window)
    else:
        found = rolling = RollingCounter(subject, window)
        rolling.steps.extend([list(step) for step in steps])
    found.spent, found.reserved = spent, reserved
    return found
