"""Reads what was spent before into a shared store, by one process, once.

Each rule has a marker there. Where it is missing - the store is new, was flushed, or the rule is -
nobody counts in the store under that rule. Who finds it so claims it, with a lease; the claim names
a generation and a moment X, a little later than now. From then on:

- A request that holds something of this generation is counted where it settles. Counters bear the
  generation that they are of, and those of another are void, so a marker that is lost, or a claim
  whose holder was killed half way, never has anything counted twice.
- Any other, which began before, or while nobody counted, is counted where it settles if it ended at
  X or later, and is in the ledger for the claimer if it ended before. When it ended is worked out
  of the same numbers there as for its row in the ledger, so both sides agree to the microsecond,
  whatever clocks of different nodes say.
- The claimer reads once what ended before X is in the ledger for sure, `READ_AFTER_S` behind X,
  which leaves room for clocks of nodes that differ by so much. It reads hours up to the one before
  X by their sums. So what ran for over an hour and ended between X and the reading is counted
  twice; nothing else is.

Counters stand for as long as some process has their rule, and five minutes more (`marking.STAND`);
a rule that comes by a reload is read anew, too.

What a killed process had under way, or had not said yet, is not counted there: its leases end. In
memory the next start finds that in the ledger, and what is orphaned counts with the most that it
may have used.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

from gateway import RedisLink, StoreLost, get_logger

from .answers import ANSWERS_MAX
from .book import Book
from .holds import Entries, Prices
from .marking import CLAIM, DONE, FILL
from .owing import Answer
from .places import written
from .rebuilding import RECOVERY_S, RETRY_S, Ledger, Past, Where
from .settling import alerts_of

log = get_logger("budget")

# From a claim to X, and from there to reading: rows are in the ledger within a second.
MARGIN_S: Final = 0.5
READ_AFTER_S: Final = 1.5
# A claim that is not renewed is over.
CLAIM_S: Final = 10.0
_RENEW_S: Final = 2.0
_LOOK_S: Final = 0.2
_BATCH: Final = 200
_READ: Final = 1


class Filling:
    """entries, where: the rules of now, and the gateways that each is of."""

    def __init__(
        self,
        link: RedisLink,
        book: Book,
        ledger: Ledger,
        entries: Callable[[], Entries],
        where: Callable[[], Where],
        prices: Callable[[], Prices | None],
    ) -> None:
        self._link = link
        self._book = book
        self._ledger = ledger
        self._entries = entries
        self._where = where
        self._prices = prices
        self._token = secrets.token_hex(8).encode()

    async def run(self, anew: Entries = ()) -> None:
        """Until what was spent before is there for all rules, whoever reads it.

        anew: rules that are new here; what was spent since somebody had them is read again.
        """
        while True:
            try:
                if anew:
                    await self._claim(anew, self._token, b"1")
                    anew = ()
                entries = self._entries()
                claims = await self._claim(entries, self._token)
                moment_us = max(claims, default=0)
                if moment_us > _READ:
                    pairs = zip(entries, claims, strict=True)
                    await self._fill(tuple(e for e, is_ in pairs if is_ == moment_us), moment_us)
                elif all(claims):
                    return
                else:
                    await asyncio.sleep(_LOOK_S)
            except StoreLost:
                await asyncio.sleep(_LOOK_S)

    async def _claim(self, entries: Entries, token: bytes, anew: bytes = b"0") -> list[int]:
        """Of each rule the moment of a claim of ours, `_READ`, or 0 while another one reads."""
        if not entries:
            return []
        keys = [self._book.place(limit).marker for limit, _ in entries]
        lasting = b"%d" % int(CLAIM_S * 1000)
        margin = b"%d" % int(MARGIN_S * 1e6)
        arguments = [token, margin, lasting, anew]
        found: list[int] = await self._link.call(CLAIM, keys, arguments)
        return found

    async def _fill(self, entries: Entries, moment_us: int) -> None:
        keeping = asyncio.get_running_loop().create_task(
            self._keep(entries, self._token), name="budget-claim"
        )
        try:
            past = await self._read(entries, moment_us)
            if past is not None:
                claim = b"%d %b" % (moment_us, self._token)
                # What is put there twice counts twice: a try that fails is not gone on with.
                self._token = secrets.token_hex(8).encode()
                if await self._put(entries, past, claim):
                    log.info("budgets_read", rules=len(entries))
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self, entries: Entries, token: bytes) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                await self._claim(entries, token)
            except StoreLost:
                continue

    async def _read(self, entries: Entries, moment_us: int) -> Past | None:
        await asyncio.sleep(MARGIN_S + READ_AFTER_S)
        for limit, tally in entries:
            self._book.place(limit).span(tally, self._book.clock())
        past = Past(entries, self._where(), self._prices(), ended_us=moment_us)
        try:
            if await self._ledger.recovered(RECOVERY_S):
                await past.read(self._ledger)
                return past
            log.warning("budgets_wait_for_ledger")
        except Exception as error:
            log.warning("budgets_not_read", error=repr(error))
            await asyncio.sleep(RETRY_S)
        return None

    async def _put(self, entries: Entries, past: Past, claim: bytes) -> bool:
        """False where the claim is not ours any more."""
        counters: dict[tuple[object, ...], list[Any]] = {}
        for (limit, _), subject, steps in past.counters():
            counters.setdefault(limit.key, []).append((written(subject), steps))
        for limit, tally in entries:
            place, found = self._book.place(limit), counters.get(limit.key, [])
            for start in range(0, len(found), _BATCH):
                keys = [place.marker, place.index]
                arguments = [claim, *place.span(tally, self._book.clock())]
                arguments.append(alerts_of(limit))
                for name, steps in found[start : start + _BATCH]:
                    keys += place.keys(name)[:3]
                    arguments += (b"%d" % len(steps), name)
                    for epoch, spent in steps.items():
                        arguments += (b"%d" % epoch, b"%d" % spent)
                if not await self._link.call(FILL, keys, arguments):
                    return False
        return await self._done(entries, past, claim)

    async def _done(self, entries: Entries, past: Past, claim: bytes) -> bool:
        answers = [Answer(*each, b"d").key for each in past.answers[:ANSWERS_MAX]]
        for start in range(0, len(answers), _BATCH):
            await self._link.call(DONE, answers[start : start + _BATCH], [claim, b"0"])
        markers = [self._book.place(limit).marker for limit, _ in entries]
        count = b"%d" % len(markers)
        return bool(await self._link.call(DONE, markers, [claim, count]) == len(markers))
