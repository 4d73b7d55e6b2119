"""What is held is no less than what is counted, where a request states its most."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import CallerFault, Usage
from plugins.budget.amounts import output_of, spent, worst
from plugins.budget.demand import Demand
from plugins.budget.rules import Limit, Rule
from plugins.budget.units import PICTURES
from plugins.budget.unpriced import Tokens
from plugins.cost.prices import Price, rates_of

TOKENS = Tokens(input=3, output=15)
NANOS = 10**9


def limit(**keys: Any) -> Limit:
    return Limit(Rule(**{"name": "r", "scope": "team", "limit": "1 USD/day", **keys}))


def counted(tokens: Tokens | None) -> dict[str, Any]:
    return {"unpriced": "tokens", "token_price": tokens} if tokens else {"unpriced": "allow"}


def price(output_max: int | None = None, **picos: int) -> Price:
    rates = rates_of(picos or {"input": 1_000_000, "output": 10_000_000})
    assert rates is not None
    return Price(rates, output_max=output_max)


counts = st.integers(0, 10**6)


@given(
    counts, counts, counts, st.booleans(), st.sampled_from(["1 USD/day", "1k tokens/day"]),
    st.none() | st.builds(Tokens, input=st.integers(0, 99), output=st.integers(0, 99)),
)  # fmt: skip
def test_what_is_held_covers_what_is_used(read, most, written, is_priced, amount, tokens):
    """The input was guessed rightly, and the answer kept to its most."""
    rule = limit(limit=amount, **counted(tokens))
    usage = Usage()
    usage.fresh_input, usage.output_text = read, min(written, most)
    known = price() if is_priced else None
    usage.cost_nanousd = None if known is None else known.cost(usage)
    demand = Demand("m", read, most, None)
    assert spent(rule, usage) <= worst(rule, demand, known)
    demand = Demand("m", read, None, None)
    most_of_model = limit(limit=amount, **counted(tokens), output_default="model")
    assert known is None or spent(rule, usage) <= worst(
        most_of_model, demand, price(output_max=max(most, 1))
    )


def test_a_model_without_a_price_is_refused_or_free_or_counts_by_its_tokens():
    demand = Demand("m", 1000, 100, None)
    with pytest.raises(CallerFault) as fault:
        worst(limit(), demand, None)
    assert fault.value.code == "budget_unpriced"
    assert worst(limit(unpriced="allow"), demand, None) == 0
    assert worst(limit(**counted(TOKENS)), demand, None) == 1000 * 3000 + 100 * 15_000
    usage = Usage()
    usage.fresh_input, usage.cache_read, usage.output_reasoning = 10, 5, 2
    assert spent(limit(), usage) == 0
    assert spent(limit(**counted(TOKENS)), usage) == 15 * 3000 + 2 * 15_000
    usage.cost_nanousd = 7  # a price counts where there is one
    assert spent(limit(**counted(TOKENS)), usage) == 7
    assert worst(limit(**counted(TOKENS)), demand, price()) == 1000 * 1000 + 100 * 10_000
    assert spent(limit(**counted(TOKENS)), None) == 0


@pytest.mark.parametrize(
    ("rule", "stated", "most", "output"),
    [
        ({}, 7, 50, 7),
        ({}, None, 50, 4096),
        ({"output_default": 9}, None, 50, 9),
        ({"output_default": "model"}, 7, 50, 7),
        ({"output_default": "model"}, None, 50, 50),
        ({"output_default": "model"}, None, None, 4096),
    ],
)
@pytest.mark.parametrize("answers", [1, 3])
def test_the_output_is_what_is_stated_or_the_models_most_or_the_default(
    rule, stated, most, output, answers
):
    demand = Demand("m", 0, stated, None, answers)
    wanted = output if stated is not None else output * answers
    assert output_of(limit(**rule), demand, price(output_max=most)) == wanted


def test_what_names_no_model_is_held_at_the_rules_default():
    demand = Demand(None, 5, None, None)
    assert worst(limit(), demand, None) == NANOS // 100
    assert worst(limit(cost_default=2.5), demand, None) == 2_500_000_000
    assert worst(limit(limit="1k tokens/day", output_default=3), demand, None) == 8


def test_pictures_are_held_by_the_piece():
    demand = Demand("m", 5, 0, None, 4, b"", {}, PICTURES)
    assert worst(limit(), demand, price(image=4 * 10**10)) == 4 * 40_000_000
