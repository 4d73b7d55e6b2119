from __future__ import annotations

import msgspec
import pytest

from gateway import CallerFault, Usage
from plugins.cost.own import Model, read_field
from tests.plugins.cost.test_table import used

PER_TOKEN = b'{"per_token_in": 0.00000125, "per_token_out": 1e-05}'


def model(**keys) -> Model:
    return msgspec.convert({"model": "m", **keys}, Model)


@pytest.mark.parametrize("written", [0.1, "0.1", "0.10", "1e-1"])
def test_a_tenth_of_a_dollar_is_a_tenth(written):
    assert model(input=written).price().cost(used(3, 0)) == 300


def test_tiers_and_lanes_change_what_they_say_and_keep_the_rest():
    price = model(
        input=1,
        output=10,
        tiers=[{"above": 100, "input": 2}, {"above": 1000, "input": 3, "output": 15}],
        flex={"input": "0.5"},
    ).price()

    assert price.cost(used(100, 1)) == 100 * 1_000 + 10_000
    assert price.cost(used(101, 1)) == 101 * 2_000 + 10_000
    assert price.cost(used(1, 1, read=1000)) == 1001 * 3_000 + 15_000
    assert price.cost(used(10, 1, tier="flex")) == 10 * 500 + 10_000
    assert price.cost(used(101, 1, tier="flex")) == 101 * 2_000 + 10_000  # it names no tiers
    assert price.source == "config"


def test_a_lane_may_have_tiers_of_its_own():
    price = model(
        input=1,
        output=10,
        tiers=[{"above": 100, "input": 2}],
        batch={"input": "0.5", "output": 5, "tiers": [{"above": 100, "input": 1}]},
    ).price()

    assert price.cost(used(100, 1, tier="batch")) == 100 * 500 + 5_000
    assert price.cost(used(101, 1, tier="batch")) == 101 * 1_000 + 5_000


def test_what_is_no_token_has_its_own_unit():
    price = model(
        input=0, image="0.04", web_search=0.01, search_unit=0.002, characters=15, audio_hour=0.36
    ).price()

    assert price.cost(used(images=2)) == 80_000_000
    assert price.cost(used(web_searches=1, search_units=3)) == 16_000_000
    assert price.cost(used(input_characters=1000)) == 15_000_000
    assert price.cost(used(input_audio_ms=1000)) == 100_000


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"input": -1}, "input: wanted dollars from 0 to 1000000, given -1"),
        ({"input": "cheap"}, "input: wanted a number of dollars, given 'cheap'"),
        ({"output": "nan"}, "output: wanted dollars"),
        ({}, "model: there is no price for it"),
        ({"input": 1, "inptu": 2}, "unknown field `inptu`"),
        ({"input": 1, "tiers": [{"input": 2}]}, "above"),
        ({"input": 1, "tiers": [{"above": 0, "input": 2}]}, "above"),
        ({"input": 1, "flex": {"output": "x"}}, "output: wanted a number"),
    ],
)
def test_a_wrong_price_is_refused_with_its_key(keys, said):
    with pytest.raises((ValueError, msgspec.ValidationError), match=said):
        model(**keys)


def test_a_callers_prices_are_those_of_one_token():
    price = read_field(PER_TOKEN)
    assert price.cost(used(1000, 10, read=1)) == 1001 * 1_250 + 10 * 10_000
    assert price.source == "caller"

    cached = read_field(
        b'{"per_token_in": 3e-06, "per_token_out": 0,'
        b' "per_cache_read_token": 3e-07, "per_cache_write_token": 3.75e-06}'
    )
    assert cached.cost(used(1, 1, read=10, write=100)) == 3_000 + 10 * 300 + 100 * 3_750


def test_a_callers_total_is_the_cost_whatever_was_used():
    price = read_field(b'{"total_cost": 0.25}')
    assert price.cost(used(1, 1)) == price.cost(used(10**9, 0, images=3)) == 250_000_000
    assert price.worst(10**6, 10**6) == 250_000_000
    assert price.cost(Usage()) is None


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "needs prices of tokens"),
        (b'{"per_token": 1}', "knows no 'per_token'"),
        (b'{"per_token_in": "1"}', "per_token_in is not a number"),
        (b'{"per_token_in": true}', "per_token_in is not a number"),
        (b'{"per_token_in": null}', "per_token_in is not a number"),
        (b'{"per_token_in": -1}', "per_token_in: wanted dollars"),
        (b'{"per_token_out": 1e300}', "per_token_out: wanted dollars"),
        (b'{"total_cost": 1, "per_token_in": 1}', "or total_cost alone"),
    ],
)
def test_a_callers_field_that_cannot_be_used_is_refused_with_the_reason(written, reason):
    with pytest.raises(CallerFault) as caught:
        read_field(written)
    assert caught.value.status == 400
    assert caught.value.code == "invalid_custom_cost"
    assert reason in caught.value.message
