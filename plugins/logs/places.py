"""Where rows stand in a SQLite file, and how a query is put to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from .records import Query
from .searching import asked_facts, asked_numbers, phrases

# Rows of one millisecond whose places are the same move up by one; there are never so many.
MOVED_MAX: Final = 4096


def first_place(id_: bytes) -> int:
    """Where a row begins to look for its place: its milliseconds, the count within them (RFC 9562
    section 6.2, method 1), and three bits of what tells processes apart.
    """
    ms, count = int.from_bytes(id_[:6], "big"), int.from_bytes(id_[6:8], "big") & 0xFFF
    return ms << 15 | count << 3 | id_[8] & 7


def place_of(db: sqlite3.Connection, id_: bytes) -> int | None:
    """The place of an id's row."""
    first = first_place(id_)
    row = db.execute(
        "SELECT place FROM logs WHERE place >= ? AND place < ? AND id = ?",
        (first, first + MOVED_MAX, id_),
    ).fetchone()
    return None if row is None else int(row[0])


def order_of(tables: str) -> str:
    """The name of the place, of the table that gives the rows in its order."""
    return "search.rowid" if tables.startswith("search") else "logs.place"


def conditions(db: sqlite3.Connection, query: Query) -> tuple[str, str, list[Any]]:
    """What to read from, which conditions hold, and their values."""
    matched = [f'words : "{phrase}"' for phrase in phrases(query.text)] if query.text else []
    matched += [f"facts : ({' OR '.join(any_of)})" for any_of in asked_facts(query)]
    where = ["1"]
    values: list[Any] = []
    tables = "search CROSS JOIN logs ON logs.place = search.rowid" if matched else "logs"
    match = "search MATCH ?"
    if query.arrived_after is not None:
        tables = "logs"
        where.append("logs.arrival > ?")
        values.append(query.arrived_after)
        # Places of what arrives are late ones too, mostly.
        (least,) = db.execute("SELECT min(place) FROM logs WHERE arrival > ?", values).fetchone()
        match = f"logs.place IN (SELECT rowid FROM search WHERE rowid >= {least or 0} AND {match})"  # noqa: S608 - a number
    if matched:
        where.append(match)
        values.append(" AND ".join(matched))
    place = order_of(tables)
    if query.id is not None:
        where.append(f"{place} = ?")
        values.append(place_of(db, query.id))
    for sign, bound in _bounds(db, query):
        where.append(f"{place} {sign} ?")
        values.append(bound)
    for field, sign, numbers in asked_numbers(query):
        where.append("(" + " OR ".join(f"{field} {sign} ?" for _ in numbers) + ")")
        values.extend(numbers)
    return tables, " AND ".join(where), values


def _bounds(db: sqlite3.Connection, query: Query) -> Iterator[tuple[str, int]]:
    """Between which places rows lie."""
    if query.since_ms > 0:
        yield ">=", query.since_ms << 15
    if query.until_ms is not None:
        yield "<", max(query.until_ms, 0) << 15
    for sign, id_ in (("<", query.before), (">", query.after)):
        if id_ is not None:
            place = place_of(db, id_)
            yield sign, first_place(id_) if place is None else place
