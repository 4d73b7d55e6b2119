"""What is particular to a file: it may go away, be locked, and come back."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from gateway import StoreAway
from plugins.api_keys.sqlite import SqliteStore


async def ready(path: Path, busy_s: float = 0.05) -> SqliteStore:
    store = SqliteStore(path, busy_s=busy_s)
    await store.open()
    return store


def test_the_file_is_its_owners_alone(tmp_path):
    asyncio.run(ready(tmp_path / "keys.db"))
    assert (tmp_path / "keys.db").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_gone_is_not_made_anew(tmp_path):
    path = tmp_path / "keys.db"

    async def story() -> None:
        store = await ready(path)
        await store.news()
        path.rename(tmp_path / "away.db")
        with pytest.raises(StoreAway, match="gone"):
            await store.news()
        await store.close()
        with pytest.raises(StoreAway, match="gone"):
            await store.open()
        assert not path.exists()
        (tmp_path / "away.db").rename(path)
        await store.open()
        await store.close()

    asyncio.run(story())


def test_who_is_locked_out_is_told_so(tmp_path):
    path = tmp_path / "keys.db"

    async def story() -> None:
        store = await ready(path)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAway, match="locked"):
            async with store.changing(tell=True):
                raise AssertionError
        other.execute("ROLLBACK")
        other.close()
        async with store.changing(tell=True):
            pass
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize("content", [b"this is no database at all, but a text", b""])
def test_what_is_no_database_says_so(tmp_path, content):
    path = tmp_path / "keys.db"
    path.write_bytes(content)
    if content:
        with pytest.raises(StoreAway, match="sqlite: "):
            asyncio.run(ready(path))
    else:
        asyncio.run(ready(path))  # an empty file is a new one


def test_a_schema_of_a_later_version_is_left_alone(tmp_path):
    path = tmp_path / "keys.db"
    asyncio.run(ready(path))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreAway, match="newer"):
        asyncio.run(ready(path))


def test_who_is_not_open_is_away(tmp_path):
    with pytest.raises(StoreAway, match="not open"):
        asyncio.run(SqliteStore(tmp_path / "keys.db").fetch("SELECT 1"))
