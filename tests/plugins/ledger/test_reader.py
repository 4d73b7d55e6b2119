"""Other plugins read the ledger from their own loop, and wait for what the dead have left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway import StoreAway
from plugins.ledger import Config
from plugins.ledger.journal import Journal
from plugins.ledger.reader import Reader
from plugins.ledger.shipper import Shipper
from plugins.ledger.stores import opened
from plugins.ledger.table import Wanted
from tests.plugins.ledger.entries import AT_MS, HOUR_MS, attempt, closing, id_of, opening


@asynccontextmanager
async def reading(folder: Path, address: str = "sqlite") -> AsyncIterator[tuple[Journal, Reader]]:
    journal = Journal(folder / "journal", bytes_max=1 << 30)
    shipper = Shipper(journal, opened(address, folder), Config(), journal.trim)
    reader = Reader(shipper, opened(address, folder))
    shipper.start()
    try:
        yield journal, reader
    finally:
        assert await asyncio.to_thread(shipper.stop, (), reader.close)
        journal.end()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_entries_and_sums_are_those_of_the_store(kind, tmp_path, request):
    address = request.getfixturevalue("postgres").database() if kind == "postgres" else kind

    async def story() -> None:
        async with reading(tmp_path, address) as (journal, reader):
            assert await reader.recovered(20)
            for n in range(1_500):
                id_ = id_of(n, AT_MS + n)
                journal.close(id_, closing(id_))
            async with asyncio.timeout(20):
                while (await reader.sums(())).get((), [0])[0] < 1_500:
                    await asyncio.sleep(0.05)
            found, again = await asyncio.gather(*(walk(reader, AT_MS + 100) for _ in range(2)))
            assert found == again == [id_of(n, AT_MS + n) for n in range(100, 1_500)]
            assert await walk(reader, AT_MS + HOUR_MS) == []
            (row,) = await reader.table(Wanted(("model",), None, 0, None))
            assert (row["model"], row["requests"]) == ("m", 1_500)

    asyncio.run(story())


async def walk(reader: Reader, since_ms: int) -> list[str]:
    return [entry.document["id"] async for entry in reader.entries(since_ms)]


def test_recovery_is_waited_for_but_not_for_ever(tmp_path):
    dead = Journal(tmp_path / "journal", bytes_max=1 << 30)
    dead.open(id_of(1), opening(id_of(1)))
    dead.current.close()
    state = tmp_path / "state"

    async def story() -> None:
        journal = Journal(tmp_path / "journal", bytes_max=1 << 30)
        shipper = Shipper(journal, opened("sqlite", state), Config(), journal.trim)
        reader = Reader(shipper, opened("sqlite", state))
        shipper.start()
        assert not await reader.recovered(0.1)
        with pytest.raises(StoreAway):
            await reader.sums(())
        state.mkdir()
        assert await reader.recovered(20)
        assert await walk(reader, 0) == [id_of(1)]
        assert await asyncio.to_thread(shipper.stop, (), reader.close)
        journal.end()

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_latest_answers_that_count_once_are_known(kind, tmp_path, request):
    address = request.getfixturevalue("postgres").database() if kind == "postgres" else kind

    async def story() -> None:
        async with reading(tmp_path, address) as (journal, reader):
            assert await reader.recovered(20)
            for n, path in enumerate(("responses", "chat/completions", "responses", "responses")):
                id_ = id_of(n, AT_MS + n)
                facts = {"path": f"/openai/v1/{path}", "provider": "openai"}
                journal.close(id_, closing(id_, attempt(response_id=f"r{n}"), **facts))
            async with asyncio.timeout(20):
                while len(found := await reader.billed(9)) < 3:
                    await asyncio.sleep(0.05)
            assert found == [("openai", "r0"), ("openai", "r2"), ("openai", "r3")]
            assert await reader.billed(2) == found[1:]

    asyncio.run(story())
