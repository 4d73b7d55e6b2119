"""A month of a busy gateway: its sums by day and model are there at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from plugins.ledger.stores import opened
from plugins.ledger.table import Wanted, rows
from tests.plugins.ledger.entries import AT_MS, HOUR_MS, attempt, entry, id_of
from tests.sizes import FULL, SMALL

DAYS = 30
MODELS = [f"model-{n}" for n in range(10)]
KEYS = 50
BATCH = 1_000
WITHIN_S = 1.0


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
