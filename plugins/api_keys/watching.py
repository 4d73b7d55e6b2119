"""Keeps what is known of the store's keys as it is in the store: a thread that watches and writes.

It hears of a change within a quarter of a second (SQLite) or at once (PostgreSQL), works out what
follows, and hands that to the requests' loop. It writes down how often keys were used, together and
now and then. Who manages keys on the operator's listener is served by it too, over a connection of
its own. No request ever waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from gateway import StoreAway, get_logger

from .book import Book, Update
from .grants import Grant
from .keyring import Ring
from .records import add_uses, changes_since
from .stores import Store

log = get_logger("api_keys")

T = TypeVar("T")
RETRY_S: Final = 0.5
# How old what the store says of a key's use may be.
FLUSH_S: Final = 5.0
# What is asked on the operator's listener may take so long.
ASK_S: Final = 10.0
STOP_S: Final = 5.0


class Watcher:
    """ring: the store's keys by digest; changed by the requests' loop alone. is_lost: whether the
    store is out of reach. is_loaded: whether it has been read at all.

    told: called on the requests' loop with each update; None where only is_lost changed.
    """

    def __init__(
        self, watched: Store, worked: Store, *, flush_s: float = FLUSH_S, ask_s: float = ASK_S
    ) -> None:
        self.ring: Ring = {}
        self.is_lost = False
        self.is_loaded = False
        self._watched = watched
        self._worked = worked
        self._flush_s = flush_s
        self._ask_s = ask_s
        self._flushed: dict[bytes, int] = {}  # uses that the store knows of, by digest
        self._told: Callable[[Update | None], None] = lambda _: None
        self._callers: asyncio.AbstractEventLoop | None = None
        self._looked = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._lock = asyncio.Lock()  # of `worked`; the thread's loop alone waits for it
        self._worker = threading.Thread(target=self._run, name="api-keys", daemon=True)

    def start(self, told: Callable[[Update | None], None]) -> None:
        """Begin; call it on the requests' loop."""
        self._callers = asyncio.get_running_loop()
        self._told = told
        self._worker.start()

    async def looked(self) -> None:
        """Wait until the store has been read, or was found to be away."""
        await self._looked.wait()

    def stop(self) -> None:
        """Write down what is left and end the thread; wait for at most `STOP_S`."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._worker.join(STOP_S)

    async def ask(self, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        """Have the thread do something with the store; `StoreAway` where it cannot."""
        future = asyncio.run_coroutine_threadsafe(self._done(work), self._loop)
        try:
            async with asyncio.timeout(self._ask_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise StoreAway(f"the store of keys did not answer for {self._ask_s:g} s") from None

    # -- on the thread -----------------------------------------------------------------------------

    async def _done(self, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        async with self._lock:
            try:
                await self._worked.open()
                done = await work(self._worked)
            except StoreAway:
                with contextlib.suppress(StoreAway):
                    await self._worked.close()
                raise
        self._watched.poke()
        return done

    def _run(self) -> None:
        loop = self._loop
        try:
            tasks = [loop.create_task(self._watch()), loop.create_task(self._write_down())]
            loop.run_forever()
            for task in (*tasks, *asyncio.all_tasks(loop)):
                task.cancel()
            loop.run_until_complete(self._close())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def _watch(self) -> None:
        book, seq = Book(), -1
        while True:
            try:
                await self._watched.open()
                changes = await changes_since(self._watched, seq)
                if changes.seq != seq:
                    self._tell(book.turn(changes), is_lost=False)
                    seq = changes.seq
                elif self.is_lost:
                    self._tell(None, is_lost=False)
                await self._watched.news()
            except StoreAway as error:
                if not self.is_lost:
                    log.warning("key_store_away", error=str(error))
                self._tell(None, is_lost=True)
                with contextlib.suppress(StoreAway):
                    await self._watched.close()
                await asyncio.sleep(RETRY_S)

    async def _write_down(self) -> None:
        while True:
            await asyncio.sleep(self._flush_s)
            with contextlib.suppress(StoreAway):  # they are added to the next ones
                await self._flush()

    async def _flush(self) -> None:
        fresh: dict[str, tuple[int, int]] = {}
        counted: dict[bytes, int] = {}
        for digest, grant in list(self.ring.items()):  # one step, while the other loop changes it
            uses = grant.uses
            more = uses - self._flushed.get(digest, 0)
            if more:
                counted[digest] = uses
                before = fresh.get(grant.key_id, (0, 0))
                fresh[grant.key_id] = (before[0] + more, max(before[1], grant.used_ms))
        if not fresh:
            return

        async def work(db: Store) -> None:
            async with db.changing(tell=False):
                await add_uses(db, fresh)

        await self._done(work)
        self._flushed.update(counted)
        for digest in self._flushed.keys() - self.ring.keys():
            del self._flushed[digest]

    async def _close(self) -> None:
        with contextlib.suppress(StoreAway, TimeoutError):
            async with asyncio.timeout(STOP_S):
                if not self.is_lost:
                    await self._flush()
                await self._watched.close()
                await self._worked.close()

    # -- to the requests' loop ---------------------------------------------------------------------

    def _tell(self, update: Update | None, *, is_lost: bool) -> None:
        callers = self._callers
        if callers is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                callers.call_soon_threadsafe(self._take, update, is_lost)

    def _take(self, update: Update | None, is_lost: bool) -> None:
        self.is_lost = is_lost
        if update is not None:
            for digest, grant in update.grants.items():
                _carry_on(self.ring.get(digest), grant)
            self.ring.update(update.grants)
            for digest in update.gone:
                self.ring.pop(digest, None)
            self.is_loaded = True
        self._looked.set()
        self._told(update)


def _carry_on(before: Grant | None, grant: Grant) -> None:
    """A changed key goes on counting where it was."""
    if before is not None:
        grant.uses, grant.used_ms = before.uses, before.used_ms
        grant.verified_ms = before.verified_ms
