"""What a ledger says of the present spans is what the counters begin with."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plugins.budget.counters import Store
from plugins.budget.holds import Entries
from plugins.budget.rebuilding import Past
from plugins.budget.reserving import Desk
from plugins.budget.rules import Limit, Rule
from plugins.budget.windows import window_of, zone_of
from plugins.cost import Config as CostConfig
from plugins.cost import Plugin as CostPlugin
from plugins.cost import Prices
from plugins.cost.own import Model
from plugins.ledger import Config
from plugins.ledger.journal import Journal
from plugins.ledger.reader import Reader
from plugins.ledger.records import ORPHANED
from plugins.ledger.shipper import Shipper
from plugins.ledger.stores import opened
from tests.plugins.ledger.entries import attempt, closing, id_of

HOUR_MS = 3_600_000
# 2026-11-18T05:40:45Z, a Wednesday; in Kolkata it is 11:10.
NOW_MS = 1_794_980_445_000
PRICES = CostConfig(bundled=False, models=(Model(model="m", input=1_000, output=1_000_000),))


def rows() -> list[bytes]:
    """Give entries of many ages, each of 15 tokens and a billionth of a dollar per number."""
    ages_h = (0.001, 0.01, 0.3, 0.9, 3, 5.5, 11, 12, 23.5, 25, 70, 170, 400, 740, 9_000)
    found = []
    for n, age in enumerate(ages_h):
        id_ = id_of(n, NOW_MS - int(age * HOUR_MS))
        first = attempt(1, provider="groq", fresh_input=1, output_text=1, cost_nanousd=1)
        last = attempt(2, fresh_input=8, output_text=5, cost_nanousd=1 << n)
        found.append(
            closing(id_, first, last, team="t", metadata={"u": 7}, response_id="x", key="k" * 150)
        )
    return found


def read(folder: Path, lines: list[bytes], *rules: Rule) -> list[dict[Any, Any]]:
    """Put lines into a real ledger, then read them; give what each rule's counters hold."""
    store = Store(100, lambda: NOW_MS)
    desk = Desk(store, lambda *_: None)
    entries: Entries = tuple(
        (limit, store.tally(limit.key, partial(window_of, limit.period, window, zone_of(zone))))
        for limit, window, zone in ((Limit(each), each.window, each.zone) for each in rules)
    )

    async def story() -> None:
        journal = Journal(folder / "journal", bytes_max=1 << 30)
        shipper = Shipper(journal, opened("sqlite", folder), Config(keep=1 << 62), journal.trim)  # type: ignore[arg-type]
        reader = Reader(shipper, opened("sqlite", folder))
        for number, line in enumerate(lines):
            journal.close(id_of(number), line)
        shipper.start()
        try:
            assert await reader.recovered(20)
            async with asyncio.timeout(20):
                while (await reader.sums(())).get((), [0])[0] < len(lines):
                    await asyncio.sleep(0.02)
            where = {limit.key: ("default",) for limit, _ in entries}
            past = Past(entries, where, Prices(CostPlugin(PRICES)))
            await past.read(reader)
            past.apply(store, desk)
        finally:
            await asyncio.to_thread(shipper.stop, (), reader.close)
            journal.end()

    asyncio.run(story())
    return [
        {counter.subject: counter.spent for counter in tally.counters.values()}
        for _, tally in entries
    ]


def rule(name: str, **keys: Any) -> Rule:
    return Rule(**{"name": name, "scope": "team", "alerts": (), **keys})


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"limit": "1k tokens/minute"}, 2),
        ({"limit": "1k tokens/hour"}, 3),
        ({"limit": "1k tokens/hour", "zone": "Asia/Kolkata"}, 2),
        ({"limit": "1k tokens/hour", "window": "rolling"}, 4),
        ({"limit": "1k tokens/day"}, 6),
        # From 18:30Z on: an hour that is split.
        ({"limit": "1k tokens/day", "zone": "Asia/Kolkata"}, 7),
        ({"limit": "1k tokens/day", "window": "rolling"}, 9),
        ({"limit": "1k tokens/week"}, 10),
        ({"limit": "1k tokens/month"}, 13),
        ({"limit": "1k tokens/month", "window": "rolling"}, 13),
        ({"limit": "1k tokens/year"}, 14),
        ({"limit": "1k tokens/year", "window": "rolling"}, 14),
        ({"limit": "1k tokens/year", "scope": "metadata.u"}, 14),
        ({"limit": "1k tokens/day", "scope": ("team", "metadata.u")}, 6),
    ],
)
def test_a_span_holds_what_began_in_it(keys, count, tmp_path):
    (found,) = read(tmp_path, rows(), rule("r", **keys))
    assert list(found.values()) == [15 * count]


def test_each_dimension_is_told_apart_and_attempts_go_where_they_went(tmp_path):
    (providers, models, keys, dollars) = read(
        tmp_path,
        rows(),
        rule("p", scope=("provider",), limit="1k tokens/day"),
        rule("m", scope=("gateway", "model"), limit="1k tokens/day"),
        rule("k", scope="key", limit="1k tokens/day"),
        rule("d", scope="team", limit="1 USD/day"),
    )
    assert providers == {("groq",): 2 * 6, ("openai",): 13 * 6}
    assert models == {("default", "m"): 15 * 6}
    assert keys == {("k" * 100,): 15 * 6}
    assert dollars == {("t",): 6 + 0b111111}


@pytest.mark.parametrize("scope", ["team", "metadata.u"])
def test_an_orphan_counts_with_the_most_it_may_have_used(scope, tmp_path):
    orphans = [
        closing(
            id_of(n, NOW_MS - HOUR_MS // 3),
            {"n": 1, "provider": "openai", "fresh_input": 100, "estimated": True},
            outcome=ORPHANED,
            team="t",
            metadata={"u": "t"},
        )
        for n in range(2)
    ]
    tokens, dollars = read(
        tmp_path,
        orphans,
        rule("t", scope=scope, limit="1k tokens/day", output_default=30),
        rule("d", scope=scope, limit="1k USD/day", output_default=30),
    )
    assert tokens == {("t",): 2 * 130}
    assert dollars == {("t",): 2 * (100 * 10**6 + 30 * 10**9)}
