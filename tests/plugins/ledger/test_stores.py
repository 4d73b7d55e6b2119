"""Each store takes an entry once, and its sums with it, whatever is tried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import StartError, StoreAway, id_at
from plugins.ledger.records import COUNTERS, DIMENSIONS, SUMS, Entry, sums_of
from plugins.ledger.sqlite import SqliteStore
from plugins.ledger.stores import Store, hours, opened
from tests.plugins.ledger.entries import AT_MS, HOUR_MS, attempt, entry, id_of

MANY = 2_500  # more than a page, and more than SQLite's variables
HOSTILE = ["a\0b", "\ud7ff\U0001f600", "x" * 300, "'; DROP TABLE entries", '\\u0000"', ""]


class Opened:
    """A store, and a loop to use it in from a test that reads top to bottom."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self.make = make
        self.loop = asyncio.new_event_loop()
        self.all: list[Store] = []
        self.store = self.another()

    def another(self) -> Store:
        store = self.make()
        self.all.append(store)
        self.run(store.open())
        return store

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def add(self, *entries: Entry, journal: str | None = None, offset: int = 0) -> None:
        self.run(self.store.add(entries, journal, offset))

    def entries(self, **span: int) -> list[Entry]:
        async def walk() -> list[Entry]:
            return [found async for found in self.store.entries(**span)]

        found: list[Entry] = self.run(walk())
        return found

    def sums(self, by: tuple[str, ...] = DIMENSIONS, **span: int) -> dict[Any, list[int]]:
        return {
            group: list(counts) for group, counts in self.run(self.store.sums(by, **span)).items()
        }

    def progress(self, *journals: str) -> dict[str, int]:
        found: dict[str, int] = self.run(self.store.progress(journals))
        return found

    def close(self) -> None:
        for store in self.all:
            self.run(store.close())
        self.loop.close()


