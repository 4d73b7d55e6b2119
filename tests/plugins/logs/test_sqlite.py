"""What is particular to SQLite: one file, one who writes at a time, and a disk that fills up."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway import StoreAway
from plugins.logs.records import Query
from plugins.logs.sqlite import SqliteStore
from plugins.logs.stores import TooSlow
from tests.plugins.logs.made import body, made


@contextmanager
def opened(path: Path, **bounds: float) -> Iterator[SqliteStore]:
    store = SqliteStore(path, **bounds)
    asyncio.run(store.open())
    try:
        yield store
    finally:
        asyncio.run(store.close())


def test_the_file_is_for_its_owner_alone(tmp_path):
    with opened(tmp_path / "logs.db") as store:
        asyncio.run(store.add([made(1)]))
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "logs.db"
    with opened(path):
        pass
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(StoreAway, match="newer"):
        asyncio.run(SqliteStore(path).open())


def test_a_file_that_is_none_is_away(tmp_path):
    path = tmp_path / "logs.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreAway, match="not a database"):
        asyncio.run(SqliteStore(path).open())


def test_a_locked_file_is_away_and_nothing_is_half_written(tmp_path):
    path = tmp_path / "logs.db"
    with opened(path, busy_s=0.05) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAway, match="locked"):
            asyncio.run(store.add([made(1)]))
        assert asyncio.run(store.find(Query())) == []
        other.execute("ROLLBACK")
        other.close()
        asyncio.run(store.add([made(1)]))
        assert len(asyncio.run(store.find(Query()))) == 1


async def fill(store: SqliteStore) -> None:
    for n in range(2, 100):
        await store.add([made(n, request=body(b"x" * 10_000))])


def test_a_full_disk_is_away_and_what_was_there_stays(tmp_path):
    path = tmp_path / "logs.db"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(path) as store:
        asyncio.run(store.add([made(1)]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        try:
            with pytest.raises(StoreAway):
                asyncio.run(fill(store))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        found = asyncio.run(store.find(Query(newest_first=False, limit=1000)))
        assert found[0].id == made(1).id
        assert [row.id for row in found] == [made(n + 1).id for n in range(len(found))]
        asyncio.run(store.add([made(500)]))
        assert len(asyncio.run(store.find(Query(limit=1000)))) == len(found) + 1


def test_a_question_that_takes_too_long_is_given_up(tmp_path):
    path = tmp_path / "logs.db"
    slow = Query(least={"duration_us": 1e9})
    with opened(path) as store:
        asyncio.run(store.add([made(n) for n in range(20_000)]))
        assert asyncio.run(store.find(slow)) == []
    with opened(path, query_s=0.0) as store:
        with pytest.raises(TooSlow, match="less at once"):
            asyncio.run(store.find(slow))
        assert len(asyncio.run(store.find(Query(limit=10)))) == 10


def test_who_deletes_leaves_nothing_of_a_row(tmp_path):
    path = tmp_path / "logs.db"
    with opened(path) as store:
        asyncio.run(store.add([made(1, request=body(b'"Zanzibar"'), response=body(b"[]"))]))
        assert asyncio.run(store.delete(Query(text="zanzibar"))) == 1
        for table in ("logs", "texts", "search"):
            assert store.db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
