from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway import Usage
from plugins.cost.prices import (
    TOKENS,
    UNITS,
    Price,
    decimal_of,
    lane_of,
    picos,
    rates_of,
)

COUNTERS = ("fresh_input", "cache_read", "cache_write", "output_text", "output_reasoning")
PARTS = (
    "cache_write_1h",
    "cache_write_12h",
    "input_audio",
    "cache_read_audio",
    "input_image",
    "output_audio",
    "output_image",
)

tokens = st.none() | st.integers(0, 2_000_000)
# A part is dearer than the whole that it is a part of: so do monotone costs make sense.
amounts = st.integers(0, 10**8)


def priced(known: dict[str, int], **more) -> Price:
    rates = rates_of(known)
    assert rates is not None
    return Price(rates, **more)


@st.composite
def prices(draw) -> Price:
    known = {name: draw(amounts) for name in ("input", "output", "cache_read", "cache_write")}
    known |= {name: draw(amounts) for name in ("reasoning", "request")}
    dearer = rates_of({name: value + 1 for name, value in known.items()})
    assert dearer is not None
    return priced(known, tiers=((draw(st.integers(1, 10**6)), dearer),))


@st.composite
def usages(draw) -> Usage:
    usage = Usage()
    for name in COUNTERS:
        setattr(usage, name, draw(tokens))
    return usage


@given(prices(), usages(), st.sampled_from(COUNTERS), st.integers(1, 10**6))
def test_a_cost_never_falls_when_a_counter_rises(price, usage, name, more):
    before = price.cost(usage) or 0
    setattr(usage, name, (getattr(usage, name) or 0) + more)
    assert price.cost(usage) >= before


@given(prices(), usages())
def test_a_cost_is_the_sum_over_its_disjoint_counters(price, usage):
    flat = Price(price.rates)
    parts = []
    for name in COUNTERS:
        alone = Usage()
        setattr(alone, name, getattr(usage, name))
        parts.append(flat.cost(alone))
    known = [cost for cost in parts if cost is not None]
    whole = flat.cost(usage)

    assert (whole is None) == (not known)
    if whole is not None:
        request = price.rates.request * (len(known) - 1) / 1000
        assert abs(sum(known) - request - whole) <= len(known)  # each was rounded once


@given(
    st.fixed_dictionaries(dict.fromkeys(TOKENS, amounts)),
    usages(),
    st.fixed_dictionaries({name: st.integers(0, 2_000_000) for name in PARTS}),
)
def test_no_token_is_priced_twice_or_left_out_whatever_its_parts_say(known, usage, parts):
    """Where all kinds of token cost the same, parts change nothing."""
    assume(usage.input or usage.output)
    same = priced(dict.fromkeys(known, 7000))
    plain = same.cost(usage)
    usage.details = {name: count for name, count in parts.items() if count} or None
    assert plain is None or same.cost(usage) == plain

    cost = priced(known).cost(usage)
    most = max(known.values()) * sum(getattr(usage, name) or 0 for name in COUNTERS)
    assert cost is None or 0 <= cost <= most // 1000 + 1


@given(prices(), usages())
def test_the_worst_is_no_less_than_what_a_request_of_text_costs(price, usage):
    cost = price.cost(usage)
    assert cost is None or cost <= price.worst(usage.input or 0, usage.output or 0)


@pytest.mark.parametrize(
    ("fresh", "cost"), [(0, 0), (1, 0), (4, 0), (5, 1), (14, 1), (15, 2), (10**12, 10**11)]
)
def test_half_a_nano_dollar_is_one(fresh, cost):
    usage = Usage()
    usage.fresh_input = fresh
    assert priced({"input": 100}).cost(usage) == cost
    assert priced({"input": 100, "output": 1}).cost(usage) == cost


def test_nothing_counted_costs_nobody_knows_what():
    assert priced({"input": 1, "request": 10**9}).cost(Usage()) is None


