"""What the fields of an answer say: the limit, what is left and the reset of the tightest rule."""

from __future__ import annotations

from typing import Final

from gateway import Headers

from .holds import Note

_FIELDS: Final = (b"limit", b"remaining", b"reset", b"degraded")


class Names:
    """Of our fields with one prefix."""

    __slots__ = ("degraded", "every", "limit", "remaining", "reset")

    def __init__(self, prefix: bytes) -> None:
        names = [prefix + b"budget-" + each for each in _FIELDS]
        self.limit, self.remaining, self.reset, self.degraded = names
        self.every = frozenset(names)


def add_fields(headers: Headers, names: Names, note: Note) -> None:
    if note.refused is not None:
        limit, tally, counter = note.refused
    else:
        hold = note.tightest
        if hold is None:
            return
        limit, tally, counter = hold.limit, hold.tally, hold.counter
    if headers.among(names.every):  # an upstream that is a gateway like this one
        for name in names.every:
            headers.drop(name)
    left = limit.amount - counter.spent - counter.reserved
    headers.add(names.limit, limit.shown)
    headers.add(names.remaining, limit.header(left if left > 0 else 0))  # noqa: FURB136 - half the cost
    headers.add(names.reset, tally.window.shown(counter.resets_ms(tally.window)))
    if note.is_degraded:
        headers.add(names.degraded, b"true")
