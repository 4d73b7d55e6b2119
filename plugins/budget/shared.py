"""Reserving and settling in Redis or Valkey, with counters that all processes share.

One script reserves under all of a request's rules or under none. A reservation is a lease: it is
renewed for as long as its exchange lives, so those of a process that was killed are free again.
While the store is away, or what was spent before has not been read into it, each process lets its
share through, or nobody passes.

Spans are those of the server's clock: a process keeps how far its own is from that, tells the
script the span that it takes for the present one and the next, and asks again where neither is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from gateway import Attempt, Exchange, GatewayError, RedisLink, StoreLost, Usage

from .amounts import worst
from .book import Book
from .counters import Counter, Store, Tally
from .demand import Demand
from .holds import Entries, Note
from .leasing import Leases
from .places import Held, held_of, snapshot
from .refusing import blind, lost, spent_up
from .reserving import Desk, End, is_charged
from .rules import Limit
from .scripts import STALE, TAKE, UNREAD
from .settling import Settling

# Questions until a span is found; a second one is asked at a span's very end, or after a start.
_TRIES: Final = 3

Wishes = Sequence[tuple[Held, int]]
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class SharedDesk(Desk):
    """link: to the store, which knows `scripts`. refuses: nobody passes without it.

    unread: called where a rule's counters have not been read. spawn: runs work in the background.
    """

    def __init__(
        self,
        store: Store,
        tell: Callable[[Limit, Tally, Counter], None],
        link: RedisLink,
        book: Book,
        *,
        refuses: bool,
    ) -> None:
        super().__init__(store, tell)
        self.book = book
        self.unread: Callable[[], None] = lambda: None
        self.spawn: Spawn = _run
        self._link = link
        self._name = secrets.token_hex(8).encode()
        self.settling = Settling(book, link, self._name, tell)
        self._refuses = refuses
        self._number = 0
        self.leases = Leases(book, link)
        self._live = self.leases.live
        self._renewals: dict[bytes, Wishes] = {}

    # -- before ------------------------------------------------------------------------------------

    async def ask(self, exchange: Exchange, note: Note, provider: str) -> None:
        """As `reserve`: hold what a request may cost at that provider."""
        note.provider = provider
        price = self._price(exchange, note, provider)
        wishes = []
        for limit, tally in note.entries:
            subject = limit.subject(exchange, provider)
            if subject is not None:
                amount = worst(limit, note.demand, price)
                whose = provider if limit.is_by_provider else None
                wishes.append((self.book.hold(limit, tally, subject, whose), amount))
        await self._take(note, wishes)

    async def ask_again(self, exchange: Exchange, attempt: Attempt, note: Note) -> None:
        """As `retarget`: for an attempt that goes elsewhere, or once more."""
        provider = attempt.target.provider.name
        before = [each for each in exchange.attempts if each is not attempt and is_charged(each)]
        if note.provider is None and not before:
            await self.ask(exchange, note, provider)
            return
        price = self._price(exchange, note, provider)
        wishes: list[tuple[Held, int]] = []
        for limit, tally in note.entries:
            whose = provider if limit.is_by_provider else None
            subject = limit.subject(exchange, provider)
            if subject is None:
                continue
            amount = worst(limit, note.demand, price)
            amount += self._carried(exchange, note, limit, before, whose)
            held = (held_of(h) for h in note.holds if h.limit is limit and h.provider == whose)
            hold = next(held, None)
            wishes.append((hold or self.book.hold(limit, tally, subject, whose), amount))
        for each in note.holds:  # where it does not go any more
            if each.provider is not None and each.provider != provider:
                left = self._carried(exchange, note, each.limit, before, each.provider)
                wishes.append((held_of(each), left))
        note.provider = provider
        await self._take(note, wishes)

    async def _take(self, note: Note, wishes: Wishes) -> None:
        """Hold so much of each, or leave all as it was. `GatewayError` where a rule refuses."""
        if not wishes:
            return
        if not note.key:
            self._number += 1
            note.key = b"%b%d" % (self._name, self._number)
        # Before anybody waits: what is taken after its caller has left is given back at the end.
        fresh = [hold for hold, _ in wishes if hold not in note.holds]
        note.holds = [*note.holds, *fresh]
        self._live[note.key] = note
        note.is_asking = True
        try:
            await self._decide(note, wishes)
        except Exception:
            if note.key in self._live:
                note.holds = [hold for hold in note.holds if hold not in fresh]
            raise
        finally:
            note.is_asking = False
        note.tightest = min(
            (hold for hold in note.holds if hold.provider in (None, note.provider)),
            key=lambda hold: hold.room() / (hold.limit.amount or 1),
            default=None,
        )

    async def _decide(self, note: Note, wishes: Wishes) -> None:
        for _ in range(_TRIES):
            keys, arguments = self._asked(note.key, wishes)
            try:
                reply = await self._link.call(TAKE, keys, arguments)
            except StoreLost as error:
                if self._refuses:
                    raise lost() from error
                break
            verdict = reply[0]
            self.book.hear_clock(reply[1])
            if verdict == UNREAD:
                self.unread()
                is_hard = any(hold.limit.hard for hold, _ in wishes)
                if self._refuses or (is_hard and not self.book.has_counted):
                    raise blind()
                break
            if verdict != STALE:
                self._took(note, wishes, reply)
                return
        if note.key in self._live:
            self._take_here(note, wishes)

    def _asked(self, key: bytes, wishes: Wishes) -> tuple[list[bytes], list[bytes]]:
        now = self.book.clock()
        keys: list[bytes] = []
        arguments = [key, self.leases.lasting, b"1" if self.book.reads else b"0"]
        for hold, amount in wishes:
            keys += hold.place.keys(hold.name)
            arguments += hold.place.span(hold.tally, now)
            of = b"%d" % hold.epoch if hold.amount else b""
            limit = b"%d" % hold.limit.amount
            refuses = b"1" if hold.limit.hard else b"0"
            arguments += (limit, refuses, b"%d" % amount, of, hold.name)
        return keys, arguments

    def _took(self, note: Note, wishes: Wishes, reply: list[Any]) -> None:
        refusing, now = reply[0], self.book.clock()
        for place, (hold, amount) in enumerate(wishes):
            spent, reserved, epoch, generation, steps = reply[2 + place]
            self.book.hear(hold, spent + reserved)
            self.book.hear_generation(hold.place, generation)
            counter = snapshot(hold.counter.subject, hold.tally, spent, reserved, steps)
            if place + 1 == refusing:
                limit, more = hold.limit, amount - hold.amount
                note.refused = (limit, hold.tally, counter)
                raise spent_up(limit, hold.tally, counter, more, now)
            if refusing:
                continue
            hold.counter, hold.epoch, hold.generation = counter, epoch, generation
            hold.amount = amount

    def _take_here(self, note: Note, wishes: Wishes) -> None:
        """Let in what fits into this process's share."""
        note.is_degraded = True
        now = self.book.clock()
        for hold, amount in wishes:
            more = amount - hold.amount
            if hold.limit.hard and more > 0 and more > self.book.shares.room(hold, now):
                counter = self.book.shares.counter(hold, hold.tally, now)
                note.refused = (hold.limit, hold.tally, counter)
                raise spent_up(hold.limit, hold.tally, counter, more, now)
        for hold, amount in wishes:
            self.book.shares.take(hold, amount - hold.amount, now)
            hold.amount = amount
            hold.counter = self.book.shares.counter(hold, hold.tally, now)

    # -- while it runs -----------------------------------------------------------------------------

    async def grow(self, exchange: Exchange, note: Note, output: int, more: int) -> bool:
        """As `extend`: hold more for a stream that will use up its reservation."""
        if note.key not in self._live:
            return False
        wishes = self._more(exchange, note, output, more)
        try:
            await self._take(note, wishes)
        except Exception:
            note.refused = None
            return False
        return True

    def seems_free(self, exchange: Exchange, note: Note, output: int, more: int) -> bool:
        """Whether there was room for so much more when the store was last heard of."""
        wishes = self._more(exchange, note, output, more)
        return all(amount - hold.amount <= hold.room() for hold, amount in wishes)

    def _more(self, exchange: Exchange, note: Note, output: int, more: int) -> Wishes:
        return [
            (held_of(hold), hold.amount + amount)
            for hold, amount in self._extension(exchange, note, output, more)
        ]

    def renew(self, exchange: Exchange, note: Note, used: Usage, demand: Demand, end: End) -> None:
        changes = self._renewal(exchange, note, used, demand)
        if isinstance(changes, Limit):
            end(changes)
            return
        wishes = [(held_of(hold), hold.amount + more) for hold, more in changes]
        is_running = note.key in self._renewals
        # Answers that come faster than replies of the store: as it was when it was last heard of.
        for hold, more in changes if is_running else ():
            if hold.limit.hard and more > 0 and more > hold.room():
                end(hold.limit)
                return
        self._renewals[note.key] = wishes  # only the latest counts
        if not is_running:
            self.spawn(self._renew_session(note, end), "budget-session")

    async def _renew_session(self, note: Note, end: End) -> None:
        wishes: Wishes = ()
        try:
            while note.key in self._live and wishes is not self._renewals[note.key]:
                wishes = self._renewals[note.key]
                try:
                    await self._take(note, wishes)
                except GatewayError:
                    refused, note.refused = note.refused, None
                    hard = [hold.limit for hold, _ in wishes if hold.limit.hard]
                    end(hard[0] if refused is None else refused[0])
        finally:
            del self._renewals[note.key]

    # -- after -------------------------------------------------------------------------------------

    def settle(self, exchange: Exchange, note: Note) -> None:
        holds, note.holds = note.holds, []
        self._live.pop(note.key, None)
        if holds:
            self.settling.give(exchange, note.key, [held_of(hold) for hold in holds])

    def count(self, exchange: Exchange, entries: Entries) -> None:
        holds: list[Held] = []
        for provider in {each.target.provider.name for each in exchange.attempts}:
            for limit, tally in entries:
                subject = limit.subject(exchange, provider)
                whose = provider if limit.is_by_provider else None
                known = any(hold.limit is limit and hold.provider == whose for hold in holds)
                if subject is not None and not known:
                    holds.append(self.book.hold(limit, tally, subject, whose))
        self.settling.give(exchange, b"", holds)


def _run(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name=name)
