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
import orjson

from .migrating import migrations
from .records import DIMENSIONS, SUMS, Entry, bills_of, sums_of, without
from .stores import StoreAway

CONNECT_S: Final = 10.0
# A statement that takes longer has met a frozen server.
COMMAND_S: Final = 30.0
_PAGE: Final = 1_000
# Any number, so long as no other program on the same database takes it (pg_advisory_xact_lock).
_MIGRATION_LOCK: Final = 0x77656972


class PostgresStore:
    """A `Store` over one connection, made again when it is lost."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._db: asyncpg.Connection | None = None

    async def open(self) -> None:
        async with _away():
            await self._migrate(await self._connected())

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            async with _away():
                await db.close(timeout=CONNECT_S)

    async def progress(self, journals: Iterable[str]) -> dict[str, int]:
        async with _away():
            db = await self._connected()
            rows = await db.fetch(
                'SELECT journal, "offset" FROM progress WHERE journal = ANY($1::text[])',
                list(journals),
            )
            return {row[0]: row[1] for row in rows}

    async def add(self, entries: Sequence[Entry], journal: str, offset: int) -> None:
        async with _away():
            db = await self._connected()
            async with db.transaction():
                taken = await db.fetchval(
                    'SELECT "offset" FROM progress WHERE journal = $1', journal
                )
                if taken is not None and taken >= offset:
                    return
                if entries:
                    await self._take(db, list(entries))
                await db.execute(
                    "INSERT INTO progress VALUES ($1, $2) "
                    'ON CONFLICT (journal) DO UPDATE SET "offset" = excluded."offset"',
                    journal,
                    offset,
                )

    async def forget(self, journals: Iterable[str]) -> None:
        async with _away():
            db = await self._connected()
            await db.execute("DELETE FROM progress WHERE journal = ANY($1::text[])", list(journals))

    async def entries(
        self, *, since_ms: int = 0, until_ms: int | None = None
    ) -> AsyncIterator[Entry]:
        low = uuid.UUID(bytes=since_ms.to_bytes(6, "big") + bytes(10))
        high = uuid.UUID(bytes=(until_ms or (1 << 48) - 1).to_bytes(6, "big") + b"\xff" * 10)
        while True:
            async with _away():
                db = await self._connected()
                rows = await db.fetch(
                    "SELECT id, entry::text FROM entries WHERE id > $1 AND id < $2 "
                    "ORDER BY id LIMIT $3",
                    low,
                    high,
                    _PAGE,
                )
            for id_, text in rows:
                yield Entry(id_.bytes, text.encode(), orjson.loads(text))
            if len(rows) < _PAGE:
                return
            low = rows[-1][0]

    async def sums(self) -> Mapping[tuple[Any, ...], Sequence[int]]:
        async with _away():
            db = await self._connected()
            rows = await db.fetch(f"SELECT {_NAMES} FROM rollups")  # noqa: S608 - our own names
        size = len(DIMENSIONS)
        return {tuple(row)[:size]: [int(value) for value in tuple(row)[size:]] for row in rows}

    async def expire(self, before_ms: int, limit: int) -> int:
        async with _away():
            db = await self._connected()
            bound = uuid.UUID(bytes=before_ms.to_bytes(6, "big") + bytes(10))
            said = await db.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE id < $1 ORDER BY id LIMIT $2)",
                bound,
                limit,
            )
            return int(said.rpartition(" ")[2])

    async def size_bytes(self) -> int:
        async with _away():
            db = await self._connected()
            return int(await db.fetchval("SELECT pg_total_relation_size('entries')"))

    async def _connected(self) -> asyncpg.Connection:
        if self._db is None or self._db.is_closed():
            self._db = await asyncpg.connect(
                self._address, timeout=CONNECT_S, command_timeout=COMMAND_S
            )
        return self._db

    async def _migrate(self, db: asyncpg.Connection) -> None:
        """Bring the schema up to date; several gateways may try at once."""
        known = migrations("postgres")
        async with db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
            await db.execute("CREATE TABLE IF NOT EXISTS ledger_schema (version int NOT NULL)")
            version = await db.fetchval("SELECT max(version) FROM ledger_schema") or 0
            if version > known[-1][0]:
                raise StoreAway(
                    f"postgresql: the schema is {version}, newer than this version's "
                    f"{known[-1][0]}: it was written by a newer Weir"
                )
            for number, text in known:
                if number > version:
                    await db.execute(text)
                    await db.execute("INSERT INTO ledger_schema VALUES ($1)", number)

    async def _take(self, db: asyncpg.Connection, entries: list[Entry]) -> None:
        ids = [uuid.UUID(bytes=entry.id) for entry in entries]
        rows = await db.fetch("SELECT id FROM entries WHERE id = ANY($1::uuid[])", ids)
        there = {row[0].bytes for row in rows}
        fresh = [entry for entry in entries if entry.id not in there]
        for place, entry in enumerate(fresh):
            for bill in bills_of(entry):
                first = await self._billed_by(db, entry, bill.provider, bill.response_id)
                if bill.reported and first != entry.id:
                    fresh[place] = without(fresh[place], bill, str(uuid.UUID(bytes=first)))
        await db.execute(
            "INSERT INTO entries SELECT * FROM unnest($1::uuid[], $2::jsonb[]) "
            "ON CONFLICT DO NOTHING",
            [uuid.UUID(bytes=entry.id) for entry in fresh],
            [entry.text.rstrip().decode() for entry in fresh],
        )
        await db.executemany(_ADD, [(*group, *sums) for group, sums in sums_of(fresh).items()])

    async def _billed_by(
        self, db: asyncpg.Connection, entry: Entry, provider: str, response_id: str
    ) -> bytes:
        """The entry that counted this answer first, which may be this one."""
        await db.execute(
            "INSERT INTO billed VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            provider,
            response_id,
            uuid.UUID(bytes=entry.id),
        )
        first: uuid.UUID = await db.fetchval(
            "SELECT id FROM billed WHERE provider = $1 AND response_id = $2", provider, response_id
        )
        return first.bytes


def _quoted(names: Iterable[str]) -> list[str]:
    return ['"user"' if name == "user" else name for name in names]  # a reserved word


_NAMES: Final = ", ".join(_quoted([*DIMENSIONS, *SUMS]))
_PLACES: Final = ", ".join(f"${n + 1}" for n in range(len(DIMENSIONS) + len(SUMS)))
_ADD: Final = (
    f"INSERT INTO rollups ({_NAMES}) VALUES ({_PLACES}) "  # noqa: S608 - our own names
    f"ON CONFLICT ({', '.join(_quoted(DIMENSIONS))}) DO UPDATE SET "
    + ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in SUMS)
)


@contextlib.asynccontextmanager
async def _away() -> AsyncIterator[None]:
    """Turn what asyncpg says into what the shipper understands."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreAway(f"postgresql: {error or type(error).__name__}") from error
