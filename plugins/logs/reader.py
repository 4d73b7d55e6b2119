"""Reads, changes and deletes rows for those who ask on the loop of the requests.

It does so on a thread of its own, over a connection of its own, so that a long search delays
neither traffic nor the writing of rows. Rows that still wait to be written are not there yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec

from gateway import StoreAway

from .records import Change, LogRow, Query
from .stores import QUERY_S, Store

T = TypeVar("T")

# Questions are answered one at a time; this is how long one waits for those before it, and itself.
ASK_S: Final = QUERY_S + 10.0
STOP_S: Final = 5.0
# Rows with bodies are large, and all of a page are in memory at once.
PAGE: Final = 500
PAGE_WITH_BODIES: Final = 20


class Reader:
    """Methods raise `StoreAway` where the store is, or is too busy; ValueError for a field in a
    query that nobody has.
    """

    def __init__(self, store: Store, *, ask_s: float = ASK_S, page: int = PAGE) -> None:
        self._store = store
        self.ask_s = ask_s
        self._page = page
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="logs-reader", daemon=True)
        self._lock = asyncio.Lock()  # the thread's loop alone waits for it
        self._is_open = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the store and end the thread; wait for at most `STOP_S`, whatever it is at."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)

    async def find(self, query: Query) -> list[LogRow]:
        """Rows as asked for, at most `query.limit`."""
        return await self._ask(lambda: self._store.find(query))

    async def get(self, id_: bytes) -> LogRow | None:
        """The row of an id with its bodies; None where there is none."""
        return await self._ask(lambda: self._store.get(id_))

    async def count(self, query: Query) -> int:
        """How many rows there are, whatever `query.limit` says."""
        return await self._ask(lambda: self._store.count(query))

    async def newest(self) -> int:
        """The arrival of the row that came last, where one begins who follows; 0 without any."""
        return await self._ask(self._store.newest)

    async def change(self, id_: bytes, change: Change) -> LogRow | None:
        """Change a row and give it, with its bodies; None where there is none."""
        return await self._ask(lambda: self._store.change(id_, change))

    async def delete(self, query: Query) -> int:
        """Delete at most `query.limit` rows, the oldest first; how many went."""
        return await self._ask(lambda: self._store.delete(query))

    async def stream(self, query: Query) -> AsyncIterator[LogRow]:
        """All rows of a query, whatever its `limit` says; a page of them in memory at a time."""
        size = PAGE_WITH_BODIES if query.bodies else self._page
        rest = msgspec.structs.replace(query, limit=size)
        while True:
            rows = await self.find(rest)
            for row in rows:
                yield row
            if len(rows) < size:
                return
            rest = following(rest, rows[-1])

    async def _ask(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have the thread do something, for a task of another loop."""
        future = asyncio.run_coroutine_threadsafe(self._done(work), self._loop)
        try:
            async with asyncio.timeout(self.ask_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise StoreAway(f"the store of logs is busy, and was for {self.ask_s:g} s") from None

    async def _done(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._lock:
            try:
                if not self._is_open:
                    await self._store.open()
                    self._is_open = True
                return await work()
            except StoreAway:
                self._is_open = False
                with contextlib.suppress(StoreAway):
                    await self._store.close()
                raise

    def _run(self) -> None:
        loop = self._loop
        try:
            loop.run_forever()
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(self._close())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def _close(self) -> None:
        with contextlib.suppress(StoreAway, TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._store.close()


def following(query: Query, last: LogRow) -> Query:
    """The same query for what comes behind a row in its order."""
    if query.arrived_after is not None:
        return msgspec.structs.replace(query, arrived_after=last.arrival)
    if query.newest_first:
        return msgspec.structs.replace(query, before=last.id)
    return msgspec.structs.replace(query, after=last.id)
