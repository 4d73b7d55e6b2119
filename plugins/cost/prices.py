"""What a model costs, as whole numbers, and what a usage costs by it.

A token's price is a whole number of pico-dollars (a dollar a million tokens is a million of them),
so no part of a sum is rounded: that happens once, at its end, half up to nano-dollars.

The counters of a usage are disjoint, and its details are parts of them: audio, pictures and longer
cache writes leave their counter before it is priced. What a table says nothing about costs what the
next more general thing does: a cached token what a fresh one does, reasoning what output does,
sound and pictures what text does. A price for a tier of long requests is the whole request's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

import msgspec

from gateway import Usage

from .charging import cost_of
from .worst import Parts, worst_of

PICOS_PER_NANO: Final = 1000
PICOS_PER_USD: Final = 10**12
_MS_PER_HOUR: Final = 3_600_000
_HALF: Final = PICOS_PER_NANO // 2
# What a table may call a lane of its own, and a provider's word for it holds: Gemini says
# ON_DEMAND_PRIORITY.
LANES: Final = ("flex", "priority", "batch", "fast")
# More than anything costs: a price above it was meant for another unit.
USD_MAX: Final = 1_000_000

# Of each kind of token, whose price it takes where a table has none of its own: the first known.
NEXT: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("input", ("input_audio", "input_image")),
    ("output", ("output_image", "output_audio")),
    ("cache_read", ("input",)),
    ("cache_write", ("input",)),
    ("cache_write_1h", ("cache_write",)),
    ("cache_write_12h", ("cache_write_1h",)),
    ("reasoning", ("output",)),
    ("input_audio", ("input",)),
    ("cache_read_audio", ("cache_read",)),
    ("input_image", ("input",)),
    ("cache_read_image", ("cache_read",)),
    ("output_audio", ("output",)),
    ("output_image", ("output",)),
)
TOKENS: Final = tuple(name for name, _ in NEXT)
# What is counted beside tokens, and the detail that counts it. Sound is priced by the hour.
UNITS: Final = {
    "image": "images",
    "web_search": "web_searches",
    "search_unit": "search_units",
    "character": "input_characters",
    "audio_hour": "input_audio_ms",
}


class Rates(msgspec.Struct, frozen=True, gc=False):
    """Pico-dollars for one of each. reads, writes: whether the table prices input and output.

    units: prices of what is no token, by the detail that counts it.
    """

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    cache_write_12h: int
    reasoning: int
    input_audio: int
    cache_read_audio: int
    input_image: int
    cache_read_image: int
    output_audio: int
    output_image: int
    request: int
    units: dict[str, int]
    reads: bool
    writes: bool


class Price(msgspec.Struct, frozen=True, gc=False):
    """What one model costs; whoever has it only multiplies.

    tiers: prices of requests with more input than that, the largest first.
    lanes: prices of other service tiers, by their name in LANES.
    source: the table and its version. until_ns: when the table may say something else.
    audio_ms_min: what a shorter sound counts as. total: the cost, whatever was used.
    output_max: the most tokens of one answer, where the table says so.
    """

    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    lanes: dict[str, Price] = {}
    source: str = ""
    until_ns: int | None = None
    audio_ms_min: int = 0
    total: int | None = None
    output_max: int | None = None

    def cost(self, usage: Usage) -> int | None:
        """Nano-dollars; None where nothing was counted, or nothing is known of what was."""
        return cost_of(self, usage)

    def lane(self, tier: str) -> Price | None:
        """The price of a service tier, in a provider's word for it; None where it is the usual."""
        return self.lanes.get(lane_of(tier))

    def worst(
        self,
        input_tokens: int,
        output_tokens: int,
        tier: str | None = None,
        parts: Parts | None = None,
    ) -> int:
        """The most that a request can cost, in nano-dollars, where the lane is known.

        parts: what it holds beside text. What a model writes may be of any kind that it has a price
        for.
        """
        return worst_of(self, input_tokens, output_tokens, tier, parts)

    def in_detail(self, usage: Usage, rates: Rates) -> int | None:
        """The same where there is more to it than five products."""
        if self.total is not None:
            return self.total
        details = usage.details or {}
        picos, by_units = self.by_units(details, rates)
        if not by_units:
            has_input = bool(usage.fresh_input or usage.cache_read or usage.cache_write)
            has_output = bool(usage.output_text or usage.output_reasoning)
            if (has_input and not rates.reads) or (has_output and not rates.writes):
                return None
            if details and not has_input and not has_output:
                return None  # all that was counted has no price
        picos += _read(usage, details, rates) + _written(usage, details, rates)
        return (picos + rates.request + _HALF) // PICOS_PER_NANO

    def by_units(self, details: Mapping[str, int], rates: Rates) -> tuple[int, bool]:
        """What is no token, in pico-dollars, and whether there was any with a price."""
        picos, found = 0, False
        for name, price in rates.units.items():
            count = details.get(name)
            if not count:
                continue
            found = True
            if name == "input_audio_ms":
                # The one part that can have a fraction of a pico: to cut it changes no rounding.
                picos += max(count, self.audio_ms_min) * price // _MS_PER_HOUR
            else:
                picos += count * price
        return picos, found


