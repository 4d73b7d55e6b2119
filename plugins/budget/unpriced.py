"""What a budget in USD counts for models that nobody knows the price of: their tokens."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

import msgspec

from gateway import Usage

# A billionth of a dollar for one token is a thousandth of a dollar for a million of them.
_NANOS_PER_USD_A_MILLION: Final = 1000
_Usd = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the tokens of a model without a price count as, in USD for a million.

    input: Those that it reads, cached or not.
    output: Those that it writes, reasoning or not.
    """

    input: _Usd
    output: _Usd

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            # Billionths of a dollar for one token are whole, so that the sums of an hour in the
            # ledger come to what its requests did.
            if (Decimal(str(getattr(self, name))) * _NANOS_PER_USD_A_MILLION) % 1:
                raise ValueError(f"{name}: wanted whole thousandths of a dollar for a million")


class TokenPrice:
    """The same as a price (`holds.Price`). input, output: nano-dollars for one token."""

    __slots__ = ("input", "output")

    output_max: int | None = None

    def __init__(self, tokens: Tokens) -> None:
        self.input, self.output = (
            int(Decimal(str(usd)) * _NANOS_PER_USD_A_MILLION)
            for usd in (tokens.input, tokens.output)
        )

    def worst(
        self,
        input_tokens: int,
        output_tokens: int,
        tier: str | None = None,
        parts: object = None,
    ) -> int:
        return input_tokens * self.input + output_tokens * self.output

    def cost(self, usage: Usage) -> int:
        return self.worst(usage.input or 0, usage.output or 0)
