"""Entries in PostgreSQL, where one machine's file is outgrown: any number of gateways write to it.

A batch is one transaction of a few statements, whatever its size, so that a slow network costs a
batch and not an entry.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import asyncpg

from gateway import ID_MAX, has, id_at, look_at_postgres, migrate_postgres
from gateway.postgres import Postgres, count_of, without_nul

from .records import DIMENSIONS, Bill, Entry, bills_of, corrected, made, sums_of, without
from .stores import hours
from .sums import DAYS_TABLE, HOURS_TABLE, adding, asking, days_of, joined

# A statement that takes longer has met a frozen server.
COMMAND_S: Final = 20.0
_PAGE: Final = 1_000
# What a row takes beside its entry: its header, its id, and the index.
_ROW_BYTES: Final = 80
_SCHEMA: Final = "ledger_schema"
# Any number, so long as no other program on the same database takes it (pg_advisory_xact_lock).
_MIGRATION_LOCK: Final = 0x77656972


class PostgresStore(Postgres):
    """A `Store`."""

    def __init__(self, address: str) -> None:
        super().__init__(address, command_s=COMMAND_S)

    async def check(self) -> None:
        async with self.connected() as db:
            await look_at_postgres(db, __package__, _SCHEMA)
        await self.close()

    async def open(self) -> None:
        async with self.connected() as db:
            await migrate_postgres(db, __package__, _SCHEMA, _MIGRATION_LOCK)

    async def progress(self, journals: Iterable[str]) -> dict[str, int]:
        async with self.connected() as db:
            rows = await db.fetch(
                'SELECT journal, "offset" FROM progress WHERE journal = ANY($1::text[])',
                list(journals),
            )
            return {row[0]: row[1] for row in rows}

    async def add(self, entries: Sequence[Entry], journal: str | None, offset: int) -> None:
        async with self.transaction() as db:
            if journal is not None:
                taken = await db.fetchval(
                    "INSERT INTO progress VALUES ($1, $2) "
                    'ON CONFLICT (journal) DO UPDATE SET "offset" = excluded."offset" '
                    'WHERE progress."offset" < excluded."offset" RETURNING "offset"',
                    journal,
                    offset,
                )
                if taken is None:
                    return
            if entries:
                await _take(db, [_without_nul(entry) for entry in entries])

    async def forget(self, journals: Iterable[str]) -> None:
        async with self.connected() as db:
            await db.execute("DELETE FROM progress WHERE journal = ANY($1::text[])", list(journals))

    async def entries(
        self, *, since_ms: int = 0, until_ms: int | None = None
    ) -> AsyncIterator[Entry]:
        low = uuid.UUID(bytes=id_at(since_ms))
        high = uuid.UUID(bytes=ID_MAX if until_ms is None else id_at(until_ms))
        while True:
            async with self.connected() as db:
                rows = await db.fetch(
                    "SELECT id, entry::text FROM entries WHERE id > $1 AND id < $2 "
                    "ORDER BY id LIMIT $3",
                    low,
                    high,
                    _PAGE,
                )
            for id_, text in rows:
                yield Entry(id_.bytes, text.encode())
            if len(rows) < _PAGE:
                return
            low = rows[-1][0]

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        async with (
            self.connected() as db,
            db.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield

    async def has(self, ids: Sequence[bytes]) -> set[bytes]:
        async with self.connected() as db:
            rows = await db.fetch(
                "SELECT id FROM entries WHERE id = ANY($1::uuid[])",
                [uuid.UUID(bytes=id_) for id_ in ids],
            )
            return {row[0].bytes for row in rows}

    async def sums(
        self,
        by: Sequence[str] = DIMENSIONS,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
    ) -> Mapping[tuple[Any, ...], Sequence[int]]:
        rows: list[asyncpg.Record] = []
        async with self.connected() as db:
            for text, bounds in asking(by, *hours(since_ms, until_ms), _mark):
                rows += await db.fetch(text, *bounds)
        return joined(by, rows)

    async def billed(self, limit: int) -> list[tuple[str, str]]:
        async with self.connected() as db:
            text = "SELECT provider, response_id FROM billed ORDER BY id DESC LIMIT $1"
            return [(row[0], row[1]) for row in await db.fetch(text, limit)][::-1]

    async def bound_of(self, bytes_max: int) -> bytes | None:
        async with self.connected() as db:
            # What was deleted keeps its room in the table, so its size says nothing.
            count = await db.fetchval("SELECT count(*) FROM entries")
            each = await db.fetchval(
                "SELECT avg(pg_column_size(entry)) FROM (SELECT entry FROM entries LIMIT 1000) _"
            )
            over = count * (int(each or 0) + _ROW_BYTES) - bytes_max
            if over <= 0:
                return None
            gone = over // (int(each) + _ROW_BYTES)
            bound = await db.fetchval("SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET $1", gone)
        return None if bound is None else bytes(bound.bytes)

    async def expire(self, bound: bytes, limit: int) -> int:
        async with self.connected() as db:
            below = uuid.UUID(bytes=bound)
            said = await db.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE id < $1 ORDER BY id LIMIT $2)",
                below,
                limit,
            )
            gone = count_of(said)
            if gone < limit:
                await db.execute("DELETE FROM billed WHERE id < $1", below)
            return gone


async def _take(db: asyncpg.Connection, entries: Sequence[Entry]) -> None:
    # In one order, whoever adds, so that two of them cannot wait for each other.
    by_id = {entry.id: entry for entry in sorted(entries, key=_id)}
    # Who inserts it counts it: a process that died may still have a transaction under way.
    rows = await db.fetch(
        "INSERT INTO entries SELECT * FROM unnest($1::uuid[], $2::jsonb[]) "
        "ON CONFLICT DO NOTHING RETURNING id",
        [uuid.UUID(bytes=id_) for id_ in by_id],
        [entry.text.decode() for entry in by_id.values()],
    )
    fresh = [by_id[row[0].bytes] for row in rows]
    for place, entry in enumerate(fresh):
        for bill in bills_of(entry):
            earlier = await _billed_before(db, entry, bill)
            if earlier is not None:
                fresh[place] = await _told_again(db, fresh[place], bill, earlier)
        if fresh[place] is not entry:
            await db.execute(
                "UPDATE entries SET entry = $2::jsonb WHERE id = $1",
                uuid.UUID(bytes=entry.id),
                fresh[place].text.decode(),
            )
    by_hour = sums_of(fresh)
    for table, sums in ((HOURS_TABLE, by_hour), (DAYS_TABLE, days_of(by_hour))):
        groups = sorted(sums.items())  # in one order, again
        await db.executemany(_ADD[table], [(*group, *found) for group, found in groups])


def _id(entry: Entry) -> bytes:
    return entry.id


async def _billed_before(db: asyncpg.Connection, entry: Entry, bill: Bill) -> uuid.UUID | None:
    """The entry that has counted this answer, where one of the two only asked again."""
    own = uuid.UUID(bytes=entry.id)
    said = await db.execute(
        "INSERT INTO billed VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        bill.provider,
        bill.response_id,
        own,
        bill.reported,
    )
    if said == "INSERT 0 1":
        return None
    first, reported = await db.fetchrow(
        "SELECT id, reported FROM billed WHERE provider = $1 AND response_id = $2",
        bill.provider,
        bill.response_id,
    )
    return first if (bill.reported or reported) and first != own else None


async def _told_again(
    db: asyncpg.Connection, entry: Entry, bill: Bill, earlier: uuid.UUID
) -> Entry:
    """The entry without what an earlier one has counted, or with what is to be corrected of that;
    then it is the one that counts.
    """
    text = await db.fetchval("SELECT entry::text FROM entries WHERE id = $1", earlier)
    better = None
    if text is not None:
        better = corrected(entry, bill, Entry(earlier.bytes, text.encode()))
    if better is None:
        return without(entry, bill, str(earlier))
    # Another gateway may be at it: the first one's is the correction.
    answer = bill.provider, bill.response_id
    said = await db.execute(
        "UPDATE billed SET id = $3, reported = true "
        "WHERE provider = $1 AND response_id = $2 AND id = $4",
        *answer,
        uuid.UUID(bytes=entry.id),
        earlier,
    )
    if said == "UPDATE 1":
        return better
    theirs = await db.fetchval(
        "SELECT id FROM billed WHERE provider = $1 AND response_id = $2", *answer
    )
    return without(entry, bill, str(theirs or earlier))


def _without_nul(entry: Entry) -> Entry:
    return made(without_nul(entry.document)) if has(entry.text, b"\\u0000") else entry


def _mark(n: int) -> str:
    return f"${n}"


_ADD: Final = {table: adding(table, _mark) for table in (HOURS_TABLE, DAYS_TABLE)}
