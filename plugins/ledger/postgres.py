"""Entries in PostgreSQL, where one machine's file is outgrown: any number of gateways write to it.

asyncpg is imported here and nowhere else. A batch is one transaction of a few statements, whatever
its size, so that a slow network costs a batch and not an entry.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import asyncpg

from gateway import SchemaFault, look_at_postgres, migrate_postgres

from .records import DIMENSIONS, Bill, Entry, bills_of, corrected, made, sums_of, without
from .stores import ID_MAX, Refused, StoreAway, hours, id_at
from .sums import DAYS_TABLE, HOURS_TABLE, adding, asking, days_of, joined

CONNECT_S: Final = 10.0
# A statement that takes longer has met a frozen server.
COMMAND_S: Final = 20.0
_PAGE: Final = 1_000
_SCHEMA: Final = "ledger_schema"
# Any number, so long as no other program on the same database takes it (pg_advisory_xact_lock).
_MIGRATION_LOCK: Final = 0x77656972


class PostgresStore:
    """A `Store` over one connection, made again when it is lost."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._db: asyncpg.Connection | None = None

    async def check(self) -> None:
        async with self._connected() as db:
            await look_at_postgres(db, __package__, _SCHEMA)
        await self.close()

    async def open(self) -> None:
        async with self._connected() as db:
            await migrate_postgres(db, __package__, _SCHEMA, _MIGRATION_LOCK)

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with _away():
                await db.close(timeout=CONNECT_S)

    async def progress(self, journals: Iterable[str]) -> dict[str, int]:
        async with self._connected() as db:
            rows = await db.fetch(
                'SELECT journal, "offset" FROM progress WHERE journal = ANY($1::text[])',
                list(journals),
            )
            return {row[0]: row[1] for row in rows}

    async def add(self, entries: Sequence[Entry], journal: str | None, offset: int) -> None:
        async with self._connected() as db, _transaction(db):
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
        async with self._connected() as db:
            await db.execute("DELETE FROM progress WHERE journal = ANY($1::text[])", list(journals))

    async def entries(
        self, *, since_ms: int = 0, until_ms: int | None = None
    ) -> AsyncIterator[Entry]:
        low = uuid.UUID(bytes=id_at(since_ms))
        high = uuid.UUID(bytes=ID_MAX if until_ms is None else id_at(until_ms))
        while True:
            async with self._connected() as db:
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
            self._connected() as db,
            db.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield

    async def has(self, ids: Sequence[bytes]) -> set[bytes]:
        async with self._connected() as db:
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
        async with self._connected() as db:
            for text, bounds in asking(by, *hours(since_ms, until_ms), _mark):
                rows += await db.fetch(text, *bounds)
        return joined(by, rows)

    async def billed(self, limit: int) -> list[tuple[str, str]]:
        async with self._connected() as db:
            text = "SELECT provider, response_id FROM billed ORDER BY id DESC LIMIT $1"
            return [(row[0], row[1]) for row in await db.fetch(text, limit)][::-1]

    async def bound_of(self, bytes_max: int) -> bytes | None:
        async with self._connected() as db:
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
        async with self._connected() as db:
            below = uuid.UUID(bytes=bound)
            said = await db.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE id < $1 ORDER BY id LIMIT $2)",
                below,
                limit,
            )
            gone = int(said.rpartition(" ")[2])
            if gone < limit:
                await db.execute("DELETE FROM billed WHERE id < $1", below)
            return gone

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection. One that met a trouble is not used again: nobody knows its state."""
        with _away():
            if self._db is None or self._db.is_closed():
                self._db = await asyncpg.connect(
                    self._address, timeout=CONNECT_S, command_timeout=COMMAND_S
                )
            db = self._db
            try:
                yield db
            except BaseException as error:
                if not isinstance(error, _REFUSALS) and self._db is db:
                    self._db = None
                    db.terminate()
                raise


# What a row takes beside its entry: its header, its id, and the index.
_ROW_BYTES: Final = 80
_REFUSALS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
_TROUBLES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a session that was ended in mid-call gives
    OSError,
    SchemaFault,
    TimeoutError,
)


@contextlib.contextmanager
def _away() -> Any:
    """Turn what asyncpg says into what the shipper understands."""
    try:
        yield
    except _REFUSALS as error:
        raise Refused(f"postgresql: {error}") from error
    except _TROUBLES as error:
        raise StoreAway(f"postgresql: {error or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def _transaction(db: asyncpg.Connection) -> AsyncIterator[None]:
    """Like `db.transaction()`, but a connection that met a trouble is not asked to roll back: it
    will be let go of, and who is frozen would not answer.
    """
    transaction = db.transaction()
    await transaction.start()
    try:
        yield
    except _REFUSALS:
        await transaction.rollback()
        raise
    await transaction.commit()


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
        "SELECT id, reported FROM billed WHERE provider = $1 AND response_id = $2 FOR UPDATE",
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
    await db.execute(
        "UPDATE billed SET id = $3, reported = true WHERE provider = $1 AND response_id = $2",
        bill.provider,
        bill.response_id,
        uuid.UUID(bytes=entry.id),
    )
    return better


def _without_nul(entry: Entry) -> Entry:
    """PostgreSQL's texts hold no U+0000, and a caller may say any name."""
    if b"\\u0000" not in entry.text:
        return entry
    return made(_replaced(entry.document))


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {_replaced(name): _replaced(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner) for inner in value]
    return value


def _mark(n: int) -> str:
    return f"${n}"


_ADD: Final = {table: adding(table, _mark) for table in (HOURS_TABLE, DAYS_TABLE)}
