from __future__ import annotations

import asyncio

from gateway import now_ms
from plugins.logs.deleting import STEP, delete
from plugins.logs.reader import Reader
from plugins.logs.records import Query
from plugins.logs.sqlite import SqliteStore
from tests.plugins.logs.made import AT_MS, made


def test_all_rows_go_that_began_until_now_and_no_others(tmp_path):
    async def run() -> None:
        store = SqliteStore(tmp_path / "logs.db")
        await store.open()
        later = now_ms() + 3_600_000 - AT_MS  # as by a clock that is ahead
        await store.add([made(n, model="ab"[n % 2]) for n in (*range(2 * STEP + 2), later)])
        reader = Reader(SqliteStore(tmp_path / "logs.db"))
        reader.start()
        try:
            assert await delete(reader, Query(equal={"model": ("a",)}, limit=1)) == STEP + 1
            assert await delete(reader, Query(until_ms=AT_MS + 9)) == 4
            assert await delete(reader, Query()) == STEP + 1 - 4
            assert await store.count(Query()) == 1
        finally:
            reader.stop()
            await store.close()

    asyncio.run(run())
