"""A ceiling over a shared store: it asks for more before it has to, because a stream cannot wait.

What comes in while it asks goes on as long as there seemed to be room when the store was last heard
of, so a stream that outruns a round trip to the store may pass a ceiling by as much as that.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway import Exchange, Splitter

from .ceiling import Ceiling
from .holds import Note
from .lines import LineSplitter
from .shared import SharedDesk

# So many tokens before its reservation is used up a stream asks for more; so many it asks for, the
# larger first; and where there was no room for any, it asks again after so many.
AHEAD: Final = 64
_STEPS: Final = (1024, 128, 16)
_AGAIN: Final = 16


class Foreseeing(Ceiling):
    __slots__ = ("_ask_at", "_asking", "_sharing")

    def __init__(
        self,
        desk: SharedDesk,
        exchange: Exchange,
        note: Note,
        held: int,
        splitter: Splitter | LineSplitter,
    ) -> None:
        super().__init__(desk, exchange, note, held, splitter)
        self._sharing = desk
        self._asking: asyncio.Task[None] | None = None
        self._ask_at = held - AHEAD

    def _has_room(self) -> bool:
        is_asking = self._asking is not None and not self._asking.done()
        if self.tokens >= self._ask_at and not is_asking:
            self._asking = self._sharing.spawn(self._ask(), "budget-ceiling")
            is_asking = True
        need = self.tokens - self.held
        if need <= 0:
            return True
        return is_asking and self._sharing.seems_free(self._exchange, self._note, self.held, need)

    async def _ask(self) -> None:
        for step in _STEPS:
            more = step + max(self.tokens - self.held, 0)
            if await self._sharing.grow(self._exchange, self._note, self.held, more):
                self.held += more
                self._ask_at = self.held - AHEAD
                return
        self._ask_at = self.tokens + _AGAIN
