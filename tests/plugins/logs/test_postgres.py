"""What is particular to PostgreSQL: it is another machine's, and goes away in its own ways."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from gateway import StoreAway
from plugins.logs.postgres import PostgresStore
from plugins.logs.records import Query
from plugins.logs.stores import TooSlow
from tests.plugins.logs.made import made
from tests.postgres_server import postgres_server


async def count(store: PostgresStore) -> int:
    return await store.count(Query())


def test_a_server_that_died_is_away_until_it_is_back():
    async def story(server: Any, address: str) -> None:
        store = PostgresStore(address)
        await store.open()
        await store.add([made(1)])
        await asyncio.to_thread(server.kill)
        for _ in range(2):
            with pytest.raises(StoreAway):
                await store.add([made(2)])
        await asyncio.to_thread(server.start)
        await store.add([made(2)])
        assert await count(store) == 2
        await store.close()

    with postgres_server() as server:  # one of its own: others may use that of all tests
        asyncio.run(story(server, server.database()))


def test_a_session_that_was_ended_is_replaced(postgres):
    address = postgres.database()

    async def story() -> None:
        store = PostgresStore(address)
        await store.open()
        name = address.rpartition("/")[2]
        text = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        assert await asyncio.to_thread(postgres.ask, "postgres", text)
        with contextlib.suppress(StoreAway):  # whether it has heard of that yet or not
            await store.add([made(1)])
        await store.add([made(1)])
        assert await count(store) == 1
        await store.close()

    asyncio.run(story())


def test_a_question_that_takes_too_long_is_ended_by_the_server(postgres):
    address = postgres.database()

    async def story() -> None:
        store = PostgresStore(address, query_s=0.1)
        await store.open()
        with pytest.raises(TooSlow):
            async with store.connected() as db:
                await db.execute("SELECT pg_sleep(10)")
        assert await count(store) == 0
        await store.close()

    asyncio.run(story())


def test_a_schema_of_a_newer_version_is_left_alone(postgres):
    address = postgres.database()

    async def story() -> None:
        store = PostgresStore(address)
        await store.open()
        await asyncio.to_thread(postgres.ask, address, "INSERT INTO logs_schema VALUES (999)")
        with pytest.raises(StoreAway, match="newer"):
            await store.open()
        await store.close()

    asyncio.run(story())


def test_several_gateways_make_the_schema_at_once(postgres):
    address = postgres.database()

    async def story() -> None:
        many = [PostgresStore(address) for _ in range(5)]
        await asyncio.gather(*(store.open() for store in many))
        await asyncio.gather(*(store.add([made(n)]) for n, store in enumerate(many)))
        assert await count(many[0]) == 5
        for store in many:
            await store.close()

    asyncio.run(story())


def test_who_follows_several_who_write_misses_none(postgres):
    address = postgres.database()
    writers, batches, rows = 5, 12, 3

    async def story() -> None:
        many = [PostgresStore(address) for _ in range(writers + 1)]
        for store in many:
            await store.open()
        seen: list[bytes] = []
        at = 0

        async def look() -> None:
            nonlocal at
            for row in await many[-1].find(Query(arrived_after=at, limit=1000)):
                seen.append(row.id)
                at = row.arrival

        async def write(place: int) -> None:
            for batch in range(batches):
                first = (place * batches + batch) * rows
                await many[place].add([made(first + n) for n in range(rows)])

        writing = asyncio.gather(*(write(place) for place in range(writers)))
        while not writing.done():
            await look()
        await writing
        await look()
        assert sorted(seen) == [made(n).id for n in range(writers * batches * rows)]
        for store in many:
            await store.close()

    asyncio.run(story())
