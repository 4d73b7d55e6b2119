"""Leases of what exchanges hold in the shared store: renewed for as long as they live."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from gateway import RedisLink, StoreLost

from .book import Book
from .holds import Note
from .places import Held, held_of
from .scripts import RENEW

# What a process held that was killed is free after this time; what lives is renewed sooner.
LEASE_S: Final = 15.0
RENEW_S: Final = 5.0
# Renewed with one script.
_BATCH: Final = 50


class Leases:
    """live: the notes of exchanges that are under way, by their names in the store."""

    def __init__(self, book: Book, link: RedisLink) -> None:
        self.live: dict[bytes, Note] = {}
        self.lease_s, self.renew_s = LEASE_S, RENEW_S
        self._book = book
        self._link = link

    @property
    def lasting(self) -> bytes:
        """How long one lasts, in milliseconds."""
        return b"%d" % int(self.lease_s * 1000)

    async def keep(self) -> None:
        """Renew them until this is cancelled; at once where the store has forgotten them."""
        wanted = self._book.renew_now
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.renew_s):
                    await wanted.wait()
            wanted.clear()
            held = [
                (note.key, hold)
                for note in self.live.values()
                if not note.is_asking
                for hold in map(held_of, note.holds)
                if hold.generation and hold.amount
            ]
            for start in range(0, len(held), _BATCH):
                with suppress(StoreLost):
                    await self._renew(held[start : start + _BATCH])

    async def _renew(self, some: list[tuple[bytes, Held]]) -> None:
        now = self._book.clock()
        keys: list[bytes] = []
        arguments = [self.lasting]
        for key, hold in some:
            if key in self.live:
                keys += hold.place.keys(hold.name)
                arguments += hold.place.span(hold.tally, now)
                arguments += (b"%d" % hold.epoch, b"%d" % hold.amount, key, hold.name)
        if keys:
            await self._link.call(RENEW, keys, arguments)
