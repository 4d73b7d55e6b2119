"""A connection to PostgreSQL is made again when it is lost, and what its errors mean is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import StoreAway, StoreRefused
from gateway.postgres import Postgres, count_of, without_nul
from tests.postgres_server import PostgresServer

Story = Callable[[Postgres], Awaitable[None]]
names = st.text(st.characters(exclude_characters="\ufffd"))  # or two of them would become one
documents = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(names, inner),
    max_leaves=10,
)


def told(server: PostgresServer, story: Story, *, command_s: float = 20.0) -> None:
    """Run a story on an empty database of its own."""
    address = server.database()

    async def run() -> None:
        postgres = Postgres(address, command_s=command_s)
        async with postgres.connected() as db:
            await db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        await story(postgres)
        await postgres.close()

    asyncio.run(run())


async def numbers(postgres: Postgres) -> list[int]:
    async with postgres.connected() as db:
        return [row[0] for row in await db.fetch("SELECT n FROM t ORDER BY n")]


async def insert(postgres: Postgres, *values: int) -> asyncpg.Connection:
    async with postgres.transaction() as db:
        for value in values:
            await db.execute("INSERT INTO t VALUES ($1)", value)
        return db


def test_a_transaction_is_written_whole_or_not_at_all(postgres: PostgresServer) -> None:
    async def story(kept: Postgres) -> None:
        first = await insert(kept, 1)
        with pytest.raises(StoreRefused, match=r"^postgresql: "):
            await insert(kept, 2, 1)
        async with kept.connected() as db:
            assert db is first  # what refuses rows is not lost
        assert await numbers(kept) == [1]

    told(postgres, story)


def test_a_session_that_is_frozen_or_ended_is_away_and_then_replaced(
    postgres: PostgresServer,
) -> None:
    async def ask(kept: Postgres, text: str) -> None:
        async with kept.connected() as db:
            await db.execute(text)

    async def story(kept: Postgres) -> None:
        for trouble in ("SELECT pg_sleep(10)", "SELECT pg_terminate_backend(pg_backend_pid())"):
            with pytest.raises(StoreAway, match=r"^postgresql: "):
                await ask(kept, trouble)
            await insert(kept, len(trouble))
        assert len(await numbers(kept)) == 2

    told(postgres, story, command_s=0.5)


def test_who_is_cancelled_in_mid_statement_leaves_no_connection_of_unknown_state(
    postgres: PostgresServer,
) -> None:
    async def linger(kept: Postgres) -> None:
        async with kept.transaction() as db:
            await db.execute("INSERT INTO t VALUES (1)")
            await asyncio.sleep(60)

    async def story(kept: Postgres) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(linger(kept), 0.2)
        await insert(kept, 2)
        assert await numbers(kept) == [2]

    told(postgres, story)


def test_a_server_that_is_not_there_is_away() -> None:
    async def story() -> None:
        kept = Postgres("postgresql://nobody@127.0.0.1:1/none", command_s=1.0)
        with pytest.raises(StoreAway):
            await numbers(kept)

    asyncio.run(story())


def test_settings_are_the_sessions(postgres: PostgresServer) -> None:
    address = postgres.database()

    async def story() -> None:
        kept = Postgres(address, command_s=5.0, settings={"work_mem": "17MB"})
        async with kept.connected() as db:
            assert await db.fetchval("SHOW work_mem") == "17MB"
            assert await db.fetchval("SHOW jit") == "off"
        await kept.close()

    asyncio.run(story())


def texts(document: object) -> list[str]:
    """All that is text in a document, in order."""
    if isinstance(document, str):
        return [document]
    if isinstance(document, dict):
        return [text for pair in document.items() for part in pair for text in texts(part)]
    return [text for one in document for text in texts(one)] if isinstance(document, list) else []


@given(documents)
def test_a_document_for_postgresql_differs_in_nothing_but_nul(document: object) -> None:
    changed = without_nul(document)

    assert texts(changed) == [text.replace("\0", "\ufffd") for text in texts(document)]
    assert changed == document or any("\0" in text for text in texts(document))


@pytest.mark.parametrize(("said", "count"), [("DELETE 3", 3), ("INSERT 0 1", 1), ("UPDATE 0", 0)])
def test_a_count_is_read_off_what_a_statement_says(said: str, count: int) -> None:
    assert count_of(said) == count
