"""Where rows stand in a SQLite file: in the order of their starts."""

from __future__ import annotations

import asyncio
import sqlite3

from gateway import Exchange
from gateway.testing import exchange
from plugins.logs.places import conditions, first_place, order_of, place_of
from plugins.logs.records import Query
from plugins.logs.sqlite import SqliteStore
from tests.plugins.logs.made import AT_MS, made


def id_bytes(of: Exchange) -> bytes:
    return bytes.fromhex(of.id.replace("-", ""))


def test_places_are_in_the_order_of_ids():
    ids = [id_bytes(exchange()) for _ in range(3_000)]
    places = [first_place(id_) for id_ in ids]
    assert places == sorted(set(places))
    assert all(
        place >> 15 == int.from_bytes(id_[:6], "big")
        for place, id_ in zip(places, ids, strict=True)
    )
    assert max(places) < 2**62


def test_a_row_is_found_where_it_was_moved_to(tmp_path):
    store = SqliteStore(tmp_path / "logs.db")
    first = made(1)
    moved = first._replace(id=first.id[:-1] + b"\xff")
    assert first_place(moved.id) == first_place(first.id)

    async def story() -> None:
        await store.open()
        await store.add([first, moved])
        assert place_of(store.db, first.id) == first_place(first.id)
        assert place_of(store.db, moved.id) == first_place(first.id) + 1
        assert place_of(store.db, made(2).id) is None
        await store.close()

    asyncio.run(story())


def test_a_search_reads_the_index_and_nothing_else_does():
    db = sqlite3.connect(":memory:")
    tables, where, values = conditions(db, Query(text="word", since_ms=AT_MS))
    assert order_of(tables) == "search.rowid"
    assert where == "1 AND search MATCH ? AND search.rowid >= ?"
    assert values == ['words : "word"', AT_MS << 15]
    tables, where, values = conditions(db, Query(least={"status": 400.0}))
    assert order_of(tables) == "logs.place"
    assert (where, values) == ("1 AND (status >= ?)", [400.0])
    db.close()
