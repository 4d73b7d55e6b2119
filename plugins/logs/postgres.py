"""Rows in PostgreSQL, where one machine's file is outgrown: any number of gateways write to it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import orjson

from gateway import id_after, look_at_postgres, migrate_postgres, now_ms
from gateway.postgres import Postgres, count_of, without_nul

from .asking import Asked
from .records import COUNTED, Body, Change, LogRow, Query, changed, numbers_of, row_bytes
from .searching import tokens
from .stores import QUERY_S, TooSlow

# A statement that takes longer has met a frozen server; the server itself ends it at `QUERY_S`.
COMMAND_S: Final = QUERY_S + 5.0
_SCHEMA: Final = "logs_schema"
# Any number, so long as no other program on the same database takes it (pg_advisory_xact_lock).
_MIGRATION_LOCK: Final = 0x77656C6D
_ADD_LOCK: Final = 0x77656C61


class PostgresStore(Postgres):
    """A `Store`."""

    def __init__(self, address: str, *, query_s: float = QUERY_S) -> None:
        settings = {
            "work_mem": "16MB",  # a set of half a million rows fits
            "statement_timeout": f"{int(query_s * 1000)}",
        }
        super().__init__(address, command_s=COMMAND_S, settings=settings)

    def meaning(self, error: BaseException) -> Exception:
        if isinstance(error, asyncpg.QueryCanceledError):
            return TooSlow(f"it took more than {QUERY_S:g} s; ask for less at once")
        return super().meaning(error)

    async def check(self) -> None:
        async with self.connected() as db:
            await look_at_postgres(db, __package__, _SCHEMA)
        await self.close()

    async def open(self) -> None:
        async with self.connected() as db:
            await migrate_postgres(db, __package__, _SCHEMA, _MIGRATION_LOCK)

    async def add(self, rows: Sequence[LogRow]) -> None:
        async with self.transaction() as db:
            # One at a time, so that arrivals can be seen in their order.
            await db.execute("SELECT pg_advisory_xact_lock($1)", _ADD_LOCK)
            last = await db.fetchval("SELECT coalesce(max(arrival), 0) FROM logs")
            arrival = max(now_ms() * 1000, last + 1)
            values = [_values(row, arrival + place) for place, row in enumerate(rows)]
            await db.executemany(_INSERT, values)
            await db.executemany(
                "INSERT INTO log_bodies VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                [
                    (uuid.UUID(bytes=row.id), *(body and body.data for body in row[2:4]))
                    for row in rows
                    if row.request is not None or row.response is not None
                ],
            )

    async def get(self, id_: bytes) -> LogRow | None:
        async with self.connected() as db:
            return await _row_of(db, id_)

    async def find(self, query: Query) -> list[LogRow]:
        asked = Asked(query)
        data, bodies = "NULL, NULL", ""
        if query.bodies:
            data, bodies = "request, response", "LEFT JOIN log_bodies USING (id)"
        async with self.connected() as db:
            rows: list[Any] = []
            for ids in asked.ways():
                text = (
                    f"SELECT {_COLUMNS}, {data} FROM logs JOIN ({ids}) AS found USING (id) "  # noqa: S608 - our names
                    f"{bodies} ORDER BY {asked.order}"
                )
                rows = await db.fetch(text, *asked.values)
                if len(rows) == query.limit:
                    break
        return [_made(row) for row in rows]

    async def count(self, query: Query) -> int:
        asked = Asked(query)
        async with self.connected() as db:
            text = f"SELECT count(*) FROM logs WHERE {asked.conditions}"  # noqa: S608 - our names
            return int(await db.fetchval(text, *asked.values))

    async def newest(self) -> int:
        async with self.connected() as db:
            return int(await db.fetchval("SELECT coalesce(max(arrival), 0) FROM logs"))

    async def change(self, id_: bytes, change: Change) -> LogRow | None:
        async with self.transaction() as db:
            row = await _row_of(db, id_, "FOR UPDATE OF logs")
            if row is None:
                return None
            after = changed(row, change)
            document = without_nul(after.document)
            await db.execute(
                "UPDATE logs SET entry = $2, facts = array_to_tsvector($3::text[]), feedback = $4, "
                "score = $5 WHERE id = $1",
                uuid.UUID(bytes=id_),
                orjson.dumps(document).decode(),
                tokens(after.document).split(),
                after.feedback,
                after.score,
            )
            return await _row_of(db, id_)

    async def delete(self, query: Query) -> int:
        asked = Asked(query)
        async with self.connected() as db:
            text = f"DELETE FROM logs WHERE id IN ({asked.oldest()})"  # noqa: S608 - our names
            return count_of(await db.execute(text, *asked.values))

    async def bound_of(self, bytes_max: int) -> bytes | None:
        async with self.connected() as db:
            last = await db.fetchval(
                'SELECT id FROM (SELECT id, sum("bytes") OVER (ORDER BY id DESC) AS sum FROM logs) '
                "_ WHERE sum > $1 ORDER BY id DESC LIMIT 1",
                bytes_max,
            )
            return None if last is None else id_after(last.bytes)

    async def expire(self, bound: bytes, limit: int) -> int:
        async with self.connected() as db:
            said = await db.execute(
                "DELETE FROM logs WHERE id IN "
                "(SELECT id FROM logs WHERE id < $1 ORDER BY id LIMIT $2)",
                uuid.UUID(bytes=bound),
                limit,
            )
            return count_of(said)


_COLUMNS: Final = (
    "logs.id, entry::text, feedback, score, request_type, request_size, request_is_cut, "
    "response_type, response_size, response_is_cut, arrival"
)
_NAMES: Final = (
    "id, arrival, bytes, feedback, score, "
    + ", ".join(COUNTED)
    + ", request_type, request_size, request_is_cut, response_type, response_size, response_is_cut,"
    " entry, facts, words"
)
_LAST: Final = len(_NAMES.split(",")) - 2
_INSERT: Final = (
    f"INSERT INTO logs ({_NAMES}) VALUES ({', '.join(f'${n + 1}' for n in range(_LAST))}, "  # noqa: S608 - our names
    f"array_to_tsvector(${_LAST + 1}::text[]), to_tsvector('simple', ${_LAST + 2}::text)) "
    "ON CONFLICT (id) DO NOTHING"
)
_NO_BODY: Final = (None, None, None)


def _values(row: LogRow, arrival: int) -> list[Any]:
    """A row as `_INSERT` takes it."""
    request, response = row.request, row.response
    document = without_nul(row.document)
    return [
        *(uuid.UUID(bytes=row.id), arrival, row_bytes(row), row.feedback, row.score),
        *numbers_of(document),
        *(_NO_BODY if request is None else request[1:]),
        *(_NO_BODY if response is None else response[1:]),
        orjson.dumps(document).decode(),
        tokens(row.document).split(),
        row.words,
    ]


async def _row_of(db: asyncpg.Connection, id_: bytes, locked: str = "") -> LogRow | None:
    row = await db.fetchrow(
        f"SELECT {_COLUMNS}, request, response FROM logs LEFT JOIN log_bodies USING (id) "  # noqa: S608 - our names
        f"WHERE logs.id = $1 {locked}",
        uuid.UUID(bytes=id_),
    )
    return None if row is None else _made(row)


def _made(row: Sequence[Any]) -> LogRow:
    request = None if row[4] is None else Body(row[11], *row[4:7])
    response = None if row[7] is None else Body(row[12], *row[7:10])
    return LogRow(row[0].bytes, row[1].encode(), request, response, row[2], row[3], "", row[10])
