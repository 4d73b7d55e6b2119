"""What is particular to SQLite: the file, its lock, and older schemas of it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import StoreAway
from gateway.migrating import migrations, statements
from plugins.ledger.sqlite import SqliteStore
from tests.plugins.ledger.entries import entry, id_of


async def use(store: SqliteStore) -> int:
    await store.open()
    try:
        await store.add([entry(id_of(1))], "j", 10)
        return len([found async for found in store.entries()])
    finally:
        await store.close()


def test_the_file_is_for_its_owner_alone(tmp_path):
    asyncio.run(use(SqliteStore(tmp_path / "ledger.db")))
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


def test_several_processes_may_make_it_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        stores = [SqliteStore(tmp_path / "ledger.db") for _ in range(8)]
        assert list(pool.map(lambda store: asyncio.run(use(store)), stores)) == [1] * 8


@pytest.mark.parametrize("version", range(len(migrations("plugins.ledger", "sqlite"))))
def test_each_earlier_schema_is_brought_up_to_date(version, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        for number, text in migrations("plugins.ledger", "sqlite")[:version]:
            for statement in statements(text):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number}")
    assert asyncio.run(use(SqliteStore(tmp_path / "ledger.db"))) == 1


def test_a_locked_file_is_away_and_changes_nothing(tmp_path):
    async def story() -> None:
        store = SqliteStore(tmp_path / "ledger.db")
        await store.open()
        store.db.execute("PRAGMA busy_timeout = 50")
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreAway, match="locked"):
                await store.add([entry(id_of(1))], "j", 10)
        assert await store.progress(["j"]) == {}
        await store.add([entry(id_of(1))], "j", 10)
        assert await store.progress(["j"]) == {"j": 10}
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 100])
def test_what_is_no_database_is_away(content, tmp_path):
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(StoreAway):
        asyncio.run(use(SqliteStore(tmp_path / "ledger.db")))
    with pytest.raises(StoreAway):
        asyncio.run(use(SqliteStore(tmp_path / "nowhere" / "ledger.db")))
    with pytest.raises(StoreAway, match="not open"):
        asyncio.run(SqliteStore(tmp_path / "ledger.db").progress(["j"]))


@pytest.mark.parametrize(("durable", "level"), [(False, 1), (True, 2)])
def test_a_power_cut_is_survived_where_that_is_asked_for(durable, level, tmp_path):
    async def story() -> int:
        store = SqliteStore(tmp_path / "ledger.db", durable=durable)
        await store.open()
        (found,) = store.db.execute("PRAGMA synchronous").fetchone()
        await store.close()
        return int(found)

    assert asyncio.run(story()) == level


@pytest.mark.parametrize("kind", ["folder", "text"])
def test_a_look_at_what_is_no_database_says_so(tmp_path, kind):
    path = tmp_path / "ledger.db"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text("not a database, but long enough to have a header of a hundred bytes\n" * 9)
    with pytest.raises(StoreAway, match="sqlite: "):
        asyncio.run(SqliteStore(path).check())
