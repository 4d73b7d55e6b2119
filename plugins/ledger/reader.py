"""What the ledger lends to other plugins, under the name "ledger": reading, and nothing else.

It reads on the ledger's own thread, over a connection of its own, and is asked from the loop of the
requests. What the shipper has not moved yet, a fifth of a second or what a store that is away has
missed, is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from gateway import StoreAway

from .records import DIMENSIONS, Entry
from .shipper import Shipper
from .stores import Store
from .table import Wanted, rows

_PAGE: Final = 1_000


class Reader:
    """Methods raise `StoreAway` where the store is."""

    def __init__(self, shipper: Shipper, store: Store) -> None:
        self._shipper = shipper
        self._store = store
        self._lock = asyncio.Lock()  # the thread's loop alone waits for it
        self._is_open = False

    async def recovered(self, timeout_s: float) -> bool:
        """Wait until what dead processes left is in the store; False where that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._shipper.ask(self._shipper.recovered())
        except TimeoutError:
            return False
        return True

    async def entries(self, since_ms: int = 0, until_ms: int | None = None) -> AsyncIterator[Entry]:
        """The entries of a span of time, oldest first."""
        walk = self._pages(since_ms, until_ms)
        while page := await self._shipper.ask(self._next(walk)):
            for entry in page:
                yield entry

    async def sums(
        self,
        by: Sequence[str] = DIMENSIONS,
        since_ms: int = 0,
        until_ms: int | None = None,
    ) -> Mapping[tuple[Any, ...], Sequence[int]]:
        """The sums of whole hours: `records.SUMS` by some of `records.DIMENSIONS`."""

        async def read() -> Mapping[tuple[Any, ...], Sequence[int]]:
            return await self._store.sums(by, since_ms=since_ms, until_ms=until_ms)

        return await self._shipper.ask(self._read(read))

    async def billed(self, limit: int) -> list[tuple[str, str]]:
        """Answers that count once however often they are asked for: provider and response id of so
        many of the latest, oldest first.
        """
        return list(await self._shipper.ask(self._read(lambda: self._store.billed(limit))))

    async def table(self, want: Wanted) -> list[dict[str, Any]]:
        """The same as rows."""
        return await self._shipper.ask(self._read(lambda: rows(self._store, want)))

    async def close(self) -> None:
        """On the thread's loop."""
        if self._is_open:
            self._is_open = False
            await self._store.close()

    async def _read(self, read: Any) -> Any:
        async with self._lock:
            try:
                if not self._is_open:
                    await self._store.open()
                    self._is_open = True
                return await read()
            except StoreAway:
                self._is_open = False
                raise

    async def _pages(self, since_ms: int, until_ms: int | None) -> AsyncIterator[list[Entry]]:
        page: list[Entry] = []
        async for entry in self._store.entries(since_ms=since_ms, until_ms=until_ms):
            page.append(entry)
            if len(page) == _PAGE:
                yield page
                page = []
        yield page

    async def _next(self, walk: AsyncIterator[list[Entry]]) -> list[Entry]:
        found: list[Entry] = await self._read(lambda: anext(walk, []))
        return found
