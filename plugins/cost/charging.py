"""What each attempt of an exchange costs by a table of prices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway import Exchange, Usage

if TYPE_CHECKING:
    from .prices import Price
    from .table import Table

_HALF: Final = 500  # of the pico-dollars of a nano-dollar
_PICOS_PER_NANO: Final = 1000
_BATCH: Final = "batch"

# Provider, the model that answered, the one that was asked for.
Missed = Callable[[str, str | None, str | None], None]


def charge(exchange: Exchange, table: Table, missed: Missed) -> None:
    """Note what each attempt costs. missed: told of each whose model has no price."""
    asked = exchange.model
    for attempt in exchange.attempts:
        usage = attempt.usage
        if usage is None or usage.cost_nanousd is not None:
            continue  # a batch's results come with the cost of their lines
        name = attempt.target.provider.name
        price = table.price(name, usage.model, asked)
        if price is None:
            cost = None
        elif usage.reported and usage.tier == _BATCH:
            cost = _cost_of_many(price, usage)
        else:
            cost = cost_of(price, usage)
        if price is not None and cost is not None:
            usage.cost_nanousd = cost
            usage.prices = price.source
        elif usage.is_known:
            missed(name, usage.model, asked)


def _cost_of_many(price: Price, usage: Usage) -> int | None:
    """What a sum of many answers costs; None where one of them may have had another price."""
    lane = price.lane(_BATCH) or price
    if lane.rates.request or (lane.tiers and (usage.input or 0) > lane.tiers[-1][0]):
        return None
    return cost_of(lane, usage)


def cost_of(price: Price, usage: Usage) -> int | None:
    """Nano-dollars; None where nothing was counted, or nothing is known of what was."""
    if usage.tier is not None and price.lanes:
        lane = price.lane(usage.tier)
        if lane is not None:
            return cost_of(lane, usage)
    fresh, text = usage.fresh_input, usage.output_text
    if fresh is None and text is None and not usage.is_known:
        return None
    read, write = usage.cache_read or 0, usage.cache_write or 0
    fresh = fresh or 0
    rates = price.rates
    for above, higher in price.tiers:
        if fresh + read + write > above:
            rates = higher
            break
    if usage.details or not rates.reads or not rates.writes or price.total is not None:
        return price.in_detail(usage, rates)
    picos = fresh * rates.input + (text or 0) * rates.output + rates.request
    if read:
        picos += read * rates.cache_read
    if write:
        picos += write * rates.cache_write
    if usage.output_reasoning:
        picos += usage.output_reasoning * rates.reasoning
    return (picos + _HALF) // _PICOS_PER_NANO
