"""What was spent before a rule was there, read from a ledger.

Days and longer are read from the ledger's sums by the hour, and entry by entry only where a span
begins within an hour, where it is an hour or less, or where metadata tells subjects apart. An
exchange whose process died before its end counts with the most it may have used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from gateway import get_logger

from .counters import Store
from .holds import Entries, Entry, Prices
from .reserving import Desk
from .rules import Subject, subject_in
from .windows import HOUR_MS

log = get_logger("budget")

# How long one look at a ledger waits for what dead processes left, and the pause behind one that
# failed.
RECOVERY_S: Final = 60.0
RETRY_S: Final = 1.0
_ORPHANED: Final = "orphaned"
_BY: Final = ("hour", "gateway", "key", "team", "user", "provider", "model", "outcome")
_COUNTERS: Final = ("fresh_input", "cache_read", "cache_write", "output_text", "output_reasoning")
# One of these is there where an answer was counted; another one only named it.
_BILLED: Final = (*_COUNTERS, "details", "cost_nanousd")
# Where the sums have what: behind requests come attempts, the five counters and the cost.
_ATTEMPTS: Final = 1
_TOKENS: Final = slice(2, 7)
_COST: Final = 7
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
    until_ms: only by what began before then; the rest is counted where it is spent.
    """

    def __init__(
        self, entries: Entries, where: Where, prices: Prices | None, until_ms: int | None = None
    ) -> None:
        self._entries = entries
        self._gateways = tuple(where.get(limit.key, frozenset()) for limit, _ in entries)
        self._prices = prices
        self._until_ms = until_ms
        self._spent: dict[tuple[int, Subject, int], int] = {}
        self.answers: list[tuple[str, str]] = []  # counted, and may be asked for again

    async def read(self, ledger: Ledger) -> None:
        """Read all of it. What the ledger raises is passed on, and nothing has changed then."""
        end = self._until_ms
        last = None if end is None else end // HOUR_MS * HOUR_MS
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
            for group, sums in (await ledger.sums(_BY, first, last)).items():
                self._add_hour(by_hour, dict(zip(_BY, group, strict=True)), sums)
        for until in {until for _, _, until in by_row}:
            some = [(place, since) for place, since, up_to in by_row if up_to == until]
            first = min(since for _, since in some)
            async for row in ledger.entries(first, until):
                self._add_row(some, row)

    def apply(self, store: Store, desk: Desk) -> int:
        """Put it into the counters; give how many there are."""
        for (place, subject, epoch), spent in self._spent.items():
            limit, tally = self._entries[place]
            counter = store.counter(tally, subject) if spent else None
            if counter is not None:
                counter.add(epoch, 0, spent)
                counter.told = limit.told_of(counter.spent)
        for provider, response_id in self.answers:
            desk.bill(provider, response_id)
        return store.count

    def _add_hour(
        self, places: list[tuple[int, int]], row: dict[str, Any], sums: Sequence[int]
    ) -> None:
        at_ms = row["hour"] * HOUR_MS
        is_orphaned = row["outcome"] == _ORPHANED
        attempts = sums[_ATTEMPTS] if is_orphaned else 0
        for place, since in places:
            if at_ms >= since:
                self._add(place, row, at_ms, sum(sums[_TOKENS]), sums[_COST], attempts)

    def _add_row(self, places: list[tuple[int, int]], row: Row) -> None:
        document, at_ms = row.document, row.at_ms
        is_orphaned = document.get("outcome") == _ORPHANED
        for attempt in document.get("attempts") or ():
            facts = {**document, "provider": attempt.get("provider")}
            tokens = sum(attempt.get(name) or 0 for name in _COUNTERS)
            cost = attempt.get("cost_nanousd") or 0
            for place, since in places:
                if at_ms >= since:
                    self._add(place, facts, at_ms, tokens, cost, int(is_orphaned))
            response_id = attempt.get("response_id")
            is_kept = attempt.get("reported") or "/responses" in document.get("path", "")
            if response_id and is_kept and any(name in attempt for name in _BILLED):
                self.answers.append((attempt["provider"], response_id))

    def _add(
        self, place: int, row: dict[str, Any], at_ms: int, tokens: int, cost: int, orphans: int
    ) -> None:
        if row.get("gateway") not in self._gateways[place]:
            return
        entry = self._entries[place]
        limit, tally = entry
        subject = subject_in(limit.dimensions, row)
        if subject is None:
            return
        spent = cost if limit.in_usd else tokens
        if orphans:
            spent = max(spent, self._worst(entry, row, tokens, orphans))
        key = (place, subject, tally.window.epoch_of(at_ms))
        self._spent[key] = self._spent.get(key, 0) + spent

    def _worst(self, entry: Entry, row: dict[str, Any], tokens: int, orphans: int) -> int:
        limit = entry[0]
        output = orphans * limit.output_default
        if not limit.in_usd:
            return tokens + output
        provider, model = row.get("provider"), row.get("model")
        if self._prices is None or not provider or not model:
            return 0
        price = self._prices.price(provider, model, row.get("gateway") or "default")
        return 0 if price is None else price.worst(tokens, output)
