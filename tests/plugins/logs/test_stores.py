"""Each store finds the same rows as one who looks at all of them, and keeps what it was given."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from gateway import StartError, StoreAway, id_after, id_at
from plugins.logs.asking import FIRST
from plugins.logs.records import Body, Change, LogRow, Query, facts_of
from plugins.logs.searching import phrases
from plugins.logs.stores import Store, opened
from tests.plugins.logs.made import AT_MS, body, id_of, made

HOSTILE = ["a\0b", "\ud7ff\U0001f600", "x" * 3000, "'; DROP TABLE logs", '\\u0000"', "", "(", "%_"]
WORDS = ["apple", "pear", "plum", "naïve", "数据", "don't", "x-ray"]


class Opened:
    """A store, and a loop to use it in from a test that reads top to bottom."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.all: list[Store] = []
        self.store = self.another()

    def another(self) -> Store:
        store = opened(self.address, self.folder)
        self.all.append(store)
        self.run(store.open())
        return store

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def add(self, *rows: LogRow) -> None:
        self.run(self.store.add(rows))

    def find(self, **query: Any) -> list[LogRow]:
        found: list[LogRow] = self.run(self.store.find(Query(**query)))
        return found

    def numbers(self, **query: Any) -> list[int]:
        """Which rows those are, by the numbers that `made` gave them."""
        return [row.at_ms - AT_MS for row in self.find(**query)]


@pytest.fixture(params=["sqlite", "postgres"])
def on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    address = "sqlite"
    if request.param == "postgres":
        address = request.getfixturevalue("postgres").database()
    found = Opened(address, tmp_path)
    yield found
    for store in found.all:
        found.run(store.close())
    found.loop.close()


def test_a_row_comes_back_as_it_was(on):
    row = made(
        1,
        request=body(b'{"a":"\xff\x00"}', is_cut=True),
        response=Body(b"", "", 7),
        feedback=-1,
        score=0.25,
        metadata={"app": "x", "n": 1.5, "b": True},
        cost_nanousd=12_345_678_901,
    )
    on.add(row)
    found = on.run(on.store.get(row.id))
    assert found.arrival > 0
    assert found.document == row.document
    assert found[2:6] == row[2:6]
    (listed,) = on.find()
    assert row.request is not None
    assert listed.request == row.request._replace(data=None)
    (listed,) = on.find(bodies=True)
    assert listed.request == row.request
    assert on.run(on.store.get(id_at(0))) is None


def test_a_row_counts_once(on):
    on.add(made(1), made(2), made(1, model="other"))
    on.add(made(2), made(3))
    assert on.numbers(newest_first=False) == [1, 2, 3]
    assert on.find()[-1].document["model"] == "m"


def test_rows_of_one_instant_are_all_there(on):
    first = made(1)
    close = [
        first._replace(
            id=first.id[:9] + bytes([n]) + first.id[10:],
            entry=orjson.dumps({**first.document, "model": str(n)}),
        )
        for n in range(50)
    ]
    on.add(*close[:25])
    on.add(*close[25:], *close[:10])
    assert {row.id for row in on.find()} == {row.id for row in close}
    assert len(on.find(after=close[0].id, limit=100)) + len(on.find(before=close[0].id)) == 49
    for row in close:
        assert on.run(on.store.get(row.id)).document == row.document
        assert on.run(on.store.delete(Query(equal={"model": (row.document["model"],)}))) == 1
    assert not on.find()


def rows_of(choose: random.Random, count: int) -> list[LogRow]:
    """Make rows that have much in common."""
    found = []
    for n in range(count):
        texts = [" ".join(choose.choices(WORDS, k=choose.randrange(6))) for _ in range(2)]
        sides = [body(text.encode(), "text/plain") if text else None for text in texts]
        facts: dict[str, Any] = {
            "team": choose.choice(["red", "blue"]),
            "status": choose.choice([200, 429]),
            "duration_us": choose.randrange(100),
        }
        if choose.random() < 0.5:
            facts["cost_nanousd"] = choose.randrange(10)
            facts["metadata"] = {"app": choose.choice(["x", "y"]), "n": choose.randrange(3)}
        score = choose.choice([None, 1.0, 2.5])
        feedback = choose.choice([None, 1, -1])
        kept = {"request": sides[0], "response": sides[1]}
        found.append(made(n, **kept, feedback=feedback, score=score, **facts))
    return found


