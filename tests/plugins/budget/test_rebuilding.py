"""What a ledger says of the present spans is what the counters begin with."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway import Usage
from plugins.budget.amounts import spent
from plugins.budget.answers import Answers
from plugins.budget.counters import Store
from plugins.budget.holds import Entries
from plugins.budget.rebuilding import Past
from plugins.budget.reserving import Desk
from plugins.budget.rules import Limit, Rule
from plugins.budget.unpriced import Tokens
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


def read(
    folder: Path, lines: list[bytes], *rules: Rule, answers: list[Answers] | None = None
) -> list[dict[Any, Any]]:
    """Put lines into a real ledger, then read them; give what each rule's counters hold.

    answers: gets those that are known to be counted.
    """
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
            if answers is not None:
                answers.append(desk.answers)
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


COUNTED: dict[str, Any] = {"unpriced": "tokens", "token_price": Tokens(input=3, output=15)}


def used(random: Random) -> dict[str, Any]:
    """What one attempt used: with or without a price, or nothing that anybody knows."""
    kind = random.choice(("priced", "free", "unpriced", "unpriced", "failed"))
    if kind == "failed":
        return {"fresh_input": None, "output_text": None}
    counts = {name: random.randrange(1000) for name in ("fresh_input", "cache_read", "output_text")}
    cost = {"priced": random.randrange(1, 10**6), "free": 0}.get(kind)
    return counts if cost is None else {**counts, "cost_nanousd": cost}


def told(facts: dict[str, Any]) -> Usage:
    usage = Usage()
    for name, value in facts.items():
        setattr(usage, name, value)
    return usage


@pytest.mark.parametrize("seed", range(3))
def test_what_a_start_counts_is_what_was_settled(seed, tmp_path):
    """Attempts with and without a price in the same hours, and in hours of their own."""
    random = Random(seed)
    spans = {"day": 6, "month": 27 * 24}
    lines = []
    settled: dict[str, list[tuple[int, Usage]]] = {}
    for n in range(200):
        hours = random.choice((0, 0, 1, 2, 3, 4, 200, 201))
        age_ms = hours * HOUR_MS + random.randrange(HOUR_MS // 2)
        team, model = random.choice("ab"), random.choice("mno")
        attempts = [used(random) for _ in range(random.choice((1, 1, 2)))]
        rows = [attempt(number, **each) for number, each in enumerate(attempts, 1)]
        rows = [{k: v for k, v in row.items() if v is not None} for row in rows]
        lines.append(closing(id_of(n, NOW_MS - age_ms), *rows, team=team, model=model))
        settled.setdefault(team, []).extend((age_ms, told(each)) for each in attempts)
    rules = [
        rule(f"{period}-{number}", limit=f"1 USD/{period}", **keys)
        for period in spans
        for number, keys in enumerate((COUNTED, {}))
    ]
    found = read(tmp_path, lines, *rules, rule("tokens", limit="1k tokens/month"))
    for counters, each in zip(found, [*rules, None], strict=True):
        limit = Limit(each or rule("tokens", limit="1k tokens/month"))
        within = spans[limit.period] * HOUR_MS
        assert counters == {
            (team,): sum(spent(limit, usage) for age, usage in usages if age < within)
            for team, usages in settled.items()
        }


def test_an_orphan_without_a_price_counts_by_the_tokens_it_may_have_used(tmp_path):
    orphan = closing(
        id_of(0, NOW_MS - HOUR_MS // 3),
        {"n": 1, "provider": "openai", "fresh_input": 100, "estimated": True},
        outcome=ORPHANED,
        team="t",
        model="unknown",
    )
    (dollars,) = read(
        tmp_path,
        [orphan],
        rule("d", limit="1k USD/day", output_default=30, **COUNTED),
    )
    assert dollars == {("t",): 100 * 3_000 + 30 * 15_000}


def test_answers_that_were_counted_are_not_counted_again(tmp_path):
    """A rule of months reads sums and no rows, and knows of them all the same."""
    lines = [
        closing(
            id_of(n, NOW_MS - 50 * HOUR_MS),
            attempt(1, response_id=f"resp_{n}"),
            path=path,
            team="t",
        )
        for n, path in enumerate(("/openai/v1/responses", "/openai/v1/chat/completions"))
    ]
    answers: list[Answers] = []
    read(tmp_path, lines, rule("r", limit="1k tokens/month"), answers=answers)
    (known,) = answers
    again = Usage()
    again.reported = True
    assert known.new_in("openai", "resp_0", again) is None
    assert known.new_in("openai", "resp_1", again) is not None
