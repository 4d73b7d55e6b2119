"""Rows in a SQLite file, in WAL mode: any number of processes, one of them writing at a time.

A row's place is the time of its start, so the index of words (FTS5) gives the newest rows that
match without sorting, and a span of time is a span of places. An entry's facts are words of that
index too: any of them, and any number, narrow a search at the same price.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from gateway import (
    BUSY_S,
    StoreAway,
    id_after,
    look_at_sqlite,
    now_ms,
    open_sqlite,
    sqlite_faults,
    sqlite_transaction,
)

from .places import MOVED_MAX, conditions, first_place, order_of, place_of
from .records import Body, Change, LogRow, Query, changed, numbers_of, row_bytes
from .searching import tokens
from .stores import QUERY_S, TooSlow

# How many steps of SQLite's machine lie between two looks at the clock: a millisecond or so.
_STEPS: Final = 10_000


class SqliteStore:
    """A `Store`. busy_s: how long it waits for who writes. query_s: what a question may take."""

    def __init__(self, path: Path, *, busy_s: float = BUSY_S, query_s: float = QUERY_S) -> None:
        self.path = path
        self._busy_s = busy_s
        self._query_s = query_s
        self._db: sqlite3.Connection | None = None
        self._until = 0.0

    async def check(self) -> None:
        with sqlite_faults():
            look_at_sqlite(self.path, __package__)

    async def open(self) -> None:
        with sqlite_faults():
            db = open_sqlite(self.path, __package__, busy_s=self._busy_s)
            db.set_progress_handler(self._is_late, _STEPS)
            self._db = db

    async def close(self) -> None:
        if self._db is not None:
            with sqlite_faults():
                self._db.close()
            self._db = None

    async def add(self, rows: Sequence[LogRow]) -> None:
        with self._transaction() as db:
            (last,) = db.execute("SELECT coalesce(max(arrival), 0) FROM logs").fetchone()
            arrival = max(now_ms() * 1000, last + 1)
            for row in rows:
                if _insert(db, row, arrival):
                    arrival += 1

    async def get(self, id_: bytes) -> LogRow | None:
        with self._reading() as db:
            return _row_of(db, id_)

    async def find(self, query: Query) -> list[LogRow]:
        with self._reading() as db:
            tables, where, values = conditions(db, query)
            way = "DESC" if query.newest_first and query.arrived_after is None else "ASC"
            order = "logs.arrival" if query.arrived_after is not None else order_of(tables)
            columns = f"{_COLUMNS}, {_DATA if query.bodies else 'NULL, NULL'}"
            tables += " CROSS JOIN texts ON texts.place = logs.place"
            text = f"SELECT {columns} FROM {tables} WHERE {where} ORDER BY {order} {way} LIMIT ?"  # noqa: S608 - our names
            return [_made(found) for found in db.execute(text, [*values, query.limit])]

    async def count(self, query: Query) -> int:
        with self._reading() as db:
            tables, where, values = conditions(db, query)
            text = f"SELECT count(*) FROM {tables} WHERE {where}"  # noqa: S608 - our names
            return int(db.execute(text, values).fetchone()[0])

    async def newest(self) -> int:
        with self._reading() as db:
            return int(db.execute("SELECT coalesce(max(arrival), 0) FROM logs").fetchone()[0])

    async def change(self, id_: bytes, change: Change) -> LogRow | None:
        with self._transaction() as db:
            row = _row_of(db, id_)
            if row is None:
                return None
            after = changed(row, change)
            place = place_of(db, id_)
            db.execute(
                "UPDATE logs SET feedback = ?, score = ? WHERE place = ?",
                (after.feedback, after.score, place),
            )
            if after.entry != row.entry:
                facts = tokens(after.document)
                text = after.entry.decode()
                db.execute("UPDATE texts SET entry = ? WHERE place = ?", (text, place))
                db.execute("UPDATE search SET facts = ? WHERE rowid = ?", (facts, place))
            return after

    async def delete(self, query: Query) -> int:
        with self._transaction() as db:
            tables, where, values = conditions(db, query)
            place = order_of(tables)
            text = f"SELECT {place} FROM {tables} WHERE {where} ORDER BY {place} LIMIT ?"  # noqa: S608 - our names
            return _delete(db, db.execute(text, [*values, query.limit]).fetchall())

    async def bound_of(self, bytes_max: int) -> bytes | None:
        with self._reading() as db:
            row = db.execute(
                "SELECT id FROM (SELECT place, id, sum(bytes) OVER (ORDER BY place DESC) AS sum"
                " FROM logs) WHERE sum > ? ORDER BY place DESC LIMIT 1",
                (bytes_max,),
            ).fetchone()
            return None if row is None else id_after(row[0])

    async def expire(self, bound: bytes, limit: int) -> int:
        with self._transaction() as db:
            return _delete(
                db,
                db.execute(
                    "SELECT place FROM logs WHERE place < ? AND id < ? ORDER BY place LIMIT ?",
                    (first_place(bound) + MOVED_MAX, bound, limit),
                ).fetchall(),
            )

    @property
    def db(self) -> sqlite3.Connection:
        """The connection; `StoreAway` before `open`."""
        if self._db is None:
            raise StoreAway(f"{self.path} is not open")
        return self._db

    def _is_late(self) -> bool:
        return time.monotonic() > self._until

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        self._until = time.monotonic() + self._query_s
        with sqlite_faults():
            try:
                yield self.db
            except sqlite3.OperationalError as error:
                if str(error) != "interrupted":
                    raise
                text = f"it took more than {QUERY_S:g} s; ask for less at once"
                raise TooSlow(text) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db, sqlite_transaction(db):
            yield db


_COLUMNS: Final = (
    "logs.id, entry, feedback, score, request_type, request_size, request_is_cut,"
    " response_type, response_size, response_is_cut, arrival"
)
_DATA: Final = "request, response"
_NO_BODY: Final = (None, None, None)


def _row_of(db: sqlite3.Connection, id_: bytes) -> LogRow | None:
    place = place_of(db, id_)
    row = db.execute(
        f"SELECT {_COLUMNS}, {_DATA} FROM logs JOIN texts USING (place) WHERE place = ?",  # noqa: S608 - our names
        (place,),
    ).fetchone()
    return None if row is None else _made(row)


def _made(row: tuple[Any, ...]) -> LogRow:
    request = None if row[4] is None else Body(row[11], row[4], row[5], bool(row[6]))
    response = None if row[7] is None else Body(row[12], row[7], row[8], bool(row[9]))
    return LogRow(row[0], row[1].encode(), request, response, row[2], row[3], "", row[10])


def _insert(db: sqlite3.Connection, row: LogRow, arrival: int) -> bool:
    """Insert a row, unless it is there."""
    place = first_place(row.id)
    while found := db.execute("SELECT id FROM logs WHERE place = ?", (place,)).fetchone():
        if found[0] == row.id:
            return False
        place += 1
    request, response, document = row.request, row.response, row.document
    values = [
        *(place, row.id, arrival, row_bytes(row), row.feedback, row.score),
        *numbers_of(document),
        *(_NO_BODY if request is None else request[1:]),
        *(_NO_BODY if response is None else response[1:]),
    ]
    db.execute(f"INSERT INTO logs VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - marks
    kept = [None if body is None else body.data for body in (request, response)]
    db.execute("INSERT INTO texts VALUES (?, ?, ?, ?)", (place, row.entry.decode(), *kept))
    db.execute(
        "INSERT INTO search (rowid, words, facts) VALUES (?, ?, ?)",
        (place, row.words, tokens(document)),
    )
    return True


def _delete(db: sqlite3.Connection, places: list[tuple[int]]) -> int:
    db.executemany("DELETE FROM search WHERE rowid = ?", places)
    db.executemany("DELETE FROM texts WHERE place = ?", places)
    db.executemany("DELETE FROM logs WHERE place = ?", places)
    return len(places)