def query_of(choose: random.Random, count: int) -> Query:
    """Make a question, mostly of a few conditions."""
    given: dict[str, Any] = {"limit": choose.choice([1, 10, 1000])}
    conditions: list[tuple[str, Any]] = [
        ("text", " ".join(choose.choices([*WORDS, '"apple pear"', "none"], k=2))),
        ("text", choose.choice(WORDS)),
        ("equal", {"team": ("red",), "status": (choose.choice(["200", "500"]),)}),
        ("equal", {"metadata.app": ("x", "z"), "metadata.n": ("1", "2")}),
        ("equal", {"feedback": ("-1",), "streaming": ("false",)}),
        ("least", {"cost_nanousd": choose.randrange(10), "score": 1.5}),
        ("most", {"duration_us": choose.randrange(100)}),
        ("since_ms", AT_MS + choose.randrange(count)),
        ("until_ms", AT_MS + choose.randrange(count)),
        ("before", made(choose.randrange(count + 5)).id),
        ("after", made(choose.randrange(count + 5)).id),
        ("newest_first", False),
        ("arrived_after", 0),
    ]
    given.update(choose.sample(conditions, choose.randrange(4)))
    return Query(**given)


def is_wanted(row: LogRow, query: Query) -> bool:
    """Whether a row is one of a query's, as its definition says."""
    document = {**row.document, "feedback": row.feedback, "score": row.score}
    facts = set(facts_of(row.document))
    padded = f" {row.words} "
    return (
        query.since_ms <= row.at_ms
        and (query.until_ms is None or row.at_ms < query.until_ms)
        and (query.before is None or row.id < query.before)
        and (query.after is None or row.id > query.after)
        and all(f" {phrase} " in padded for phrase in (phrases(query.text) if query.text else ()))
        and all(
            any((name, value) in facts or str(document.get(name)) == value for value in values)
            for name, values in query.equal.items()
        )
        and all((document.get(name) or -1) >= bound for name, bound in query.least.items())
        and all(
            document.get(name) is not None and document[name] <= bound
            for name, bound in query.most.items()
        )
    )


def test_a_query_finds_what_one_finds_who_looks_at_all(on):
    choose = random.Random(7)
    rows = rows_of(choose, 120)
    late = choose.sample(rows, len(rows))
    for start in range(0, len(late), 13):
        on.add(*late[start : start + 13])
    for _ in range(150):
        query = query_of(choose, len(rows))
        wanted = [row for row in rows if is_wanted(row, query)]
        if query.arrived_after is not None:
            wanted.sort(key=late.index)
        elif query.newest_first:
            wanted.reverse()
        found = on.run(on.store.find(query))
        assert [row.id for row in found] == [row.id for row in wanted[: query.limit]], query
        assert on.run(on.store.count(query)) == len(wanted), query


def test_the_first_rows_do_not_hide_those_that_the_index_finds(on):
    rare = made(1, request=body(b"rare", "text/plain"))
    on.add(rare, *(made(n, request=body(b"common", "text/plain")) for n in range(2, FIRST + 30)))
    assert on.numbers(text="rare") == [1]
    last = FIRST + 29
    assert on.numbers(text="common", limit=3) == [last, last - 1, last - 2]
    assert len(on.numbers(text="common", limit=FIRST + 20)) == FIRST + 20


def test_who_follows_sees_what_comes_late(on):
    on.add(made(5))
    seen = on.run(on.store.newest())
    on.add(made(9))
    on.add(made(2, team="red"), made(3))
    assert on.numbers(arrived_after=seen) == [9, 2, 3]
    assert on.numbers(arrived_after=seen, equal={"team": ("red",)}) == [2]
    (last,) = on.find(arrived_after=seen, limit=1)
    assert on.numbers(arrived_after=last.arrival) == [2, 3]
    before = on.run(on.store.newest())
    on.run(on.store.delete(Query()))
    on.add(made(1))
    assert on.run(on.store.newest()) > before


