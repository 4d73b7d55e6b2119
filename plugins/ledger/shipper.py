"""Moves entries from the journal into the store: a thread with an event loop of its own.

It reads files, never the memory of the requests' loop, so a store that is away costs disk and
nothing else. What a batch adds and how far it came are one transaction, and an id counts once, so
that an entry counts once, however often a process dies in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway import StoreAway, StoreRefused, get_logger, id_at, now_ms

from .journal import File, Journal, left_behind, lines_of, sweep
from .orphans import Prices, orphan_of
from .records import OPENS, Damaged, Entry, Opening, record_of
from .stores import Store

if TYPE_CHECKING:
    from . import Config

log = get_logger("ledger")

T = TypeVar("T")

EVERY_S: Final = 0.2
BATCH_BYTES: Final = 1024 * 1024
PAUSE_MAX_S: Final = 5.0
# At the stop the store has this long to take what is left; the rest waits in the journal.
STOP_S: Final = 5.0
# Processes may die at any time, not just before another one starts.
RECOVER_EVERY_S: Final = 10.0
EXPIRE_EVERY_S: Final = 3600.0
EXPIRE_ROWS: Final = 5_000
LOCK_FILE: Final = "recovery.lock"


class Shipper:
    """One per process. `start` and `stop` are for the owner's thread; `stop` waits.

    trim: lets go of files that were shipped; called on the owner's loop. prices: of what was read
    for those whose process died.
    """

    def __init__(
        self,
        journal: Journal,
        store: Store,
        config: Config,
        trim: Callable[[], None],
        prices: Prices | None = None,
    ) -> None:
        self._journal = journal
        self._store = store
        self._config = config
        self._trim = trim
        self._prices = prices
        self._owner: asyncio.AbstractEventLoop | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ledger-shipper", daemon=True)
        self._wake = asyncio.Event()
        self._stopping = False
        self._late: Sequence[Entry] = ()
        self._last: Callable[[], Awaitable[None]] | None = None
        self._round: asyncio.Timeout | None = None
        self._names: set[str] = set()  # files that the store has the progress of
        self._is_open = False
        self._has_recovered = asyncio.Event()
        self._recovered_at = -RECOVER_EVERY_S
        self._expired_at = -EXPIRE_EVERY_S
        self._away_since: float | None = None

    def start(self) -> None:
        """Begin; call it on the loop that owns the journal."""
        self._owner = asyncio.get_running_loop()
        self._thread.start()

    def stop(
        self, late: Sequence[bytes] = (), last: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """Ship what there is, within `STOP_S`, and end the thread; whether it has ended.

        late: closings that no journal could take. last: what to do there in the end.
        """
        self._last = last
        with contextlib.suppress(RuntimeError):  # the thread has ended by itself
            self._loop.call_soon_threadsafe(self._hurry, late)
        self._thread.join(2 * STOP_S)
        return not self._thread.is_alive()

    def ask(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Run something on the thread's loop, for a task of another one."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def recovered(self) -> None:
        """Wait until the dead have been seen to; on the thread's loop."""
        await self._has_recovered.wait()

    def _hurry(self, late: Sequence[bytes]) -> None:
        self._stopping = True
        self._late = [found for line in late if isinstance(found := record_of(line), Entry)]
        self._wake.set()
        if self._round is not None:
            with contextlib.suppress(RuntimeError):  # it is over
                self._round.reschedule(self._loop.time() + STOP_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._work())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _work(self) -> None:
        pause = EVERY_S
        while True:
            is_last = self._stopping
            try:
                async with asyncio.timeout(STOP_S if is_last else None) as self._round:
                    await self._go_round(is_last=is_last)
                pause = EVERY_S
                self._note(None)
            except StoreAway as error:
                pause = min(2 * pause, PAUSE_MAX_S)
                self._note(str(error))
                await self._close()
            except TimeoutError:
                self._note("it did not answer before the stop")
                break  # the journal has what is left
            except Exception as error:  # whatever it was, the next round may do better
                pause = min(2 * pause, PAUSE_MAX_S)
                log.error("ledger_failed", error=repr(error), exc_info=error)
            if is_last:
                break
            if not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        await self._close()
        if self._last is not None:
            with contextlib.suppress(StoreAway, TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._last()

    async def _go_round(self, *, is_last: bool) -> None:
        if not self._is_open:
            await self._store.open()
            self._is_open = True
        await self._ship()
        if is_last:
            await self._add(self._late, None)
            self._names |= {file.name for file in self._journal.files() if not file.open}
            await self._store.forget(sorted(self._names))
            return
        now = time.monotonic()
        if now - self._recovered_at >= RECOVER_EVERY_S and await self._recover():
            self._recovered_at = now
            self._has_recovered.set()
        if now - self._expired_at >= EXPIRE_EVERY_S and await self._expire():
            self._expired_at = now

    async def _close(self) -> None:
        self._is_open = False
        with contextlib.suppress(StoreAway, TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._store.close()

    async def _add(
        self, entries: Sequence[Entry], file: File | None, offset: int | None = None
    ) -> None:
        """Have the store take entries. What it refuses is set aside, and the rest goes on.

        file: where they are from. offset: where in it they end.
        """
        name = None if file is None or offset is None else file.name
        try:
            await self._store.add(entries, name, offset or 0)
        except StoreRefused as error:
            if len(entries) > 1:
                half = len(entries) // 2
                await self._add(entries[:half], file)
                await self._add(entries[half:], file)
            else:
                log.error("ledger_entry_refused", detail=str(error))
                if file is not None:
                    file.is_damaged = True
            if name is not None:
                await self._store.add((), name, offset or 0)

    # -- this process's journal --------------------------------------------------------------------

    async def _ship(self) -> None:
        moved = False
        for file in self._journal.files():
            while (start := file.shipped) < (at := file.at):
                lines, end = lines_of(file.descriptor, start, min(at, start + BATCH_BYTES))
                if not lines:  # a record that is longer
                    lines, end = lines_of(file.descriptor, start, at)
                closings = [line for line in lines if not line.startswith(OPENS)]
                entries = [found for found in _records(file, closings) if isinstance(found, Entry)]
                if entries:
                    self._names.add(file.name)
                    await self._add(entries, file, end)
                file.shipped = end
                moved = True
        owner = self._owner
        if moved and owner is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the journal ended
                owner.call_soon_threadsafe(self._trim)
        gone = self._names - {file.name for file in self._journal.files()}
        if gone:
            await self._store.forget(sorted(gone))
            self._names -= gone

    # -- what others left --------------------------------------------------------------------------

    async def _recover(self) -> bool:
        """Take what dead processes left; False where another process is at it."""
        folder = self._journal.folder
        with (
            _locked(folder / LOCK_FILE) as lock,
            contextlib.closing(left_behind(folder)) as processes,
        ):
            if lock is None:
                return False
            sweep(folder, lock)
            for files in processes:
                await self._take_over(files)
                await self._ship()  # one's own does not wait for all of the others'
        return True

    async def _take_over(self, files: list[File]) -> None:
        """Take one process's files, oldest first: an opening comes before its closing."""
        taken = await self._store.progress(file.name for file in files)
        openings: dict[str, list[Opening]] = {}
        count = 0
        for file in files:
            start = taken.get(file.name, 0)
            at = 0
            while True:
                lines, end = lines_of(file.descriptor, at, min(at + BATCH_BYTES, file.capacity))
                if not lines:
                    lines, end = lines_of(file.descriptor, at)
                if not lines:
                    break
                fresh = []
                for record in _records(file, lines):
                    if isinstance(record, Opening):
                        openings.setdefault(record.id, []).append(record)
                    else:
                        openings.pop(record.facts.id, None)
                        fresh.append(record)
                at = end
                if end > start:
                    await self._add(fresh, file, end)
                    count += len(fresh)
        orphans = [orphan_of(found, self._prices) for found in openings.values()]
        await self._add(orphans, None)
        for file in files:
            file.drop()
        await self._store.forget(file.name for file in files)
        if count or orphans:
            log.warning("ledger_recovered", entries=count, orphaned=len(orphans), files=len(files))

    # -- the rest ----------------------------------------------------------------------------------

    async def _expire(self) -> bool:
        """Delete some of what is too old, or too much; whether that was all."""
        before_ms = now_ms() - self._config.keep // 1_000_000
        gone = await self._store.expire(id_at(before_ms), EXPIRE_ROWS)
        if gone < EXPIRE_ROWS and self._config.keep_bytes_max:
            bound = await self._store.bound_of(self._config.keep_bytes_max)
            if bound is not None:
                gone = await self._store.expire(bound, EXPIRE_ROWS)
        return gone < EXPIRE_ROWS

    def _note(self, reason: str | None) -> None:
        """One line for each time the store goes away and comes back."""
        if reason is None:
            if self._away_since is not None:
                away_s = round(time.monotonic() - self._away_since, 1)
                log.warning("ledger_store_back", away_s=away_s)
                self._away_since = None
        elif self._away_since is None:
            self._away_since = time.monotonic()
            log.error("ledger_store_away", detail=reason)


def _records(file: File, lines: Sequence[bytes]) -> Iterator[Entry | Opening]:
    """What lines hold. A file with one that cannot be read is kept when its time has come."""
    for line in lines:
        try:
            found = record_of(line)
        except Damaged as error:
            file.is_damaged = True
            log.error("ledger_line_damaged", file=file.name, detail=str(error))
        else:
            if found is not None:
                yield found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """Hold a file's lock; None where another process does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except BlockingIOError:
            is_ours = False
        yield descriptor if is_ours else None
    finally:
        os.close(descriptor)
