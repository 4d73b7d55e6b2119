"""Counters in Redis or Valkey, shared by all processes: one script decides on a request's rules.

While the store is away each process counts for itself, up to its share of each limit, or refuses.
Slots are leases there: a process renews its own, and those of one that was killed expire. What is
given back while the store is away waits for its return, as long as there is room for that.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from gateway import Exchange, RedisLink, Secret, StoreLost, Subject

from .holds import Hold, Note, Wish
from .memory import Memory, Refused
from .reporting import Report
from .rules import Limit
from .scripts import GIVE, RENEW, TAKE
from .shapes import loaded

# A slot of a process that was killed is back after this time; live ones are renewed sooner.
LEASE_S: Final = 15.0
RENEW_S: Final = 5.0
# Leases renewed with one script.
_BATCH: Final = 200
# Calls that give something back, kept while the store is away; beyond it the oldest are forgotten,
# which costs no more than waiting for what was taken to be there again.
OWED_MAX: Final = 10_000
_STATE: Final = 4  # numbers of each rule in a reply

_Call = tuple[list[bytes], list[bytes]]


class Unknown(Exception):
    """The store is away, and nobody may pass without it."""


class Shared:
    """One per process. memory: who counts while the store is away. refuses: nobody does."""

    def __init__(
        self,
        url: str,
        memory: Memory,
        report: Report,
        *,
        user: str,
        password: Secret | None,
        deadline_s: float,
        refuses: bool,
    ) -> None:
        self.link = RedisLink(
            url,
            (TAKE, GIVE, RENEW),
            user=user,
            password=password,
            deadline_s=deadline_s,
            on_up=self._pay,
        )
        self.lease_s, self.renew_s = LEASE_S, RENEW_S
        self._memory = memory
        self._report = report
        self._refuses = refuses
        self._prefix = secrets.token_hex(8).encode()
        self._number = 0
        self._leases: dict[bytes, set[bytes]] = {}
        self._owed: deque[_Call] = deque(maxlen=OWED_MAX)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.link.running():
            renewing = asyncio.get_running_loop().create_task(self._renew(), name="rate-limit")
            try:
                yield
            finally:
                renewing.cancel()
                with suppress(asyncio.CancelledError):
                    await renewing

    async def take(
        self, exchange: Exchange, note: Note, limits: Iterable[Limit], provider: str | None
    ) -> None:
        """Take what a request needs of each of its rules, or of none. `Refused`, or `Unknown`."""
        wishes = _wishes(exchange, note, limits, provider)
        if not wishes:
            return
        if not note.key:
            self._number += 1
            note.key = b"%b%d" % (self._prefix, self._number)
        keys = [_key(wish.limit, wish.subject) for wish in wishes]
        arguments = [note.key, self._lease_us]
        for wish in wishes:
            arguments += _numbers(wish.limit, wish.amount, 1 if wish.limit.enforced else 0)
        late = partial(self._late, wishes, note.key)
        call: asyncio.Future[Any] | None = None
        try:
            call = self.link.call(TAKE, keys, arguments, late)
            reply = _read(await call)
        except asyncio.CancelledError:
            # The caller left in the very moment in which the reply came.
            if call is not None and not call.cancelled() and call.exception() is None:
                self._late(wishes, note.key, call.result())
            raise
        except StoreLost as error:
            if self._refuses:
                raise Unknown from error
            self._take_here(exchange, note, limits, provider)
        else:
            self._took(note, wishes, keys, reply, provider)

    def give(self, note: Note, backs: list[tuple[Hold, int]]) -> None:
        """Give back so much of each hold; where negative, use so much more."""
        if backs:
            keys = [_key(hold.limit, hold.subject) for hold, _ in backs]
            arguments = [note.key, b""]
            for hold, back in backs:
                arguments += _numbers(hold.limit, back, hold.epoch)
                if hold.limit.is_slots:
                    self._leases.pop(note.key, None)
            self._owed.append((keys, arguments))
            self._pay()

    # -- inner -------------------------------------------------------------------------------------

    @property
    def _lease_us(self) -> bytes:
        return b"%d" % int(self.lease_s * 1_000_000)

    def _took(
        self,
        note: Note,
        wishes: list[Wish],
        keys: list[bytes],
        reply: list[int],
        provider: str | None,
    ) -> None:
        refusing, now_us = reply[0], reply[1]
        for place, wish in enumerate(wishes):
            limit = wish.limit
            *state, fits = reply[2 + place * _STATE : 2 + (place + 1) * _STATE]
            counter = loaded(limit.shape.kind, state)
            room = counter.room(limit.shape, now_us // limit.tick_us)
            if place + 1 == refusing:
                wait_us = limit.wait_us(counter, wish.amount)
                raise Refused(wish, room, wait_us, limit.reset_us(counter))
            if refusing:
                continue
            if not fits:
                self._report.over(limit, wish.subject)
                continue
            epoch = counter.take(limit.shape, wish.amount)
            whose = provider if limit.is_by_provider else None
            note.add(
                Hold(
                    limit,
                    wish.subject,
                    wish.amount,
                    room - wish.amount,
                    None,
                    epoch,
                    limit.reset_us(counter),
                    whose,
                )
            )
            if limit.is_slots:
                self._leases.setdefault(note.key, set()).add(keys[place])

    def _take_here(
        self, exchange: Exchange, note: Note, limits: Iterable[Limit], provider: str | None
    ) -> None:
        note.is_degraded = True
        local = [limit.local for limit in limits if limit.local is not None]
        try:
            self._memory.take(exchange, note, local, provider)
        except Refused as refused:
            refused.degraded = True
            raise

    def _late(self, wishes: list[Wish], key: bytes, raw: bytes | None) -> None:
        """Nobody waits any more for what was taken: give it back, as far as that is known."""
        reply = None if raw is None else _read(raw)
        if reply is not None and reply[0]:
            return
        keys, arguments = [], [key, b""]
        for place, wish in enumerate(wishes):
            limit = wish.limit
            if reply is None:
                if not limit.is_slots:
                    continue  # perhaps it was taken; it will be there again in its time
                epoch = 0
            else:
                *state, fits = reply[2 + place * _STATE : 2 + (place + 1) * _STATE]
                if not fits:
                    continue
                epoch = state[0]
            keys.append(_key(limit, wish.subject))
            arguments += _numbers(limit, wish.amount, epoch)
        if keys:
            self._owed.append((keys, arguments))
            self._pay()

    def _pay(self) -> None:
        """Send what is owed, in order, if the store is there."""
        while self._owed and self.link.is_up:
            keys, arguments = self._owed.popleft()
            try:
                self.link.call(GIVE, keys, arguments)
            except StoreLost:
                self._owed.appendleft((keys, arguments))
                return

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.renew_s)
            self._pay()
            live = [(key, name) for name, keys in self._leases.items() for key in keys]
            for start in range(0, len(live), _BATCH):
                some = live[start : start + _BATCH]
                names = [name for _, name in some]
                with suppress(StoreLost):
                    await self.link.call(RENEW, [key for key, _ in some], [self._lease_us, *names])


def _wishes(
    exchange: Exchange, note: Note, limits: Iterable[Limit], provider: str | None
) -> list[Wish]:
    is_child = exchange.depth > 0
    found = []
    for limit in limits:
        subject = limit.subject(exchange, provider)
        if subject is not None and not (limit.is_slots and is_child):
            found.append(Wish(limit, subject, note.amount(exchange, limit)))
    return found


def _read(reply: bytes) -> list[int]:
    return [int(word) for word in reply.split()]


def _key(limit: Limit, subject: Subject) -> bytes:
    parts = (subject,) if isinstance(subject, str) else subject
    raw = [part.encode("utf-8", "backslashreplace") for part in parts]
    return limit.key + b"".join([b"%d:%b" % (len(part), part) for part in raw])


def _numbers(limit: Limit, amount: int, last: int) -> list[bytes]:
    shape = limit.shape
    numbers = (limit.amount, shape.tick_us, shape.window, shape.unit, shape.drain, amount, last)
    return [shape.kind.encode(), *(b"%d" % number for number in numbers)]
