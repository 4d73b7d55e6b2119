"""Tokens of models without a price count as what the rule says, exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Usage
from plugins.budget.unpriced import TokenPrice, Tokens

thousandths = st.integers(0, 10**9).map(lambda n: n / 1000)


def test_a_million_tokens_cost_what_is_written():
    price = TokenPrice(Tokens(input=3, output=15.001))
    assert price.worst(10**6, 0) == 3 * 10**9
    assert price.worst(0, 10**6) == 15_001_000_000


def test_a_price_that_is_no_whole_number_for_one_token_is_refused():
    with pytest.raises(ValueError, match="output: wanted whole thousandths"):
        Tokens(input=1, output=0.0001)


def used(*counts: int | None) -> Usage:
    usage = Usage()
    usage.fresh_input, usage.cache_read, usage.cache_write = counts[:3]
    usage.output_text, usage.output_reasoning = counts[3:]
    return usage


@given(
    thousandths,
    thousandths,
    st.lists(st.tuples(*(st.none() | st.integers(0, 10**7) for _ in range(5))), max_size=20),
)
def test_the_sum_of_costs_is_the_cost_of_the_sum(read, written, counts):
    price = TokenPrice(Tokens(input=read, output=written))
    whole = Usage()
    for each in counts:
        whole.add(used(*each))
    assert sum(price.cost(used(*each)) for each in counts) == price.cost(whole)
