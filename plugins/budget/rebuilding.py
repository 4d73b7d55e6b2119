"""What was spent before a rule was there, read from a ledger.

Days and longer are read from the ledger's sums by the hour, and entry by entry only where a span
begins within an hour, where it is an hour or less, or where metadata tells subjects apart. An
exchange whose process died before its end counts with the most it may have used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from gateway import Subject, get_logger, subject_in

from .amounts import worst
from .answers import ANSWERS_MAX
from .counters import Store
from .demand import Demand
from .holds import Entries, Entry, Prices
from .reserving import Desk
from .windows import HOUR_MS

log = get_logger("budget")

# How long one look at a ledger waits for what dead processes left, and the pause behind one that
# failed.
RECOVERY_S: Final = 60.0
RETRY_S: Final = 1.0
_ORPHANED: Final = "orphaned"
_BY: Final = ("hour", "gateway", "key", "team", "user", "provider", "model", "outcome")
_COUNTERS: Final = ("fresh_input", "cache_read", "cache_write", "output_text", "output_reasoning")
_READ: Final = 3  # so many of them are of input
# Where the sums have what: behind requests come attempts, the five counters, the cost, and how many
# attempts were counted and have no cost.
_ATTEMPTS: Final = 1
_TOKENS: Final = slice(2, 7)
_COST: Final = 7
_UNPRICED: Final = 8
# The gateways that a rule is of, by its key.
Where = Mapping[tuple[object, ...], Collection[str]]


class Row(Protocol):
    """An exchange as the ledger has it."""

    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def at_ms(self) -> int: ...


class Ledger(Protocol):
    """The capability `ledger`: what has been spent."""

    async def recovered(self, timeout_s: float) -> bool: ...

    def entries(self, since_ms: int = 0, until_ms: int | None = None) -> AsyncIterator[Row]: ...

    async def sums(
        self, by: Sequence[str], since_ms: int = 0, until_ms: int | None = None
    ) -> Mapping[tuple[Any, ...], Sequence[int]]: ...

    async def billed(self, limit: int) -> Sequence[tuple[str, str]]: ...


class Used(NamedTuple):
    """What some attempts used. cost: nano-dollars; None where none of them has one."""

    read: int
    written: int
    cost: int | None


async def rebuild(
    ledger: Ledger,
    entries: Callable[[], Entries],
    where: Callable[[], Where],
    store: Store,
    desk: Desk,
    until_ms: int | None = None,
) -> None:
    """Put what was spent into the counters of some rules, once the ledger can say it.

    where: gives the gateways that each rule is of.
    """
    while True:
        past = Past(entries(), where(), desk.prices, until_ms)
        try:
            if await ledger.recovered(RECOVERY_S):
                await past.read(ledger)
                break
            log.warning("budgets_wait_for_ledger")
        except Exception as error:
            log.warning("budgets_not_read", error=repr(error))
            await asyncio.sleep(RETRY_S)
    log.info("budgets_read", counters=past.apply(store, desk))


class Past:
    """What was spent in the present spans of some rules.

    where: the gateways that each rule is of; what is spent in others it does not count.
    until_ms: only by what began before then; the rest is counted where it is spent. ended_us: the
    same for what ended before then.
    """

    def __init__(
        self,
        entries: Entries,
        where: Where,
        prices: Prices | None,
        until_ms: int | None = None,
        ended_us: int | None = None,
    ) -> None:
        self._entries = entries
        self._gateways = tuple(where.get(limit.key, frozenset()) for limit, _ in entries)
        self._prices = prices
        self._until_ms = until_ms
        self._ended_us = ended_us
        self._spent: dict[tuple[int, Subject, int], int] = {}
        self._answers: Sequence[tuple[str, str]] = ()  # counted, and may be asked for again

    async def read(self, ledger: Ledger) -> None:
        """Read all of it. What the ledger raises is passed on, and nothing has changed then."""
        end = self._until_ms
        last = None if end is None else end // HOUR_MS * HOUR_MS
        if self._ended_us is not None:  # by row, what may have been under way then
            last = (self._ended_us // 1000 // HOUR_MS - 1) * HOUR_MS
        by_row: list[tuple[int, int, int | None]] = []  # of which entry, since, until
        by_hour: list[tuple[int, int]] = []
        for place, (limit, tally) in enumerate(self._entries):
            since = tally.window.starts_ms()
            is_split = any(name.startswith("metadata.") for name in limit.dimensions)
            whole = -(-since // HOUR_MS) * HOUR_MS
            is_short = limit.period in ("minute", "hour") or (last is not None and last <= whole)
            if is_split or is_short:
                by_row.append((place, since, end))
                continue
            by_hour.append((place, whole))
            if whole > since:
                by_row.append((place, since, whole))
            if last is not None:
                by_row.append((place, last, end))
        if by_hour:
            first = min(since for _, since in by_hour)
            hours = await ledger.sums(_BY, first, last)
            summed = [(dict(zip(_BY, names, strict=True)), sums) for names, sums in hours.items()]
            mixed = self._mixed(by_hour, summed)
            for group, sums in summed:
                self._add_hour(by_hour, mixed, group, sums)
            by_row += [(at, hour * HOUR_MS, (hour + 1) * HOUR_MS) for at, hour in sorted(mixed)]
        for until in {until for _, _, until in by_row}:
            some = [(place, since) for place, since, up_to in by_row if up_to == until]
            first = min(since for _, since in some)
            async for row in ledger.entries(first, until):
                self._add_row(some, row)
        self._answers = await ledger.billed(ANSWERS_MAX)

    @property
    def answers(self) -> Sequence[tuple[str, str]]:
        """Those that are counted and may be asked for again: their providers and ids."""
        return self._answers

    def counters(self) -> Iterator[tuple[Entry, Subject, dict[int, int]]]:
        """What was spent in each span or step, by its epoch."""
        found: dict[tuple[int, Subject], dict[int, int]] = {}
        for (place, subject, epoch), spent in self._spent.items():
            if spent:
                found.setdefault((place, subject), {})[epoch] = spent
        for (place, subject), steps in found.items():
            yield self._entries[place], subject, steps

    def apply(self, store: Store, desk: Desk) -> int:
        """Put it into the counters; give how many there are."""
        for (place, subject, epoch), spent in self._spent.items():
            limit, tally = self._entries[place]
            counter = store.counter(tally, subject) if spent else None
            if counter is not None:
                counter.add(epoch, 0, spent)
                counter.told = limit.told_of(counter.spent)
        for provider, response_id in self._answers:
            desk.answers.note(provider, response_id)
        return store.count

    def _mixed(
        self, places: list[tuple[int, int]], rows: list[tuple[dict[str, Any], Sequence[int]]]
    ) -> set[tuple[int, int]]:
        """Entries that count tokens of models without a price, and hours whose sums do not tell
        these from others.
        """
        counting = [place for place, _ in places if self._entries[place][0].fallback is not None]
        if not counting:
            return set()
        hours = {row["hour"] for row, sums in rows if 0 < sums[_UNPRICED] < sums[_ATTEMPTS]}
        since = dict(places)
        return {(at, hour) for at in counting for hour in hours if hour * HOUR_MS >= since[at]}

    def _add_hour(
        self,
        places: list[tuple[int, int]],
        mixed: set[tuple[int, int]],
        row: dict[str, Any],
        sums: Sequence[int],
    ) -> None:
        hour = row["hour"]
        at_ms = hour * HOUR_MS
        attempts = sums[_ATTEMPTS]
        tokens = sums[_TOKENS]
        cost = None if sums[_UNPRICED] == attempts else sums[_COST]
        used = Used(sum(tokens[:_READ]), sum(tokens[_READ:]), cost)
        orphans = attempts if row["outcome"] == _ORPHANED else 0
        for place, since in places:
            if at_ms >= since and (place, hour) not in mixed:
                self._add(place, row, at_ms, used, orphans)

    def _add_row(self, places: list[tuple[int, int]], row: Row) -> None:
        document, at_ms = row.document, row.at_ms
        ended_us = at_ms * 1000 + (document.get("duration_us") or 0)
        if self._ended_us is not None and ended_us >= self._ended_us:
            return
        is_orphaned = document.get("outcome") == _ORPHANED
        for attempt in document.get("attempts") or ():
            facts = {**document, "provider": attempt.get("provider")}
            tokens = [attempt.get(name) or 0 for name in _COUNTERS]
            cost = attempt.get("cost_nanousd")
            used = Used(sum(tokens[:_READ]), sum(tokens[_READ:]), cost)
            for place, since in places:
                if at_ms >= since:
                    self._add(place, facts, at_ms, used, int(is_orphaned))

    def _add(self, place: int, row: dict[str, Any], at_ms: int, used: Used, orphans: int) -> None:
        if row.get("gateway") not in self._gateways[place]:
            return
        entry = self._entries[place]
        limit, tally = entry
        subject = subject_in(limit.dimensions, row)
        if subject is None:
            return
        spent = used.cost or 0
        if not limit.in_usd:
            spent = used.read + used.written
        elif used.cost is None and limit.fallback is not None and not orphans:
            spent = limit.fallback.worst(used.read, used.written)
        if orphans:
            spent = max(spent, self._worst(entry, row, used, orphans))
        key = (place, subject, tally.window.epoch_of(at_ms))
        self._spent[key] = self._spent.get(key, 0) + spent

    def _worst(self, entry: Entry, row: dict[str, Any], used: Used, orphans: int) -> int:
        limit = entry[0]
        provider, model = row.get("provider"), row.get("model")
        price = None
        if self._prices is not None and provider and model:
            price = self._prices.price(provider, model, row.get("gateway") or "default")
        demand = Demand(model, used.read + used.written, None, None, orphans)
        if price is None and limit.in_usd and limit.fallback is None:
            return 0
        return worst(limit, demand, price)
