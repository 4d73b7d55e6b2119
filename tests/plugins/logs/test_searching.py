"""Words are the same however they are written, and facts are words too."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from plugins.logs.records import Body, LogRow, Query
from plugins.logs.searching import asked_facts, asked_numbers, phrases, token, tokens, words
from plugins.logs.stores import Store, opened
from tests.plugins.logs.made import made
from tests.sizes import FULL, SMALL

BATCH = 2_000
WITHIN_S = 1.0
RARE_EVERY = 100_000


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Hello,  World!\n", "hello world"),
        ("snake_case x-ray don't", "snake case x ray don t"),
        ("Ünïcode NAÏVE", "ünïcode naïve"),
        ("cafe\u0301", "café"),
        ("我爱数据base", "我 爱 数 据 base"),
        ("カタカナ 한국어", "カ タ カ ナ 한국어"),
        ("a\0b\x7fc", "a b c"),
        ("x" * 257 + " y", "y"),
        ("", ""),
    ],
)
def test_words_have_one_form(text, wanted):
    assert words(text) == wanted
    assert words(wanted) == wanted


def test_a_search_is_of_words_and_phrases():
    assert phrases('Big "Red  Apple" x-ray') == ["big", "red apple", "x ray"]
    assert phrases('un"closed one') == ["un", "closed", "one"]
    for nothing in ("", '""', "!? -"):
        with pytest.raises(ValueError, match="no word"):
            phrases(nothing)


def test_a_fact_has_one_word_and_no_other_fact_has_it():
    assert token("team", "red") == token("team", "red")
    assert len({token("team", "red"), token("user", "red"), token("team", "blue")}) == 3
    document = {"team": "red", "metadata": {"app": "x"}, "duration_us": 7}
    assert token("team", "red") in tokens(document).split()
    assert token("metadata.app", "x") in tokens(document).split()
    assert token("duration_us", "7") not in tokens(document).split()


def test_a_query_is_told_apart_into_facts_and_numbers():
    query = Query(equal={"team": ("a", "b"), "score": ("1", "2.5")}, least={"status": 400.0})
    assert asked_facts(query) == [[token("team", "a"), token("team", "b")]]
    assert asked_numbers(query) == [("score", "=", [1.0, 2.5]), ("status", ">=", [400.0])]


def rows_of(count: int) -> Iterator[list[LogRow]]:
    """Make so many rows, some at a time: thirty words each, and a few particular ones."""
    choose = random.Random(count)
    many = [f"word{n}" for n in range(5_000)]
    for start in range(0, count, BATCH):
        batch = []
        for n in range(start, min(start + BATCH, count)):
            said = ["everywhere", *choose.choices(many, k=30)]
            if n < count // 2:
                said.append("formerly")
            if n % RARE_EVERY == 7:
                said.append("seldom")
            facts: dict[str, Any] = {
                "user": f"user-{choose.randrange(5_000)}",
                "team": f"team-{choose.randrange(20)}",
                "cost_nanousd": choose.randrange(10**6),
                "metadata": {"app": f"app-{choose.randrange(10)}"},
            }
            row = made(n, **facts)
            request = Body(orjson.dumps({"prompt": " ".join(said)}), "application/json", 300)
            batch.append(row._replace(request=request, words=" ".join(said)))
        yield batch


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_search_among_many_is_quick(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
):
    count = (FULL if request.config.getoption("--battery") else SMALL).searched_rows
    address = "sqlite"
    if kind == "postgres":
        address = request.getfixturevalue("postgres").database()
    rare = -(-(count - 7) // RARE_EVERY)
    asked = {
        "a word of all rows": (Query(text="everywhere"), 50),
        "a word of none": (Query(text="nowhere"), 0),
        "a rare word": (Query(text="seldom"), rare),
        "a word of old rows": (Query(text="formerly"), 50),
        "a usual word": (Query(text="word7"), min(50, count // 1000)),
        "a phrase": (Query(text='"everywhere word7"'), 0),
        "a word and a fact": (Query(text="everywhere", equal={"team": ("team-3",)}), 50),
        "an old word and a user": (Query(text="formerly", equal={"user": ("user-17",)}), 0),
        "metadata": (Query(equal={"metadata.app": ("app-1",)}), 50),
        "a word, oldest first": (Query(text="everywhere", newest_first=False), 50),
        "no word": (Query(), 50),
    }

    async def story() -> dict[str, tuple[float, int]]:
        store: Store = opened(address, tmp_path)
        await store.open()
        for batch in rows_of(count):
            await store.add(batch)
        found = {}
        for name, (query, _) in asked.items():
            began = time.perf_counter()
            rows = await store.find(query)
            found[name] = (time.perf_counter() - began, len(rows))
        await store.close()
        return found

    found = asyncio.run(story())
    with capsys.disabled():
        print(f"\n{kind}, {count} rows:")
        for name, (seconds, number) in found.items():
            print(f"  {name:24} {seconds * 1000:8.1f} ms {number:4} rows")
    for name, (_, least) in asked.items():
        assert found[name][1] >= least, name
    assert found["a word of none"][1] == 0
    assert found["a rare word"][1] == rare
    if kind == "postgres":  # reads every row of such a word, to know which are the newest
        del found["a word of old rows"]
    assert max(seconds for seconds, _ in found.values()) < WITHIN_S
