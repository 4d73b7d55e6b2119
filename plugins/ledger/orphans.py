"""Entries of exchanges whose process died before their end.

What their attempts asked was read by the provider, as far as we know, and what it costs to be read
is counted; what they were answered is not known.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from gateway import BYTES_PER_TOKEN, Usage

from .records import ORPHANED, Entry, Opening, made


class Price(Protocol):
    """What a model costs, as another plugin lends it."""

    @property
    def source(self) -> str: ...

    def cost(self, usage: Usage) -> int | None: ...


class Prices(Protocol):
    """The capability `prices`."""

    def price(self, provider: str, model: str, gateway: str = "default") -> Price | None: ...


def orphan_of(openings: Collection[Opening], prices: Prices | None = None) -> Entry:
    """The entry of one such exchange, of all of its openings."""
    by_number = {opening.n: opening.document for opening in openings}
    last = by_number[max(by_number)]
    known = {name: value for name, value in last.items() if name not in ("open", "n", "bytes")}
    attempts = [
        {"n": n, "provider": opening.get("provider"), **_guess(opening, prices), "estimated": True}
        for n, opening in sorted(by_number.items())
    ]
    document = {"id": last["open"], **known, "outcome": ORPHANED, "attempts": attempts}
    for name in ("fresh_input", "cost_nanousd"):
        counts = [attempt[name] for attempt in attempts if name in attempt]
        if counts:
            document[name] = sum(counts)
    if "prices" in attempts[-1]:
        document["prices"] = attempts[-1]["prices"]
    return made({**document, "estimated": True})


def _guess(opening: dict[str, Any], prices: Prices | None) -> dict[str, Any]:
    """What an attempt used."""
    usage = Usage()
    usage.fresh_input = opening.get("bytes", 0) // BYTES_PER_TOKEN
    guess: dict[str, Any] = {"fresh_input": usage.fresh_input}
    provider, model = opening.get("provider"), opening.get("model")
    if prices is None or not provider or not model:
        return guess
    price = prices.price(provider, model, opening.get("gateway") or "default")
    cost = None if price is None else price.cost(usage)
    if price is not None and cost is not None:
        guess.update(cost_nanousd=cost, prices=price.source)
    return guess
