"""What an exchange holds under each of its rules, until it is settled."""

from __future__ import annotations

from typing import Protocol

import msgspec

from gateway import Usage

from .counters import Counter, Tally
from .demand import Demand
from .rules import Limit

Entry = tuple[Limit, Tally]
Entries = tuple[Entry, ...]


class Price(Protocol):
    """What a model costs in nano-dollars, as another plugin lends it."""

    @property
    def output_max(self) -> int | None: ...

    def cost(self, usage: Usage) -> int | None: ...

    def worst(
        self,
        input_tokens: int,
        output_tokens: int,
        tier: str | None = None,
        parts: Demand | None = None,
    ) -> int: ...


class Prices(Protocol):
    """The capability `prices`."""

    def price(self, provider: str, model: str, gateway: str = "default") -> Price | None: ...


class Hold(msgspec.Struct, gc=False):
    """A reservation under one rule. provider: whose spending it is for; None is any's."""

    limit: Limit
    tally: Tally
    counter: Counter
    epoch: int
    amount: int
    provider: str | None = None

    def grow(self, amount: int) -> None:
        """Hold so much more, or less."""
        self.amount += amount
        self.counter.add(self.epoch, amount, 0)

    def room(self) -> int:
        """How much more fits. A span that is over asks for nothing any more."""
        counter = self.counter
        if counter.epoch != self.epoch and not self.tally.window.is_rolling:
            return self.limit.amount
        return self.limit.amount - counter.spent - counter.reserved


class Note(msgspec.Struct, gc=False):
    """Of one exchange: what it may use, where it was priced for, and what it holds.

    refused: the rule that refused it, and the counter, if one did.
    tightest: of what it holds, where the least share was left.
    key: its name in a shared store. is_degraded: that was away. is_asking: it is asked right now.
    """

    demand: Demand
    entries: Entries
    holds: list[Hold] = []
    provider: str | None = None
    refused: tuple[Limit, Tally, Counter] | None = None
    tightest: Hold | None = None
    key: bytes = b""
    is_degraded: bool = False
    is_asking: bool = False
