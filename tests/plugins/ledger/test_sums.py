"""Whole days come from the table of days and the rest from that of hours, and nobody can tell."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from plugins.ledger.records import DIMENSIONS, Entry, sums_of
from plugins.ledger.stores import opened
from plugins.ledger.sums import DAYS_TABLE, asking
from plugins.ledger.table import Wanted, rows
from tests.plugins.ledger.entries import AT_MS, HOUR_MS, attempt, entry, id_of
from tests.sizes import FULL, SMALL

DAYS = 30
MODELS = [f"model-{n}" for n in range(10)]
KEYS = 50
BATCH = 1_000
WITHIN_S = 1.0
HOURS = 4 * 24
SPANS = 60


def expected(entries: list[Entry], by: tuple[str, ...], since_ms: int, until_ms: int) -> Any:
    found: dict[tuple[Any, ...], list[int]] = {}
    for group, counts in sums_of(entries).items():
        names = dict(zip(DIMENSIONS, group, strict=True))
        names["day"] = names["hour"] // 24
        if since_ms // HOUR_MS <= names["hour"] < -(-until_ms // HOUR_MS):
            key = tuple(names[name] for name in by)
            before = found.get(key, [0] * len(counts))
            found[key] = [a + b for a, b in zip(before, counts, strict=True)]
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_sums_of_any_span_are_those_of_its_hours(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
):
    address = "sqlite"
    if kind == "postgres":
        address = request.getfixturevalue("postgres").database()
    random_ = random.Random(4)
    given = [
        entry(
            id_of(n, AT_MS + random_.randrange(HOURS * HOUR_MS)),
            attempt(cost_nanousd=n),
            model=random_.choice("ab"),
            user=random_.choice("xy"),
        )
        for n in range(1_000)
    ]

    async def story() -> None:
        store = opened(address, tmp_path)
        await store.open()
        for start in range(0, len(given), 50):
            await store.add(given[start : start + 50], "j", start + 1)
        for _ in range(SPANS):
            by = random_.choice([(), ("day",), ("user", "day"), ("model",), ("hour", "model")])
            since, until = sorted(random_.randrange(-30, HOURS + 30) for _ in range(2))
            span = AT_MS + since * HOUR_MS, AT_MS + until * HOUR_MS + random_.randrange(2)
            found = await store.sums(by, since_ms=span[0], until_ms=span[1])
            assert {group: list(counts) for group, counts in found.items()} == expected(
                given, by, *span
            ), (by, since, until)
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("by", "first", "last", "tables"),
    [
        ((), 0, 48, ["days"]),
        (("day", "model"), 1, 73, ["rollups", "days", "rollups"]),
        (("model",), 24, 50, ["days", "rollups"]),
        (("model",), 5, 30, ["rollups"]),
        (("hour",), 0, 48, ["rollups"]),
    ],
)
def test_whole_days_come_from_their_table(by, first, last, tables):
    texts = [text for text, _ in asking(by, first, last, lambda n: f"?{n}")]
    assert [text.partition(" FROM ")[2].partition(" ")[0] for text in texts] == tables
    assert ("days" in tables) == any(DAYS_TABLE in text for text in texts)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_sums_by_day_and_model_are_there_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
):
    count = (FULL if request.config.getoption("--battery") else SMALL).rows
    address = "sqlite"
    if kind == "postgres":
        address = request.getfixturevalue("postgres").database()
    random_ = random.Random(count)
    spent: Counter[tuple[int, str]] = Counter()

    async def story() -> tuple[float, dict[tuple[str, str], int]]:
        store = opened(address, tmp_path)
        await store.open()
        step_ms = DAYS * 24 * HOUR_MS // count
        for first in range(0, count, BATCH):
            batch = []
            for n in range(first, min(first + BATCH, count)):
                model, cost = random_.choice(MODELS), random_.randrange(10**6)
                at_ms = AT_MS + n * step_ms
                key = f"key-{random_.randrange(KEYS)}"
                used = attempt(cost_nanousd=cost)
                batch.append(entry(id_of(n, at_ms), used, model=model, key=key, team=key[-1]))
                spent[at_ms // (24 * HOUR_MS), model] += cost
            await store.add(batch, "j", first + 1)
        want = Wanted(("model",), "day", 0, None)
        took = []
        found = []
        for _ in range(3):
            began = time.perf_counter()
            found = await rows(store, want)
            took.append(time.perf_counter() - began)
        await store.close()
        return min(took), {(row["time"], row["model"]): row["cost_nanousd"] for row in found}

    best_s, found = asyncio.run(story())
    with capsys.disabled():
        print(f"\n{kind}: {count} rows, by day and model in {best_s:.3f} s")
    assert sorted(found.values()) == sorted(spent.values())
    assert len(found) == len(spent)
    assert best_s < WITHIN_S
