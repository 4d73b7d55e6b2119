"""Each attempt is charged by its own model's price, and what has none is told of."""

from __future__ import annotations

import pytest

from gateway import Exchange, Usage
from gateway.testing import attempt_of, exchange
from plugins.cost.charging import charge, cost_of
from plugins.cost.own import Model
from plugins.cost.prices import Price, price_of, rates_of
from plugins.cost.table import Table

BASE = {"input": 1_000, "output": 4_000, "cache_read": 100, "cache_write": 1_250}


def used(**counts: int) -> Usage:
    usage = Usage()
    for name, count in counts.items():
        setattr(usage, name, count)
    return usage


def made(*usages: Usage | None) -> Exchange:
    found = exchange(body=b'{"model":"asked"}')
    for usage in usages:
        attempt_of(found).usage = usage
    return found


def price(**more: int) -> Price:
    found = price_of({**BASE, **more}, {}, {}, "test")
    assert found is not None
    return found


def test_each_attempt_is_charged_and_what_nobody_knows_is_told():
    known, unknown, nothing = (used(fresh_input=10) for _ in range(3))
    known.model, unknown.model = "known", "unknown"
    nothing.fresh_input = None
    table = Table((Model(model="known", input=1.0, output=2.0),), {}, None, None)
    missed: list[tuple[str, str | None, str | None]] = []

    charge(made(None, known, unknown, nothing), table, lambda *names: missed.append(names))

    assert (known.cost_nanousd, known.prices) == (10_000, "config")
    assert (unknown.cost_nanousd, unknown.prices) == (None, None)
    assert missed == [("openai", "unknown", "asked")]


def test_a_cost_is_the_sum_of_its_products_rounded_once():
    usage = used(fresh_input=3, cache_read=5, cache_write=7, output_text=11, output_reasoning=13)
    picos = 3 * 1_000 + 5 * 100 + 7 * 1_250 + 24 * 4_000
    assert cost_of(price(), usage) == (picos + 500) // 1_000
    assert cost_of(price(request=499), usage) == (picos + 999) // 1_000


@pytest.mark.parametrize("counts", [{}, {"details": {}}])
def test_what_was_not_counted_costs_nobody_knows_what(counts):
    assert cost_of(price(), used(**counts)) is None


def test_a_tier_of_long_requests_is_the_whole_requests():
    tiered = price_of(BASE, {100: {"input": 2_000}}, {}, "test")
    assert tiered is not None
    assert cost_of(tiered, used(fresh_input=60, cache_read=40, output_text=0)) == 64
    assert cost_of(tiered, used(fresh_input=61, cache_read=40, output_text=0)) == 126


def test_a_service_tier_has_its_own_price_or_the_usual_one():
    lanes = price_of(BASE, {}, {"flex": {0: {"input": 500}}}, "test")
    assert lanes is not None
    for word, expected in (("FLEX", 5), ("default", 10), (None, 10)):
        usage = used(fresh_input=10)
        usage.tier = word
        assert cost_of(lanes, usage) == expected


@pytest.mark.parametrize(
    ("tokens", "request_", "expected"), [(100, 0, 50), (101, 0, None), (100, 1, None)]
)
def test_the_sum_of_a_batch_has_no_price_that_only_some_of_its_answers_may_have(
    tokens, request_, expected
):
    tiers = {100: {"input": 2_000}}
    table = Table((), {}, None, None)
    lanes = {"batch": {0: {"input": 500}}}
    table._resolved["openai", "m", "asked"] = price_of(
        {**BASE, "request": request_}, tiers, lanes, "test"
    )
    usage = used(fresh_input=tokens, output_text=0)
    usage.model, usage.tier, usage.reported = "m", "batch", True
    missed: list[tuple[str, str | None, str | None]] = []
    charge(made(usage), table, lambda *names: missed.append(names))
    assert usage.cost_nanousd == expected
    assert len(missed) == (expected is None)


def test_what_comes_with_its_cost_keeps_it():
    usage = used(fresh_input=10, cost_nanousd=7)
    charge(made(usage), Table((Model(model="*", input=1),), {}, None, None), _fails)
    assert usage.cost_nanousd == 7


def _fails(*names: str | None) -> None:
    raise AssertionError(names)


def test_parts_of_a_counter_are_priced_apart():
    usage = used(fresh_input=10)
    usage.details = {"input_audio": 4}
    assert cost_of(price(input_audio=9_000), usage) == 6 + 36
    only_read = rates_of({"input": 1_000})
    assert only_read is not None
    assert cost_of(Price(only_read), used(fresh_input=10, output_text=1)) is None
