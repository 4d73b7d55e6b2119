"""Entries in a SQLite file, in WAL mode: any number of processes, one of them writing at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from .migrating import migrations, statements
from .records import DIMENSIONS, SUMS, Entry, bills_of, sums_of, without
from .stores import StoreAway

BUSY_S: Final = 5.0
_PAGE: Final = 1_000
# Where SQLite counts a bound variable: below its smallest limit of 999.
_ASKED_AT_ONCE: Final = 500


class SqliteStore:
    """A `Store`. Writes with `synchronous = NORMAL`: the journal is what survives a power cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        with _away():
            if not self.path.exists():
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            db = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                _migrate(db)
            except sqlite3.Error:
                db.close()
                raise
            self._db = db

    async def close(self) -> None:
        if self._db is not None:
            with _away():
                self._db.close()
            self._db = None

    async def progress(self, journals: Iterable[str]) -> dict[str, int]:
        with _away():
            rows = [
                self.db.execute('SELECT journal, "offset" FROM progress WHERE journal = ?', (one,))
                for one in journals
            ]
            return dict(row for cursor in rows for row in cursor)

    async def add(self, entries: Sequence[Entry], journal: str, offset: int) -> None:
        with _away(), self._transaction() as db:
            taken = db.execute(
                'SELECT "offset" FROM progress WHERE journal = ?', (journal,)
            ).fetchone()
            fresh = list(entries)
            if taken is not None and taken[0] >= offset:
                return
            if fresh:
                fresh = self._billed_once(self._not_yet_there(fresh))
                db.executemany(
                    "INSERT OR IGNORE INTO entries VALUES (?, ?)",
                    [(entry.id, entry.text.rstrip().decode()) for entry in fresh],
                )
                db.executemany(_ADD, [(*group, *sums) for group, sums in sums_of(fresh).items()])
            db.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", (journal, offset))

    async def forget(self, journals: Iterable[str]) -> None:
        with _away(), self._transaction() as db:
            db.executemany("DELETE FROM progress WHERE journal = ?", [(one,) for one in journals])

    async def entries(
        self, *, since_ms: int = 0, until_ms: int | None = None
    ) -> AsyncIterator[Entry]:
        low = since_ms.to_bytes(6, "big") + bytes(10)
        high = (until_ms or (1 << 48) - 1).to_bytes(6, "big") + b"\xff" * 10
        while True:
            with _away():
                rows = self.db.execute(
                    "SELECT id, entry FROM entries WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
                    (low, high, _PAGE),
                ).fetchall()
            for id_, text in rows:
                yield Entry(id_, text.encode(), orjson.loads(text))
            if len(rows) < _PAGE:
                return
            low = rows[-1][0]

    async def sums(self) -> Mapping[tuple[Any, ...], Sequence[int]]:
        with _away():
            rows = self.db.execute(f"SELECT {_NAMES} FROM rollups")  # noqa: S608 - our own names
            return {row[: len(DIMENSIONS)]: row[len(DIMENSIONS) :] for row in rows}

    async def expire(self, before_ms: int, limit: int) -> int:
        with _away(), self._transaction() as db:
            bound = before_ms.to_bytes(6, "big") + bytes(10)
            return db.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE id < ? ORDER BY id LIMIT ?)",
                (bound, limit),
            ).rowcount

    async def size_bytes(self) -> int:
        with _away():
            ask = [
                int(self.db.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            ]
            return (ask[0] - ask[1]) * ask[2]

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; `StoreAway` before `open`."""
        if self._db is None:
            raise StoreAway(f"{self.path} is not open")
        return self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _not_yet_there(self, entries: list[Entry]) -> list[Entry]:
        there: set[bytes] = set()
        for start in range(0, len(entries), _ASKED_AT_ONCE):
            ids = [entry.id for entry in entries[start : start + _ASKED_AT_ONCE]]
            marks = ",".join("?" * len(ids))
            rows = self.db.execute(f"SELECT id FROM entries WHERE id IN ({marks})", ids)  # noqa: S608
            there.update(row[0] for row in rows)
        if not there:
            return entries
        return [entry for entry in entries if entry.id not in there]

    def _billed_once(self, entries: list[Entry]) -> list[Entry]:
        """Take out of each entry what an earlier one has billed for the same answer."""
        for place, entry in enumerate(entries):
            for bill in bills_of(entry):
                self.db.execute(
                    "INSERT OR IGNORE INTO billed VALUES (?, ?, ?)",
                    (bill.provider, bill.response_id, entry.id),
                )
                (first,) = self.db.execute(
                    "SELECT id FROM billed WHERE provider = ? AND response_id = ?",
                    (bill.provider, bill.response_id),
                ).fetchone()
                if bill.reported and first != entry.id:
                    earlier = str(uuid.UUID(bytes=first))
                    entries[place] = without(entries[place], bill, earlier)
        return entries


_NAMES: Final = ", ".join([*DIMENSIONS, *SUMS])
_ADD: Final = (
    f"INSERT INTO rollups ({_NAMES}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * (len(DIMENSIONS) + len(SUMS)))}) "
    f"ON CONFLICT ({', '.join(DIMENSIONS)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
)


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """Turn what SQLite says into what the shipper understands."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreAway(f"sqlite: {error}") from error


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the schema up to date, in one transaction; several processes may try at once."""
    known = migrations("sqlite")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > known[-1][0]:
        raise StoreAway(
            f"the file's schema is {version}, newer than this version's {known[-1][0]}: "
            "it was written by a newer Weir"
        )
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()  # as nobody changes it any more
        for number, text in known:
            if number > version:
                for statement in statements(text):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
