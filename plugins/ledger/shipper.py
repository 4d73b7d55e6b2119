"""Moves entries from the journal into the store: a thread with an event loop of its own.

It reads files, never the memory of the requests' loop, so a store that is away costs disk and
nothing else. What a batch adds and how far it came are one transaction, so that an entry counts
once, however often the process dies in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway import get_logger

from .journal import File, Journal, left_behind, lines_of
from .records import Entry, entry_of, opened_in, orphan_of
from .stores import Store, StoreAway

if TYPE_CHECKING:
    from . import Config

log = get_logger("ledger")

EVERY_S: Final = 0.2
BATCH_BYTES: Final = 1024 * 1024
PAUSE_MAX_S: Final = 5.0
# At the stop the store has this long to take what is left; the rest waits in the journal.
STOP_S: Final = 5.0
EXPIRE_EVERY_S: Final = 3600.0
EXPIRE_ROWS: Final = 5_000
LOCK_FILE: Final = "recovery.lock"


class Shipper:
    """One per process. `start` and `stop` are for the owner's thread; `stop` waits."""

    def __init__(self, journal: Journal, store: Store, config: Config) -> None:
        self._journal = journal
        self._store = store
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None  # the journal's
        self._stopping = threading.Event()
        self._wake: asyncio.Event | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._away_since: float | None = None
        self._expired_at = 0.0

    def start(self) -> None:
        """Begin; call it on the loop that owns the journal."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="ledger-shipper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ship what there is, within `STOP_S`, and end the thread."""
        self._stopping.set()
        own, wake = self._own_loop, self._wake
        if own is not None and wake is not None:
            with contextlib.suppress(RuntimeError):
                own.call_soon_threadsafe(wake.set)
        if self._thread is not None:
            self._thread.join(2 * STOP_S)

    def _run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        self._own_loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        pause = EVERY_S
        is_open = has_recovered = False
        while True:
            stopping = self._stopping.is_set()
            try:
                async with asyncio.timeout(STOP_S if stopping else None):
                    if not is_open:
                        await self._store.open()
                        is_open = True
                    if not has_recovered:
                        has_recovered = await self._recover()
                    await self._ship()
                    await self._expire()
                pause = EVERY_S
                self._note(None)
            except StoreAway as error:
                pause = min(2 * pause, PAUSE_MAX_S)
                self._note(str(error))
            except TimeoutError:
                self._note("it did not answer before the stop")
            except Exception as error:  # whatever it was, the next round may do better
                pause = min(2 * pause, PAUSE_MAX_S)
                log.error("ledger_failed", error=repr(error), exc_info=error)
            if stopping:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
        with contextlib.suppress(StoreAway, TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._store.close()

    # -- this process's journal --------------------------------------------------------------------

    async def _ship(self) -> None:
        gone: list[str] = []
        moved = False
        for file in self._journal.files():
            while file.shipped < file.at:
                end = min(file.at, file.shipped + BATCH_BYTES)
                lines, offset = lines_of(file.descriptor, file.shipped, end)
                if offset == file.shipped:
                    break
                await self._store.add(entries_in(lines), file.name, offset)
                file.shipped = offset
                moved = True
        loop = self._loop
        if moved and loop is not None:
            before = {file.name for file in self._journal.files()}
            done = threading.Event()

            def trim() -> None:
                try:
                    self._journal.trim()
                finally:
                    done.set()

            with contextlib.suppress(RuntimeError):  # the loop is closed: the stop trims
                loop.call_soon_threadsafe(trim)
                await asyncio.to_thread(done.wait, 1.0)
            gone = sorted(before - {file.name for file in self._journal.files()})
        if gone:
            await self._store.forget(gone)

    # -- what others left --------------------------------------------------------------------------

    async def _recover(self) -> bool:
        """Take what dead processes left; False where another process is at it."""
        folder = self._journal.folder
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        files: list[File] = []
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            files = list(left_behind(folder))
            if files:
                await self._take_over(files)
        finally:
            for file in files:
                file.close()
            os.close(descriptor)
        return True

    async def _take_over(self, files: list[File]) -> None:
        taken = await self._store.progress(file.name for file in files)
        closed: set[str] = set()
        openings: dict[str, list[dict[str, Any]]] = {}
        shipped = 0
        for file in files:
            lines, end = lines_of(file.descriptor, 0)
            start = taken.get(file.name, 0)
            at = 0
            fresh = []
            for line in lines:
                opening = opened_in(line)
                if opening is not None:
                    openings.setdefault(opening["open"], []).append(opening)
                else:
                    entry = entry_of(line)
                    assert entry is not None
                    closed.add(entry.document["id"])
                    if at >= start:
                        fresh.append(entry)
                at += len(line) + 1
            shipped += len(fresh)
            await self._store.add(fresh, file.name, end)
        orphans = [orphan_of(found) for key, found in openings.items() if key not in closed]
        await self._store.add(orphans, files[0].name, files[0].capacity)
        for file in files:
            file.drop()
        await self._store.forget(file.name for file in files)
        log.warning("ledger_recovered", entries=shipped, orphaned=len(orphans), files=len(files))

    # -- the rest ----------------------------------------------------------------------------------

    async def _expire(self) -> None:
        now = time.time()
        if now - self._expired_at < EXPIRE_EVERY_S:
            return
        before_ms = int(now * 1000) - self._config.keep // 1_000_000
        gone = await self._store.expire(before_ms, EXPIRE_ROWS)
        bound = self._config.keep_bytes_max
        if bound and await self._store.size_bytes() > bound:
            gone += await self._store.expire(int(now * 1000), EXPIRE_ROWS)
        if gone < EXPIRE_ROWS:
            self._expired_at = now

    def _note(self, reason: str | None) -> None:
        """One line for each time the store goes away and comes back."""
        if reason is None:
            if self._away_since is not None:
                log.warning("ledger_store_back", away_s=round(time.time() - self._away_since, 1))
                self._away_since = None
        elif self._away_since is None:
            self._away_since = time.time()
            log.error("ledger_store_away", detail=reason)


def entries_in(lines: Sequence[bytes]) -> list[Entry]:
    """The closings among lines."""
    return [entry for line in lines if (entry := entry_of(line)) is not None]


def lock_path(folder: Path) -> Path:
    """The file that whoever looks at the files of the dead holds the lock of."""
    return folder / LOCK_FILE