def _read(usage: Usage, details: dict[str, int], rates: Rates) -> int:
    """Input: what is sound or picture, fresh and cached, and the rest of each."""
    fresh, read, write = usage.fresh_input or 0, usage.cache_read or 0, usage.cache_write or 0
    picos = fresh * rates.input + read * rates.cache_read + write * rates.cache_write
    sound, picture = details.get("input_audio", 0), details.get("input_image", 0)
    if sound or picture:
        cached_sound = min(details.get("cache_read_audio", 0), sound, read)
        fresh_sound = min(sound - cached_sound, fresh)
        # Where nobody says what of it was cached, that is what cannot have been fresh.
        cached_sound = min(sound - fresh_sound, read)
        fresh_picture = min(picture, fresh - fresh_sound)
        cached_picture = min(picture - fresh_picture, read - cached_sound)
        picos += fresh_sound * (rates.input_audio - rates.input)
        picos += fresh_picture * (rates.input_image - rates.input)
        picos += cached_sound * (rates.cache_read_audio - rates.cache_read)
        picos += cached_picture * (rates.cache_read_image - rates.cache_read)
    if write:
        hour = min(details.get("cache_write_1h", 0), write)
        half_day = min(details.get("cache_write_12h", 0), write - hour)
        picos += hour * (rates.cache_write_1h - rates.cache_write)
        picos += half_day * (rates.cache_write_12h - rates.cache_write)
    return picos


def _written(usage: Usage, details: dict[str, int], rates: Rates) -> int:
    text = usage.output_text or 0
    sound = min(details.get("output_audio", 0), text)
    picture = min(details.get("output_image", 0), text - sound)
    return (
        (text - sound - picture) * rates.output
        + sound * rates.output_audio
        + picture * rates.output_image
        + (usage.output_reasoning or 0) * rates.reasoning
    )


@functools.lru_cache(maxsize=128)
def lane_of(tier: str) -> str:
    """Our name for the lane that a provider's word means; "" is the usual one."""
    lowered = tier.lower()
    return next((lane for lane in LANES if lane in lowered), "")


# -- making them -----------------------------------------------------------------------------------


def picos(usd: Decimal, per: int = 1) -> int:
    """Pico-dollars for one, of dollars for so many. Raises ValueError."""
    if not usd.is_finite() or usd < 0 or usd > USD_MAX:
        raise ValueError(f"wanted dollars from 0 to {USD_MAX}")
    return int((usd * PICOS_PER_USD / per).to_integral_value(ROUND_HALF_UP))


def decimal_of(written: str | float | Decimal) -> Decimal:
    """The number as it is written: 0.1 is a tenth. Raises ValueError."""
    try:
        return written if isinstance(written, Decimal) else Decimal(str(written))
    except ArithmeticError as error:
        raise ValueError("wanted a number of dollars") from error


def rates_of(known: Mapping[str, int]) -> Rates | None:
    """Rates of what a table knows, by the names of TOKENS and UNITS and `request`; None where that
    is nothing.
    """
    if not known:
        return None
    full = dict(known)
    for name, others in NEXT:
        if name not in full:
            full[name] = next((full[other] for other in others if other in full), 0)
    reads = any(name in known for name in ("input", "input_audio", "input_image"))
    writes = any(name in known for name in ("output", "output_image", "output_audio"))
    by_request = "request" in known and not reads and not writes  # then tokens are free
    return Rates(
        **{name: full[name] for name in TOKENS},
        request=known.get("request", 0),
        units={detail: known[name] for name, detail in UNITS.items() if name in known},
        reads=reads or by_request,
        writes=writes or by_request,
    )


def price_of(
    base: Mapping[str, int],
    tiers: Mapping[int, Mapping[str, int]],
    lanes: Mapping[str, Mapping[int, Mapping[str, int]]],
    source: str,
) -> Price | None:
    """A price of what a table says: usually, above so much input, and in lanes, where 0 is no tier.

    Where a lane has no price of its own for a tier, the tier's holds, which is never too little.
    """
    price = _tiered(base, tiers, source)
    if price is None:
        return None
    made = {}
    for name, lane in lanes.items():
        steps = {above: dict(tiers.get(above, {})) for above in tiers.keys() | (lane.keys() - {0})}
        for above, step in steps.items():
            step.update(lane.get(above, {}))
        own = _tiered({**base, **lane.get(0, {})}, steps, source)
        assert own is not None
        made[name] = own
    return msgspec.structs.replace(price, lanes=made)


def _tiered(
    base: Mapping[str, int], tiers: Mapping[int, Mapping[str, int]], source: str
) -> Price | None:
    rates = rates_of(base)
    if rates is None:
        return None
    made = []
    for above in sorted(tiers, reverse=True):
        higher = rates_of({**base, **tiers[above]})
        assert higher is not None
        made.append((above, higher))
    return Price(rates, tiers=tuple(made), source=source)
