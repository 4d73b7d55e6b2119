from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from plugins.logs.reader import Reader
from plugins.logs.records import LogRow, Query
from plugins.logs.sqlite import SqliteStore
from plugins.logs.tailing import PAGE, Seen, follow
from tests.plugins.logs.made import id_of, made

PATIENCE_S = 10.0


async def added(path: Path, rows: Sequence[LogRow]) -> None:
    """Add rows as another process would."""
    store = SqliteStore(path)
    await store.open()
    await store.add(rows)
    await store.close()


def followed(path: Path, work: Any, query: Query | None = None, poll_s: float = 0.02) -> Any:
    """Follow while `work` runs, which is given the looks one by one."""

    async def run() -> Any:
        reader = Reader(SqliteStore(path))
        reader.start()
        try:
            looks = follow(reader, query or Query(), 0, poll_s=poll_s)
            async with asyncio.timeout(PATIENCE_S), aclosing(looks):
                return await work(looks)
        finally:
            reader.stop()

    return asyncio.run(run())


def ids(seen: Seen) -> list[str]:
    return [row.document["id"] for row in seen.rows]


def test_rows_come_in_the_order_of_their_arrival_once_each(tmp_path):
    path = tmp_path / "logs.db"

    async def work(looks: Any) -> list[list[str]]:
        found = [ids(await anext(looks))]
        for batch in ([made(5)], [made(2), made(9)], []):  # one that began earlier came later
            if batch:
                await added(path, batch)
            found.append(ids(await anext(looks)))
        return found

    assert followed(path, work) == [[], [id_of(5)], [id_of(2), id_of(9)], []]


def test_who_is_behind_gets_page_after_page_at_once(tmp_path):
    path = tmp_path / "logs.db"

    async def work(looks: Any) -> list[int]:
        await added(path, [made(n) for n in range(2 * PAGE + 1)])
        return [len((await anext(looks)).rows) for _ in range(3)]

    assert followed(path, work, poll_s=60.0) == [PAGE, PAGE, 1]


def test_only_what_is_asked_for_comes(tmp_path):
    path = tmp_path / "logs.db"

    async def work(looks: Any) -> list[str]:
        await added(path, [made(1, model="a"), made(2, model="b")])
        return ids(await anext(looks))

    assert followed(path, work, Query(equal={"model": ("b",)})) == [id_of(2)]


def test_a_store_that_is_away_is_said_and_asked_again(tmp_path):
    path = tmp_path / "later" / "logs.db"

    async def work(looks: Any) -> None:
        trouble = (await anext(looks)).trouble
        assert trouble is not None
        assert "logs.db" in trouble
        path.parent.mkdir()
        await added(path, [made(1)])
        assert ids(await anext(looks)) == [id_of(1)]

    followed(path, work)
