"""What a request comes to under a rule, in its unit: at the worst before, and in the end."""

from __future__ import annotations

from gateway import Usage

from .demand import Demand
from .holds import Price
from .refusing import unpriced
from .rules import Limit


def output_of(limit: Limit, demand: Demand, price: Price | None) -> int:
    """The tokens of output that are reserved: the most that is stated, else the rule's default."""
    if demand.output is not None:
        return demand.output
    output = limit.output_default
    if limit.asks_model and price is not None and price.output_max is not None:
        output = price.output_max
    return output * demand.answers


def worst(limit: Limit, demand: Demand, price: Price | None) -> int:
    """The most that a request may add to a rule. `CallerFault` where the rule refuses it because
    its price is not known; where it is let in uncounted, that is nothing.
    """
    output = output_of(limit, demand, price)
    if not limit.in_usd:
        return demand.input + output
    if demand.model is None:
        return limit.cost_default
    price = price or limit.fallback
    if price is not None:
        return price.worst(demand.input, output, demand.tier, demand)
    if limit.hard and limit.rule.unpriced == "refuse":
        raise unpriced(limit)
    return 0


def spent(limit: Limit, usage: Usage | None) -> int:
    """What a usage comes to. One without a cost has none that is known."""
    if usage is None:
        return 0
    if not limit.in_usd:
        return (usage.input or 0) + (usage.output or 0)
    if usage.cost_nanousd is not None:
        return usage.cost_nanousd
    return 0 if limit.fallback is None else limit.fallback.cost(usage)
