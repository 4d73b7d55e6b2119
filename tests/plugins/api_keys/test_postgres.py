"""What is particular to PostgreSQL: it is another machine's, and goes away in its own ways."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from gateway import StoreAway
from plugins.api_keys.described import NewKey
from plugins.api_keys.desk import Desk
from plugins.api_keys.postgres import PostgresStore
from plugins.api_keys.records import changes_since


def test_a_session_that_was_ended_is_replaced_and_listens_again(postgres):
    address = postgres.database()

    async def story() -> None:
        watched, other = PostgresStore(address), PostgresStore(address)
        await watched.open()
        await other.open()
        name = address.rpartition("/")[2]
        text = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        assert await asyncio.to_thread(postgres.ask, "postgres", text)
        for store in (watched, other):
            # Whether it has heard of that yet or not, the one after the next is a new one.
            for _ in range(2):
                with contextlib.suppress(StoreAway):
                    await store.open()
                    await store.fetch("SELECT 1")
            await store.open()
        await watched.news()
        waiting = asyncio.ensure_future(watched.news())
        await asyncio.sleep(0.01)
        started = time.monotonic()
        await Desk("weir-", "tests").create_key(other, NewKey(name="a", id="a"))
        await waiting
        assert time.monotonic() - started < 1.0
        assert set((await changes_since(watched, -1)).keys) == {"a"}
        await watched.close()
        await other.close()

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
    assert postgres.ask(address, "SELECT count(*) FROM api_keys_schema")[0][0] >= 1