@pytest.mark.parametrize(
    ("known", "counters", "details"),
    [
        ({"input": 1000}, {"fresh_input": 1, "output_text": 1}, None),
        ({"output": 1000}, {"fresh_input": 1, "output_text": 1}, None),
        ({"input": 1000, "output": 1000}, {}, {"images": 1}),
        ({"audio_hour": 1000}, {}, {"images": 1}),
        ({"audio_hour": 1000}, {"fresh_input": 1, "output_text": 1}, None),
    ],
)
def test_what_has_no_price_costs_null_and_not_0(known, counters, details):
    usage = Usage()
    for name, count in counters.items():
        setattr(usage, name, count)
    usage.details = details
    assert priced(known).cost(usage) is None


def test_what_is_priced_by_the_piece_has_free_tokens():
    usage = Usage()
    usage.fresh_input = usage.output_text = 100
    usage.details = {"input_audio_ms": 1800}
    assert priced({"audio_hour": 36 * 10**10}).cost(usage) == 180_000
    assert priced({"request": 5_000_000}).cost(usage) == 5_000


def test_a_count_without_a_price_is_left_out_beside_tokens_that_have_one():
    usage = Usage()
    usage.fresh_input, usage.details = 10, {"web_searches": 2, "classifications": 3}
    assert priced({"input": 1_000_000}).cost(usage) == 10_000


def test_sound_and_pictures_cost_what_text_does_where_nothing_else_is_said():
    rates = rates_of({"input": 10, "output": 30, "cache_read": 5})
    assert rates is not None
    assert (rates.input_audio, rates.cache_read_audio, rates.output_audio) == (10, 5, 30)
    assert (rates.input_image, rates.cache_read_image, rates.output_image) == (10, 5, 30)
    assert (rates.cache_write, rates.cache_write_1h, rates.reasoning) == (10, 10, 30)


def test_pictures_alone_price_output_that_nobody_takes_apart():
    rates = rates_of({"input": 5, "output_image": 40})
    assert rates is not None
    assert rates.output == 40


def test_what_cannot_have_been_fresh_was_cached():
    """1000 tokens of sound and 300 fresh tokens in all: 700 came from the cache."""
    usage = Usage()
    usage.fresh_input, usage.cache_read = 300, 900
    usage.details = {"input_audio": 1000}
    price = priced({"input": 1, "input_audio": 10**6, "cache_read_audio": 10**5})
    assert price.cost(usage) == (300 * 10**6 + 700 * 10**5 + 200 * 1 + 500) // 1000


@pytest.mark.parametrize(
    ("tier", "lane"),
    [
        ("flex", "flex"),
        ("ON_DEMAND_PRIORITY", "priority"),
        ("batch", "batch"),
        ("default", ""),
        ("standard", ""),
        ("ON_DEMAND", ""),
        ("scale", ""),
    ],
)
def test_a_providers_word_for_a_tier_names_our_lane(tier, lane):
    assert lane_of(tier) == lane


def test_a_lane_that_the_table_has_not_costs_as_usual():
    usage = Usage()
    usage.fresh_input, usage.tier = 1000, "flex"
    usual = {"input": 10_000}
    assert priced(usual).cost(usage) == 10_000
    assert priced(usual, lanes={"flex": priced({"input": 5_000})}).cost(usage) == 5_000
    assert priced(usual, lanes={"flex": priced({"input": 5_000})}).worst(10, 0) == 100
    assert priced(usual, lanes={"flex": priced({"input": 5_000})}).worst(10, 0, "flex") == 50


def test_dollars_are_read_as_they_are_written():
    assert picos(decimal_of(0.1), 10**6) == 100_000
    assert picos(decimal_of("0.0028"), 10**6) == 2_800
    assert picos(decimal_of(1.25e-07)) == 125_000
    assert picos(Decimal("0.111")) == 111 * 10**9


@pytest.mark.parametrize("written", ["-1", "nan", "inf", "1e9", "a lot", ""])
def test_dollars_that_are_none_are_refused(written):
    with pytest.raises(ValueError, match="wanted"):
        picos(decimal_of(written))


def test_a_table_that_says_nothing_makes_no_price():
    assert rates_of({}) is None
    assert set(UNITS) & set(TOKENS) == set()
