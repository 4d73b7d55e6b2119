"""What is particular to PostgreSQL: it is another machine's, and goes away in its own ways."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from gateway import StoreAway
from plugins.ledger.postgres import PostgresStore
from tests.plugins.ledger.entries import entry, id_of
from tests.postgres_server import postgres_server


async def ids(store: PostgresStore) -> list[str]:
    return [found.document["id"] async for found in store.entries()]


def test_a_server_that_died_is_away_until_it_is_back(postgres, tmp_path):
    async def story(server: Any, address: str) -> None:
        store = PostgresStore(address)
        await store.open()
        await store.add([entry(id_of(1))], "j", 10)
        await asyncio.to_thread(server.kill)
        for _ in range(2):
            with pytest.raises(StoreAway):
                await store.add([entry(id_of(2))], "j", 20)
        await asyncio.to_thread(server.start)
        await store.add([entry(id_of(2))], "j", 20)
        assert await ids(store) == [id_of(1), id_of(2)]
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
        # Whether it has heard of that yet or not, the one after the next is a new one.
        with contextlib.suppress(StoreAway):
            await store.add([entry(id_of(1))], "j", 10)
        await store.add([entry(id_of(1))], "j", 10)
        assert await ids(store) == [id_of(1)]
        await store.close()

    asyncio.run(story())


def test_a_cancelled_call_does_not_spoil_the_next(postgres):
    address = postgres.database()

    async def story() -> None:
        store = PostgresStore(address)
        await store.open()
        for _ in range(20):
            adding = asyncio.ensure_future(store.add([entry(id_of(1))], None, 0))
            await asyncio.sleep(0.001)
            adding.cancel()
            await asyncio.wait([adding])
        await store.add([entry(id_of(2))], None, 0)
        assert id_of(2) in await ids(store)
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "address", ["postgresql://weir@127.0.0.1:1/x", "postgresql://weir@127.0.0.1:{}/none"]
)
def test_a_server_or_database_that_is_not_there_is_away(address, postgres):
    with pytest.raises(StoreAway):
        asyncio.run(PostgresStore(address.format(postgres.port)).open())


def test_several_gateways_may_make_the_schema_at_once(postgres):
    address = postgres.database()

    async def story() -> None:
        stores = [PostgresStore(address) for _ in range(6)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            await store.close()

    asyncio.run(story())
    assert postgres.ask(address, "SELECT count(*) FROM ledger_schema")[0][0] >= 1


def test_a_look_at_a_database_that_takes_no_tables_says_so(postgres):
    address = postgres.database()
    name = address.rpartition("/")[2]
    guest = f"guest_{name}"
    for text in (f"CREATE ROLE {guest} LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"):
        postgres.ask(name, text)
    with pytest.raises(StoreAway, match="grant it CREATE"):
        asyncio.run(PostgresStore(address.replace("weir@", f"{guest}@")).check())
    asyncio.run(PostgresStore(address).check())
    assert not postgres.ask(name, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
