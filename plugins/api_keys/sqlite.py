"""Managed keys in a SQLite file, in WAL mode: any number of processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from gateway import (
    StoreAway,
    look_at_sqlite,
    open_sqlite,
    sqlite_faults,
    sqlite_transaction,
)

# Changes are small and rare; who waits longer than this is told that the store is away.
BUSY_S: Final = 2.0
# `PRAGMA data_version` reads one number of shared memory: a change is seen within this.
LOOK_S: Final = 0.25


class SqliteStore:
    """A `Store`. busy_s: how long it waits for who writes."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S) -> None:
        self.path = path
        self._busy_s = busy_s
        self._db: sqlite3.Connection | None = None
        self._version = -1
        self._was_there = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poked: asyncio.Event | None = None

    async def check(self) -> None:
        with sqlite_faults():
            look_at_sqlite(self.path, __package__)

    async def open(self) -> None:
        if self._db is not None:
            return
        if self._was_there and not self.path.exists():
            # Whoever took it away may bring it back; a new one would know no key.
            raise StoreAway(f"{self.path} is gone")
        with sqlite_faults():
            # A key that was revoked stays revoked, also behind a power cut.
            self._db = open_sqlite(self.path, __package__, busy_s=self._busy_s, durable=True)
        self._version, self._was_there = -1, True
        self._loop, self._poked = asyncio.get_running_loop(), asyncio.Event()

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with sqlite_faults():
                db.close()

    async def fetch(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with sqlite_faults():
            return self.db.execute(text.replace("$", "?"), values).fetchall()

    @contextlib.asynccontextmanager
    async def changing(self, *, tell: bool) -> AsyncIterator[None]:
        with sqlite_faults(), sqlite_transaction(self.db):
            yield

    async def news(self) -> None:
        assert self._poked is not None
        while self._data_version() == self._version and not self._poked.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._poked.wait()
        self._poked.clear()
        self._version = self._data_version()

    def poke(self) -> None:
        if self._loop is not None and self._poked is not None:
            self._loop.call_soon_threadsafe(self._poked.set)

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; `StoreAway` before `open`."""
        if self._db is None:
            raise StoreAway(f"{self.path} is not open")
        return self._db

    def _data_version(self) -> int:
        if not self.path.exists():  # the connection would go on with what is no file any more
            raise StoreAway(f"{self.path} is gone")
        with sqlite_faults():
            return int(self.db.execute("PRAGMA data_version").fetchone()[0])