def test_a_change_touches_what_it_names(on):
    on.add(made(1, metadata={"app": "x"}, request=body(b"kept", "text/plain")), made(2))
    id_ = made(1).id

    def change(text: bytes) -> LogRow:
        found: LogRow = on.run(on.store.change(id_, msgspec.json.decode(text, type=Change)))
        assert found == on.run(on.store.get(id_))
        return found

    assert change(b'{"feedback":1}').feedback == 1
    assert change(b'{"score":2}')[4:6] == (1, 2.0)
    assert change(b'{"feedback":null,"metadata":{"team":"red\\u0000"}}').feedback is None
    assert not on.find(equal={"metadata.app": ("x",)})
    assert on.numbers(equal={"metadata.team": ("red\0",)}) == [1]
    assert on.numbers(text="kept") == [1]
    assert "metadata" not in change(b'{"metadata":null}').document
    assert on.find(newest_first=True)[0].score is None  # the other one
    assert on.run(on.store.change(id_at(0), Change(feedback=1))) is None


def test_deleting_takes_the_oldest_that_match(on):
    on.add(*(made(n, team="red" if n % 2 else "blue") for n in range(10)))
    red = Query(equal={"team": ("red",)}, limit=2)
    assert on.run(on.store.delete(red)) == 2
    assert on.numbers(equal={"team": ("red",)}) == [9, 7, 5]
    assert on.run(on.store.delete(Query(since_ms=AT_MS + 6, limit=100))) == 4
    assert on.numbers() == [5, 4, 2, 0]
    assert on.run(on.store.delete(red)) == 1
    assert on.run(on.store.delete(red)) == 0


def test_the_oldest_go_by_age_and_by_size(on):
    rows = [made(n, request=body(b"x" * 10_000, "text/plain")) for n in range(20)]
    on.add(*rows)
    assert on.run(on.store.expire(id_at(AT_MS + 10), 4)) == 4
    assert on.run(on.store.expire(id_at(AT_MS + 10), 100)) == 6
    assert on.numbers(newest_first=False) == list(range(10, 20))
    assert on.run(on.store.bound_of(10_000_000)) is None
    bound = on.run(on.store.bound_of(5 * 11_500))
    on.run(on.store.expire(bound, 100))
    assert 3 <= len(on.find()) <= 5
    assert on.numbers()[0] == 19
    assert on.run(on.store.bound_of(5 * 11_500)) is None
    assert on.run(on.store.bound_of(0)) == id_after(rows[-1].id)


def test_any_text_can_be_kept_and_asked_for(on):
    on.add(
        *(
            made(
                n, model=text, metadata={text or "empty": text}, request=Body(text.encode(), "", 1)
            )
            for n, text in enumerate(HOSTILE)
        )
    )
    for n, text in enumerate(HOSTILE):
        assert on.numbers(equal={"model": (text,)}) == [n]
        assert on.numbers(equal={f"metadata.{text or 'empty'}": (text,)}) == [n]
        if any(sign.isalnum() for sign in text) and len(text) < 256:
            assert n in on.numbers(text=f'"{text}"'), text
    assert not on.numbers(text='apple" OR model')


def test_a_field_that_nobody_has_is_named(on):
    for query in (
        Query(equal={"colour": ("red",)}),
        Query(equal={"metadata.": ("red",)}),
        Query(least={"path": 1.0}),
        Query(most={"x'; --": 1.0}),
    ):
        for ask in (on.store.find, on.store.count, on.store.delete):
            with pytest.raises(ValueError, match="no such"):
                on.run(ask(query))
    with pytest.raises(ValueError, match="no word"):
        on.find(text="?!")


def test_two_who_write_at_once_lose_nothing(on):
    others = [on.store, *(on.another() for _ in range(3))]

    async def write() -> None:
        for start in range(0, 40, 10):
            await asyncio.gather(
                *(
                    store.add([made(start + n, key=str(place)) for n in range(10)])
                    for place, store in enumerate(others)
                )
            )

    on.run(write())
    assert on.numbers(newest_first=False) == list(range(40))
    arrivals = [row.arrival for row in on.find(arrived_after=0)]
    assert arrivals == sorted(set(arrivals))


def test_a_store_that_is_not_open_is_away(tmp_path):
    with pytest.raises(StoreAway):
        asyncio.run(opened("sqlite", tmp_path).find(Query()))


@pytest.mark.parametrize("address", ["", "mysql://u:password@h", "SQLITE", "file.db"])
def test_an_address_that_nobody_knows_is_named_without_its_secrets(address, tmp_path):
    with pytest.raises(StartError, match="wanted") as told:
        opened(address, tmp_path)
    assert "password" not in str(told.value)


def test_ids_of_times_stand_in_their_order():
    assert id_at(5) < made(0).id < id_at(AT_MS + 1)
    assert id_after(id_at(5)) > id_at(5)
    assert id_of(3) > id_of(2)
