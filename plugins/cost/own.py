"""Prices of one's own: the configuration's, and what a caller says about a single request."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import msgspec
import orjson

from gateway import CallerFault

from .prices import LANES, Price, decimal_of, picos, price_of, rates_of

# Dollars as a number or, for those who do not trust numbers, as text.
Usd = int | float | str
CALLER: Final = "caller"
CONFIG: Final = "config"
_MILLION: Final = 1_000_000
# Of the configuration's keys, what they are the price of, and for how many.
_PER_MILLION: Final = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "cache_write_12h",
    "reasoning",
    "input_audio",
    "cache_read_audio",
    "input_image",
    "cache_read_image",
    "output_audio",
    "output_image",
)
_OTHERS: Final = {
    "request": ("request", 1),
    "image": ("image", 1),
    "web_search": ("web_search", 1),
    "search_unit": ("search_unit", 1),
    "characters": ("character", _MILLION),
    "audio_hour": ("audio_hour", 1),
}
# Of the caller's JSON, all prices of one token.
_FIELDS: Final = {
    "per_token_in": "input",
    "per_token_out": "output",
    "per_cache_read_token": "cache_read",
    "per_cache_write_token": "cache_write",
}
_TOTAL: Final = "total_cost"


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dollars for a million tokens of each kind, or for one of what is no token.

    input: Fresh input.
    output: Output that is not reasoning.
    cache_read: Input from a cache; left out, as input.
    cache_write: Input put into a cache; left out, as input.
    cache_write_1h: The same for an hour; left out, as cache_write.
    cache_write_12h: The same for twelve hours; left out, as cache_write_1h.
    reasoning: Left out, as output.
    input_audio: Left out, as input.
    cache_read_audio: Left out, as cache_read.
    input_image: Left out, as input.
    cache_read_image: Left out, as cache_read.
    output_audio: Left out, as output.
    output_image: Left out, as output.
    request: A request, beside its tokens.
    image: A picture made, or read, where pictures are counted.
    web_search: A search in the web.
    search_unit: A search of a reranking.
    characters: A million characters of text to be spoken.
    audio_hour: An hour of sound to be heard.
    """

    input: Usd | None = None
    output: Usd | None = None
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    cache_write_12h: Usd | None = None
    reasoning: Usd | None = None
    input_audio: Usd | None = None
    cache_read_audio: Usd | None = None
    input_image: Usd | None = None
    cache_read_image: Usd | None = None
    output_audio: Usd | None = None
    output_image: Usd | None = None
    request: Usd | None = None
    image: Usd | None = None
    web_search: Usd | None = None
    search_unit: Usd | None = None
    characters: Usd | None = None
    audio_hour: Usd | None = None

    def __post_init__(self) -> None:
        self.known()

    def known(self) -> dict[str, int]:
        """Pico-dollars of what is said. ValueError names the key that is wrong."""
        found = {}
        for key, (name, per) in _keys():
            written = getattr(self, key)
            if written is None:
                continue
            try:
                found[name] = picos(decimal_of(written), per)
            except ValueError as error:
                raise ValueError(f"{key}: {error}, given {written!r}") from error
        return found


class Tier(Rate, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices of requests with more input than that; what is left out stays the model's.

    above: Tokens of input, cached or not.
    """

    above: Annotated[int, msgspec.Meta(ge=1)]


class Lane(Rate, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices of a service tier; what is left out stays the model's.

    tiers: Prices of longer requests; left out, the model's hold.
    """

    tiers: tuple[Tier, ...] = ()


class Model(Rate, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one model costs, or several.

    model: The model as the answer or the request names it; "*" stands for anything.
    provider: Its provider's name; "*" stands for anything.
    tiers: Prices of longer requests.
    flex: Prices of this service tier.
    priority: The same.
    batch: The same.
    fast: The same.
    output_max: The most tokens that it writes, for a budget with output_default = "model".
    """

    model: str
    provider: str = "*"
    tiers: tuple[Tier, ...] = ()
    flex: Lane | None = None
    priority: Lane | None = None
    batch: Lane | None = None
    fast: Lane | None = None
    output_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None

    def __post_init__(self) -> None:
        if not self.known():
            raise ValueError("model: there is no price for it; a model that is free has input = 0")

    def fits(self, provider: str, models: tuple[str, ...]) -> bool:
        """Whether it is the price of a model of that provider with one of these names."""
        return fnmatchcase(provider, self.provider) and any(
            fnmatchcase(model, self.model) for model in models
        )

    def price(self) -> Price:
        """The same as whole numbers."""
        lanes = {}
        for name in LANES:
            lane: Lane | None = getattr(self, name)
            if lane is not None:
                lanes[name] = {0: lane.known()} | _by_start(lane.tiers)
        price = price_of(self.known(), _by_start(self.tiers), lanes, CONFIG)
        assert price is not None
        return msgspec.structs.replace(price, output_max=self.output_max)


def _by_start(tiers: tuple[Tier, ...]) -> dict[int, dict[str, int]]:
    return {tier.above: tier.known() for tier in tiers}


def _keys() -> Iterator[tuple[str, tuple[str, int]]]:
    for name in _PER_MILLION:
        yield name, (name, _MILLION)
    yield from _OTHERS.items()


def read_field(written: bytes) -> Price:
    """The price in a caller's field; `CallerFault` says what is wrong with it.

    Cloudflare's form: dollars for one token, or `total_cost` for the request.
    """
    try:
        document: Any = orjson.loads(written)
    except orjson.JSONDecodeError as error:
        raise _fault("it is not JSON") from error
    if not isinstance(document, dict):
        raise _fault('it is not an object, such as {"per_token_in": 0.000001}')
    unknown = sorted(document.keys() - _FIELDS.keys() - {_TOTAL})
    if unknown:
        raise _fault(f"it knows no {unknown[0][:40]!r}; known are {', '.join(_FIELDS)}, {_TOTAL}")
    known = {name: _field(document, name) for name in document}
    total = known.pop(_TOTAL, None)
    if (total is None) == (not known):
        raise _fault(f"it needs prices of tokens, or {_TOTAL} alone")
    rates = rates_of({_FIELDS[name]: price for name, price in known.items()} or {"request": 0})
    assert rates is not None
    return Price(rates, source=CALLER, total=None if total is None else (total + 500) // 1000)


def _field(document: dict[str, object], name: str) -> int:
    value = document[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _fault(f"{name} is not a number")
    try:
        return picos(Decimal(str(value)))
    except ValueError as error:
        raise _fault(f"{name}: {error}") from error


def _fault(reason: str) -> CallerFault:
    return CallerFault(
        f"The custom-cost field cannot be used: {reason}.", status=400, code="invalid_custom_cost"
    )