@pytest.fixture(params=["sqlite", "postgres"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    address = "sqlite"
    if request.param == "postgres":
        address = request.getfixturevalue("postgres").database()
    found = Opened(lambda: opened(address, tmp_path))
    yield found
    found.close()


def numbered(count: int, *, hours: int = 3, **facts: Any) -> list[Entry]:
    return [
        entry(
            id_of(n, AT_MS + n % hours * HOUR_MS), attempt(cost_nanousd=n), key=f"k{n % 7}", **facts
        )
        for n in range(count)
    ]


def documents(entries: list[Entry]) -> list[dict[str, Any]]:
    return [found.document for found in entries]


def expected(entries: list[Entry]) -> dict[Any, list[int]]:
    return dict(sums_of(entries))


def test_what_was_added_is_there_in_the_order_of_time(made):
    given = numbered(MANY)
    random.Random(1).shuffle(given)
    made.add(*given)
    found = made.entries()
    assert documents(found) == documents(sorted(given))
    assert made.sums() == expected(given)


def test_an_entry_counts_once(made):
    given = numbered(20)
    made.add(*given[:12])
    made.add(*given[5:], *given[5:])
    made.add(*given)
    assert documents(made.entries()) == documents(sorted(given))
    assert made.sums() == expected(given)


def test_an_entry_that_is_there_is_left_as_it_is(made):
    first, second = (entry(id_of(1), outcome=word) for word in ("complete", "orphaned"))
    made.add(first)
    made.add(second)
    assert documents(made.entries()) == [first.document]
    assert made.sums() == expected([first])


def test_progress_is_taken_with_the_entries_and_once(made):
    given = numbered(3)
    made.add(given[0], journal="j", offset=100)
    assert made.progress("j", "other") == {"j": 100}
    made.add(given[1], journal="j", offset=100)  # sent again after its answer was lost
    made.add(given[1], journal="j", offset=50)
    assert documents(made.entries()) == [given[0].document]
    made.add(given[1], given[2], journal="j", offset=200)
    assert documents(made.entries()) == documents(given)
    assert made.progress("j") == {"j": 200}

    made.run(made.store.forget(["j", "unknown"]))
    assert made.progress("j") == {}


def test_two_processes_add_side_by_side(made):
    given = numbered(400)
    others = [made.store, made.another(), made.another()]

    async def add_all(store: Store, seed: int) -> None:
        order = given.copy()
        random.Random(seed).shuffle(order)
        for start in range(0, len(order), 40):
            await store.add(order[start : start + 40], f"j{seed}", start + 40)

    async def all_of_them() -> None:
        await asyncio.gather(*(add_all(store, seed) for seed, store in enumerate(others)))

    made.run(all_of_them())
    assert documents(made.entries()) == documents(sorted(given))
    assert made.sums() == expected(given)


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_caller_names_is_stored(made, text):
    made.add(
        entry(id_of(1), attempt(finish_reason=text), model=text, user=text, metadata={"a": text})
    )
    (found,) = made.entries()
    assert found.document["metadata"]["a"] in (
        text,
        text.replace("\0", "\N{REPLACEMENT CHARACTER}"),
    )
    ((group, _),) = made.sums(("model",)).items()
    assert (
        group[0] == text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:100] or group[0] == text[:100]
    )


def test_names_of_any_length_are_summed(made):
    wide = "".join(random.Random(2).choices([chr(c) for c in range(0x4E00, 0x9000)], k=5_000))
    names = dict.fromkeys(("gateway", "key", "team", "user", "provider", "model", "outcome"), wide)
    made.add(entry(id_of(1), attempt(provider=wide), **names))
    assert len(made.sums()) == 1


def test_sums_can_be_asked_by_any_dimension_and_span(made):
    given = [
        *numbered(60, team="a"),
        *[entry(id_of(1_000 + n), attempt(2), team="b") for n in range(5)],
    ]
    made.add(*given)
    by = made.sums(("team", "hour"))
    assert by.keys() == {("a", AT_MS // HOUR_MS + n) for n in range(3)} | {("b", AT_MS // HOUR_MS)}
    assert by["b", AT_MS // HOUR_MS][0] == 5
    (everything,) = made.sums(()).values()
    assert everything[SUMS.index("requests")] == 65
    assert everything[SUMS.index("cost_nanousd")] == sum(range(60))
    some = made.sums(("team",), since_ms=AT_MS + HOUR_MS, until_ms=AT_MS + 2 * HOUR_MS)
    assert some[("a",)][0] == 20
    assert made.sums((), since_ms=AT_MS + 10 * HOUR_MS) == {}


def test_a_span_of_entries_is_half_open(made):
    given = [entry(id_of(n, AT_MS + n)) for n in range(5)]
    made.add(*given)
    found = made.entries(since_ms=AT_MS + 1, until_ms=AT_MS + 3)
    assert documents(found) == documents(given[1:3])


def test_some_ids_are_there(made):
    given = numbered(700)
    made.add(*given[:600])
    ids = [found.id for found in given]
    assert made.run(made.store.has(ids)) == set(ids[:600])


@pytest.mark.parametrize("poll_first", [False, True])
def test_an_answer_that_is_asked_for_again_is_billed_once(made, poll_first):
    asked = entry(id_of(1), attempt(response_id="r", cost_nanousd=5), path="/openai/v1/responses")
    polls = [
        entry(id_of(n), attempt(response_id="r", cost_nanousd=5, reported=True)) for n in (2, 3)
    ]
    other = entry(id_of(4), attempt(response_id="other", cost_nanousd=5, reported=True))
    for found in [*polls, asked, other] if poll_first else [asked, *polls, other]:
        made.add(found)
        made.add(found)
    (counts,) = made.sums(()).values()
    known = dict(zip(SUMS, counts, strict=True))
    assert (known["requests"], known["cost_nanousd"], known["fresh_input"]) == (4, 10, 20)
    first = polls[0] if poll_first else asked
    duplicates = [found.document["attempts"][0].get("duplicate_of") for found in made.entries()]
    others = [
        None if n == first.document["id"] else first.document["id"] for n in map(id_of, (1, 2, 3))
    ]
    assert duplicates == [*others, None]


def test_an_answer_in_the_background_is_billed_by_the_first_who_says_its_counts(made):
    """Its queueing and the looks at it while it is under way only name it."""
    silent: dict[str, Any] = {"fresh_input": None, "output_text": None, "response_id": "r"}
    queued = entry(id_of(1), attempt(**silent), path="/openai/v1/responses")
    under_way = entry(id_of(2), attempt(**silent, reported=True))
    over = [entry(id_of(n), attempt(response_id="r", reported=True)) for n in (3, 4)]
    for found in (queued, under_way, *over):
        made.add(found)
    (counts,) = made.sums(()).values()
    known = dict(zip(SUMS, counts, strict=True))
    assert (known["requests"], known["fresh_input"], known["output_text"]) == (4, 10, 5)


GUESS = {"fresh_input": 12, "output_text": 30, "cost_nanousd": 42, "estimated": True}
REAL: dict[str, Any] = {
    "fresh_input": 4, "cache_read": 6, "output_text": 9, "output_reasoning": 2,
    "cost_nanousd": 35, "prices": "p 1", "details": {"input_image": 3}, "answered_model": "m-1",
}  # fmt: skip
FIRST_ASKED = {"path": "/openai/v1/responses"}


def told(made: Opened) -> dict[str, int]:
    (counts,) = made.sums(()).values()
    return dict(zip(SUMS, counts, strict=True))


@pytest.mark.parametrize("in_one", [False, True])
def test_the_count_that_a_provider_tells_later_takes_the_place_of_a_guess(made, in_one):
    asked = entry(id_of(1), attempt(response_id="r", **GUESS), estimated=True, **FIRST_ASKED)
    polls = [entry(id_of(n), attempt(response_id="r", reported=True, **REAL)) for n in (2, 3)]
    other = entry(id_of(4), attempt(response_id="r2", **GUESS), **FIRST_ASKED)
    if in_one:
        made.add(asked, *polls, other)
    for found in (asked, *polls, other):
        made.add(found)
    sums = told(made)
    assert {name: sums[name] for name in ("requests", "attempts", "estimated", "unpriced")} == {
        "requests": 4, "attempts": 4, "estimated": 2, "unpriced": 0,
    }  # fmt: skip
    assert [sums[name] for name in COUNTERS] == [4 + 12, 6, 0, 9 + 30, 2]
    assert sums["cost_nanousd"] == 35 + 42
    guess, real, again, _ = made.entries()
    assert guess.document == asked.document
    assert real.document["attempts"] == [
        {"n": 1, "provider": "openai", "fresh_input": -8, "cache_read": 6, "output_text": -21,
         "output_reasoning": 2, "cost_nanousd": -7, "prices": "p 1", "details": {"input_image": 3},
         "answered_model": "m-1", "response_id": "r", "reported": True, "corrects": id_of(1)}
    ]  # fmt: skip
    assert (real.document["fresh_input"], real.document["cost_nanousd"]) == (-8, -7)
    assert again.document["attempts"][0]["duplicate_of"] == id_of(2)
    assert made.sums() == expected(made.entries())


def test_a_guess_that_comes_behind_the_count_is_left_out(made):
    made.add(entry(id_of(2), attempt(response_id="r", reported=True, **REAL)))
    made.add(entry(id_of(1), attempt(response_id="r", **GUESS), **FIRST_ASKED))
    sums = told(made)
    assert [sums[name] for name in COUNTERS] == [4, 6, 0, 9, 2]
    assert (sums["cost_nanousd"], sums["estimated"]) == (35, 0)


def test_what_was_billed_without_a_price_gets_it_later(made):
    """A batch names no model, its results do."""
    for n, cost in ((1, None), (2, 50), (3, 50)):
        made.add(entry(id_of(n), attempt(response_id="file", reported=True, cost_nanousd=cost)))
    sums = told(made)
    assert (sums["cost_nanousd"], sums["fresh_input"], sums["output_text"]) == (50, 10, 5)
    assert [found.document["attempts"][0].get("corrects") for found in made.entries()] == [
        None, id_of(1), None,
    ]  # fmt: skip


def test_a_guess_is_corrected_once_whoever_tells_it(made):
    others = [made.store, *(made.another() for _ in range(3))]
    for n in range(0, 100, 10):
        made.add(entry(id_of(n), attempt(response_id=f"r{n}", **GUESS), **FIRST_ASKED))

        async def poll_all(n: int = n) -> None:
            polls = [attempt(response_id=f"r{n}", reported=True, **REAL) for _ in others]
            found = [entry(id_of(n + at), poll) for at, poll in enumerate(polls, 1)]
            await asyncio.gather(
                *(store.add([one], None, 0) for store, one in zip(others, found, strict=True))
            )

        made.run(poll_all())
    assert told(made)["cost_nanousd"] == 350
    assert told(made)["output_text"] == 90


def test_where_the_guess_is_no_longer_there_it_stands(made):
    made.add(entry(id_of(1, AT_MS), attempt(response_id="r", **GUESS), **FIRST_ASKED))
    assert made.run(made.store.expire(id_at(AT_MS + 1), 1)) == 1  # and its bill is left for now
    made.add(entry(id_of(2), attempt(response_id="r", reported=True, **REAL)))
    assert told(made)["cost_nanousd"] == 42
    (found,) = made.entries()
    assert found.document["attempts"][0]["duplicate_of"] == id_of(1)


def test_two_answers_with_one_id_that_nobody_asked_for_again_both_count(made):
    for n in (1, 2):
        made.add(entry(id_of(n), attempt(response_id="r"), path="/openai/v1/responses"))
    (counts,) = made.sums(()).values()
    assert counts[SUMS.index("fresh_input")] == 20


def test_the_oldest_go_first_and_their_sums_stay(made):
    given = [
        entry(id_of(n, AT_MS + n), attempt(response_id=f"r{n}", reported=True)) for n in range(100)
    ]
    made.add(*given)
    before = made.sums()
    bound = id_at(AT_MS + 60)
    assert made.run(made.store.expire(bound, 40)) == 40
    assert documents(made.entries()) == documents(given[40:])
    assert made.run(made.store.expire(bound, 40)) == 20
    assert made.run(made.store.expire(bound, 40)) == 0
    assert documents(made.entries()) == documents(given[60:])
    assert made.sums() == before


def test_a_bound_on_size_lets_the_oldest_go_and_no_more_than_needed(made):
    given = [entry(id_of(n, AT_MS + n), pad="x" * 1_000) for n in range(2_000)]
    made.add(*given)
    assert made.run(made.store.bound_of(1 << 30)) is None
    bound = made.run(made.store.bound_of(1_000_000))
    while made.run(made.store.expire(bound, 500)) == 500:
        pass
    left = len(made.entries())
    assert 500 <= left <= 1_200
    again = made.run(made.store.bound_of(1_500_000))
    assert again is None or made.run(made.store.expire(again, 5_000)) == 0


def test_a_store_is_opened_again_and_keeps_what_it_has(made):
    made.add(*numbered(5))
    made.run(made.store.close())
    made.run(made.store.open())
    assert len(made.entries()) == 5


def test_a_store_that_a_newer_gateway_made_says_so(made):
    if isinstance(made.store, SqliteStore):
        made.store.db.execute("PRAGMA user_version = 99")
    else:
        made.run(_execute(made.store, "INSERT INTO ledger_schema VALUES (99)"))
    with pytest.raises(StoreAway, match="newer"):
        made.another()


def test_a_look_at_a_store_changes_nothing_and_finds_it_usable(made, tmp_path):
    made.add(*numbered(3))
    made.run(made.make().check())
    assert len(made.entries()) == 3
    fresh = opened("sqlite", tmp_path / "later")
    made.run(fresh.check())
    assert not (tmp_path / "later").exists()


def test_a_look_at_a_store_of_a_newer_gateway_says_so(made):
    if isinstance(made.store, SqliteStore):
        made.store.db.execute("PRAGMA user_version = 99")
    else:
        made.run(_execute(made.store, "INSERT INTO ledger_schema VALUES (99)"))
    with pytest.raises(StoreAway, match="newer"):
        made.run(made.make().check())


async def _execute(store: Any, text: str) -> None:
    async with store.connected() as db:
        await db.execute(text)


def test_the_views_show_what_the_entries_say(made):
    made.add(
        entry(id_of(1), attempt(), attempt(2, status=200), key="k", fresh_input=20, status=200)
    )
    text = "SELECT key, attempts, fresh_input, estimated, status FROM exchanges"
    more = "SELECT n, fresh_input, status FROM attempts ORDER BY n"
    if isinstance(made.store, SqliteStore):
        rows, others = (made.store.db.execute(one).fetchall() for one in (text, more))
    else:
        rows, others = made.run(_fetch(made.store, text)), made.run(_fetch(made.store, more))
    assert [tuple(row) for row in rows] == [("k", 2, 20, 0, 200)]
    assert [tuple(row) for row in others] == [(1, 10, None), (2, 10, 200)]


async def _fetch(store: Any, text: str) -> list[Any]:
    async with store.connected() as db:
        return list(await db.fetch(text))


def test_an_address_that_names_no_store_stops_the_start_and_is_not_told(tmp_path):
    with pytest.raises(StartError) as fault:
        opened("mysql://me:secret@host/db", tmp_path)
    assert "secret" not in str(fault.value)
    assert "mysql" in str(fault.value)


def test_spans_are_of_whole_hours():
    assert hours(HOUR_MS, 2 * HOUR_MS) == (1, 2)
    assert hours(HOUR_MS + 1, 2 * HOUR_MS + 1) == (1, 3)
    assert hours(0, None)[0] == 0
