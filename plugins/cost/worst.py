"""The most that a request can cost by a price, whatever its answer will be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from .prices import Price

_HALF: Final = 500  # of the pico-dollars of a nano-dollar
_PICOS_PER_NANO: Final = 1000


class Parts(Protocol):
    """What a request holds beside text. It is asked only where that has a price of its own."""

    def has_media(self) -> bool:
        """Whether it may hold sound or pictures."""

    def units(self) -> Mapping[str, int] | None:
        """How many of what is no token, by the details in `prices.UNITS`."""


def worst_of(
    price: Price, input_tokens: int, output_tokens: int, tier: str | None, parts: Parts | None
) -> int:
    """Nano-dollars; see `Price.worst`."""
    lane = None if tier is None else price.lane(tier)
    if lane is not None:
        price = lane
    if price.total is not None:
        return price.total
    rates = price.rates
    for above, higher in price.tiers:
        if input_tokens > above:
            rates = higher
            break
    read = max(
        rates.input,
        rates.cache_read,
        rates.cache_write,
        rates.cache_write_1h,
        rates.cache_write_12h,
    )
    written = max(rates.output, rates.reasoning, rates.output_audio, rates.output_image)
    picos = output_tokens * written + rates.request
    if parts is not None:
        media = max(
            rates.input_audio,
            rates.cache_read_audio,
            rates.input_image,
            rates.cache_read_image,
        )
        if media > read and parts.has_media():
            read = media
        units = parts.units() if rates.units else None
        if units is not None:
            picos += price.by_units(units, rates)[0]
    return (picos + input_tokens * read + _HALF) // _PICOS_PER_NANO
