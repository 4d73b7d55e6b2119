"""Who asks waits on a thread of its own, and not for ever."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway import StoreAway
from plugins.logs.reader import Reader, following
from plugins.logs.records import Change, Query
from plugins.logs.sqlite import SqliteStore
from tests.plugins.logs.made import AT_MS, body, made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs.db"


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    async def fill() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.add([made(n, request=body(b"word", "text/plain")) for n in range(100)])
        await store.close()

    asyncio.run(fill())
    found = Reader(SqliteStore(path))
    found.start()
    yield found
    found.stop()
    assert not found._thread.is_alive()


def test_it_does_what_a_store_does(reader):
    async def story() -> None:
        row = made(7)
        assert len(await reader.find(Query(text="word"))) == 50
        assert await reader.count(Query()) == 100
        assert await reader.newest() > 0
        changed = await reader.change(row.id, Change(feedback=-1))
        assert changed is not None
        assert changed.feedback == -1
        found = await reader.get(row.id)
        assert found is not None
        assert found.request == body(b"word", "text/plain")
        assert await reader.delete(Query(limit=60)) == 60
        assert await reader.delete(Query(limit=60)) == 40
        assert await reader.get(row.id) is None
        with pytest.raises(ValueError, match="no such field"):
            await reader.find(Query(equal={"colour": ("red",)}))

    asyncio.run(story())


@pytest.mark.parametrize("bodies", [False, True])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_stream_gives_all_rows_page_by_page(reader, bodies, newest_first):
    reader._page = 7

    async def story() -> list[int]:
        query = Query(limit=1, bodies=bodies, newest_first=newest_first)
        return [row.at_ms - AT_MS async for row in reader.stream(query)]

    found = asyncio.run(story())
    assert found == sorted(range(100), reverse=newest_first)


def test_the_next_page_begins_behind_the_last_row():
    last = made(5)._replace(arrival=9)
    assert following(Query(), last) == Query(before=last.id)
    assert following(Query(newest_first=False), last) == Query(newest_first=False, after=last.id)
    assert following(Query(arrived_after=1), last) == Query(arrived_after=9)


def test_a_store_that_is_busy_holds_up_neither_loop_nor_caller(reader, path):
    reader.ask_s = 0.3
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")

    async def story() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(StoreAway, match="busy"):
            await reader.delete(Query())
        ticking.cancel()
        return ticks

    began = time.monotonic()
    assert asyncio.run(story()) > 3
    assert time.monotonic() - began < 4
    db.execute("ROLLBACK")
    db.close()
    reader.ask_s = 30.0
    assert asyncio.run(reader.count(Query())) in (50, 100)  # the delete may still have been done


def test_a_store_that_was_away_is_opened_again(tmp_path):
    async def story() -> None:
        reader = Reader(SqliteStore(tmp_path / "none" / "logs.db"))
        reader.start()
        with pytest.raises(StoreAway):
            await reader.find(Query())
        (tmp_path / "none").mkdir()
        assert await reader.find(Query()) == []
        await asyncio.to_thread(reader.stop)

    asyncio.run(story())


def test_changes_are_read_as_callers_write_them():
    assert msgspec.json.decode(b'{"score":null}', type=Change) == Change(score=None)
