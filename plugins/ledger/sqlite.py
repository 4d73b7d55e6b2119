"""Entries in a SQLite file, in WAL mode: any number of processes, one of them writing at a time."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from gateway import (
    ID_MAX,
    StoreAway,
    id_at,
    look_at_sqlite,
    open_sqlite,
    sqlite_faults,
    sqlite_transaction,
)

from .records import DIMENSIONS, Bill, Entry, bills_of, corrected, sums_of, without
from .stores import hours
from .sums import DAYS_TABLE, HOURS_TABLE, adding, asking, days_of, joined

_PAGE: Final = 1_000
# Where SQLite counts a bound variable: below its smallest limit of 999.
_ASKED_AT_ONCE: Final = 500
# Rows of one statement: the interpreter's lock is let go and taken again around each.
_ADDED_AT_ONCE: Final = 100


class SqliteStore:
    """A `Store`.

    durable: survives a power cut with all that it took. Without, a killed process is all that it
    has to survive.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self.path = path
        self._durable = durable
        self._db: sqlite3.Connection | None = None

    async def check(self) -> None:
        with sqlite_faults():
            look_at_sqlite(self.path, __package__)

    async def open(self) -> None:
        with sqlite_faults():
            self._db = open_sqlite(self.path, __package__, durable=self._durable)

    async def close(self) -> None:
        if self._db is not None:
            with sqlite_faults():
                self._db.close()
            self._db = None

    async def progress(self, journals: Iterable[str]) -> dict[str, int]:
        with sqlite_faults():
            rows = [
                self.db.execute('SELECT journal, "offset" FROM progress WHERE journal = ?', (one,))
                for one in journals
            ]
            return dict(row for cursor in rows for row in cursor)

    async def add(self, entries: Sequence[Entry], journal: str | None, offset: int) -> None:
        with sqlite_faults(), sqlite_transaction(self.db) as db:
            if journal is not None:
                taken = db.execute(
                    'SELECT "offset" FROM progress WHERE journal = ?', (journal,)
                ).fetchone()
                if taken is not None and taken[0] >= offset:
                    return
                db.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", (journal, offset))
            if entries:
                self._take(db, entries)

    async def forget(self, journals: Iterable[str]) -> None:
        with sqlite_faults(), sqlite_transaction(self.db) as db:
            db.executemany("DELETE FROM progress WHERE journal = ?", [(one,) for one in journals])

    async def entries(
        self, *, since_ms: int = 0, until_ms: int | None = None
    ) -> AsyncIterator[Entry]:
        low, high = id_at(since_ms), ID_MAX if until_ms is None else id_at(until_ms)
        while True:
            with sqlite_faults():
                rows = self.db.execute(
                    "SELECT id, entry FROM entries WHERE id > ? AND id < ? ORDER BY id LIMIT ?",
                    (low, high, _PAGE),
                ).fetchall()
            for id_, text in rows:
                yield Entry(id_, text.encode())
            if len(rows) < _PAGE:
                return
            low = rows[-1][0]

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        with sqlite_faults():
            self.db.execute("BEGIN")
        try:
            yield
        finally:
            with sqlite_faults():
                self.db.execute("ROLLBACK")

    async def has(self, ids: Sequence[bytes]) -> set[bytes]:
        with sqlite_faults():
            return _there(self.db, ids)

    async def sums(
        self,
        by: Sequence[str] = DIMENSIONS,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
    ) -> Mapping[tuple[Any, ...], Sequence[int]]:
        with sqlite_faults():
            rows = [
                row
                for text, bounds in asking(by, *hours(since_ms, until_ms), _mark)
                for row in self.db.execute(text, bounds)
            ]
        return joined(by, rows)

    async def billed(self, limit: int) -> list[tuple[str, str]]:
        with sqlite_faults():
            text = "SELECT provider, response_id FROM billed ORDER BY id DESC LIMIT ?"
            return self.db.execute(text, (limit,)).fetchall()[::-1]

    async def bound_of(self, bytes_max: int) -> bytes | None:
        with sqlite_faults():
            pages, free, page_bytes = (
                int(self.db.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
            over = (pages - free) * page_bytes - bytes_max
            if over <= 0:
                return None
            (count,) = self.db.execute("SELECT count(*) FROM entries").fetchone()
            gone = count * over // ((pages - free) * page_bytes)
            row = self.db.execute(
                "SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET ?", (gone,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    async def expire(self, bound: bytes, limit: int) -> int:
        with sqlite_faults(), sqlite_transaction(self.db) as db:
            gone = db.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE id < ? ORDER BY id LIMIT ?)",
                (bound, limit),
            ).rowcount
            if gone < limit:
                db.execute("DELETE FROM billed WHERE id < ?", (bound,))
            return gone

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; `StoreAway` before `open`."""
        if self._db is None:
            raise StoreAway(f"{self.path} is not open")
        return self._db

    def _take(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        """Nearly always all of them are new, and to try costs less than to ask."""
        db.execute("SAVEPOINT trying")
        try:
            self._insert(db, list(entries))
        except sqlite3.IntegrityError:
            db.execute("ROLLBACK TO trying")
            there = _there(db, [entry.id for entry in entries])
            new = {entry.id: entry for entry in entries if entry.id not in there}
            self._insert(db, list(new.values()))
        db.execute("RELEASE trying")

    def _insert(self, db: sqlite3.Connection, fresh: list[Entry]) -> None:
        for place, entry in enumerate(fresh):
            for bill in bills_of(entry):
                earlier = _billed_before(db, entry, bill)
                if earlier is not None:
                    fresh[place] = _told_again(db, fresh, place, bill, earlier)
        fresh.sort(key=attrgetter("id"))  # it fills pages from left to right
        at = 0
        while len(fresh) - at >= _ADDED_AT_ONCE:
            some = fresh[at : at + _ADDED_AT_ONCE]
            db.execute(_ADD_SOME, [part for entry in some for part in _row(entry)])
            at += _ADDED_AT_ONCE
        db.executemany(_ADD_ONE, map(_row, fresh[at:]))
        by_hour = sums_of(fresh)
        for table, sums in ((HOURS_TABLE, by_hour), (DAYS_TABLE, days_of(by_hour))):
            db.executemany(_ADD[table], [(*group, *found) for group, found in sums.items()])


def _row(entry: Entry) -> tuple[bytearray, str]:
    # Of bytes the module asks each time how they are to be stored; of a bytearray it knows.
    return bytearray(entry.id), entry.text.decode()


_ADD_ONE: Final = "INSERT INTO entries VALUES (?, ?)"
_ADD_SOME: Final = _ADD_ONE + ", (?, ?)" * (_ADDED_AT_ONCE - 1)


def _mark(n: int) -> str:
    return f"?{n}"


_ADD: Final = {table: adding(table, _mark) for table in (HOURS_TABLE, DAYS_TABLE)}


def _there(db: sqlite3.Connection, ids: Sequence[bytes]) -> set[bytes]:
    there: set[bytes] = set()
    for start in range(0, len(ids), _ASKED_AT_ONCE):
        some = ids[start : start + _ASKED_AT_ONCE]
        marks = ",".join("?" * len(some))
        rows = db.execute(f"SELECT id FROM entries WHERE id IN ({marks})", some)  # noqa: S608
        there.update(row[0] for row in rows)
    return there


def _billed_before(db: sqlite3.Connection, entry: Entry, bill: Bill) -> bytes | None:
    """The entry that has counted this answer, where one of the two only asked again."""
    is_first = db.execute(
        "INSERT OR IGNORE INTO billed VALUES (?, ?, ?, ?)",
        (bill.provider, bill.response_id, entry.id, bill.reported),
    ).rowcount
    if is_first:
        return None
    first, reported = db.execute(
        "SELECT id, reported FROM billed WHERE provider = ? AND response_id = ?",
        (bill.provider, bill.response_id),
    ).fetchone()
    return bytes(first) if (bill.reported or reported) and first != entry.id else None


def _told_again(
    db: sqlite3.Connection, fresh: Sequence[Entry], place: int, bill: Bill, earlier: bytes
) -> Entry:
    """The entry at that place without what an earlier one has counted, or with what is to be
    corrected of that; then it is the one that counts.
    """
    entry = fresh[place]
    first = next((one for one in fresh if one.id == earlier), None)
    if first is None:
        row = db.execute("SELECT entry FROM entries WHERE id = ?", (earlier,)).fetchone()
        first = None if row is None else Entry(earlier, row[0].encode())
    better = None if first is None else corrected(entry, bill, first)
    if better is None:
        return without(entry, bill, str(uuid.UUID(bytes=earlier)))
    db.execute(
        "UPDATE billed SET id = ?, reported = 1 WHERE provider = ? AND response_id = ?",
        (entry.id, bill.provider, bill.response_id),
    )
    return better
