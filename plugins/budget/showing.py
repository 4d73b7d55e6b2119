"""What a shared store says of each budget, for a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gateway import RedisLink

from .book import Book
from .counters import Counter, Tally
from .places import snapshot
from .reporting import Budget, Budgets, budget
from .rules import Limit
from .scripts import LIST, TAKE

# Subjects of one rule that are looked at.
_LISTED_MAX: Final = 10_000
_BATCH: Final = 50


async def shown(link: RedisLink, book: Book, entries: Iterable[tuple[Limit, Tally]]) -> Budgets:
    """`StoreLost` where it is away."""
    return Budgets([await _budget(link, book, limit, tally) for limit, tally in entries])


async def _budget(link: RedisLink, book: Book, limit: Limit, tally: Tally) -> Budget:
    place = book.place(limit)
    names = await link.call(LIST, [place.index], [b"%d" % _LISTED_MAX])
    counters: list[Counter] = []
    for start in range(0, len(names), _BATCH):
        some = names[start : start + _BATCH]
        keys: list[bytes] = []
        arguments = [b"", b"0", b"1"]
        for name in some:
            keys += place.keys(name)
            # To hold nothing changes nothing, and says how things are.
            arguments += (*place.span(tally, book.clock()), b"0", b"0", b"0", b"", name)
        reply = await link.call(TAKE, keys, arguments)
        book.hear_clock(reply[1])
        for name, (spent, reserved, _, _, steps) in zip(some, reply[2:], strict=False):
            if spent or reserved:
                subject = tuple(msgspec.json.decode(name, type=list[str]))
                counters.append(snapshot(subject, tally, spent, reserved, steps))
    return budget(limit, tally, counters)
