"""Managed keys in a SQLite file, in WAL mode: any number of processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

from gateway import SchemaFault, look_at_sqlite, migrate_sqlite

from .stores import StoreAway

BUSY_S: Final = 2.0
# `PRAGMA data_version` reads one number of shared memory: a change is seen within this.
LOOK_S: Final = 0.25


class SqliteDatabase:
    """A `Database`. busy_s: how long it waits for who writes."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S) -> None:
        self.path = path
        self._busy_s = busy_s
        self._db: sqlite3.Connection | None = None
        self._version = -1
        self._was_there = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poked: asyncio.Event | None = None

    async def check(self) -> None:
        with _away():
            look_at_sqlite(self.path, __package__)

    async def open(self) -> None:
        if self._db is not None:
            return
        with _away():
            if not self.path.exists():
                if self._was_there:
                    # Whoever took it away may bring it back; a new one would know no key.
                    raise StoreAway(f"{self.path} is gone")
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            db = sqlite3.connect(
                self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
            )
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")  # a key that was revoked stays revoked
                migrate_sqlite(db, __package__)
            except BaseException:
                db.close()
                raise
            self._db, self._version, self._was_there = db, -1, True
            self._loop, self._poked = asyncio.get_running_loop(), asyncio.Event()

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with _away():
                db.close()

    async def fetch(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with _away():
            return self.db.execute(text.replace("$", "?"), values).fetchall()

    @contextlib.asynccontextmanager
    async def changing(self, *, tell: bool) -> AsyncIterator[None]:
        with _away():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self.db.execute("ROLLBACK")
                raise

    async def news(self) -> None:
        assert self._poked is not None
        while self._data_version() == self._version:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._poked.wait()
                break
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
        with _away():
            if not self.path.exists():  # the connection would go on with what is no file any more
                raise StoreAway(f"{self.path} is gone")
            return int(self.db.execute("PRAGMA data_version").fetchone()[0])


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """Turn what SQLite says into what our own understand."""
    try:
        yield
    except (sqlite3.Error, OSError, SchemaFault) as error:
        raise StoreAway(f"sqlite: {error}") from error
