"""A file in the format of LiteLLM's `model_prices_and_context_window.json`.

The whole file is some megabytes and thousands of models, so a model's row stays as it is written
until somebody asks for that model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from .names import AUDIO_MS_MIN, FREE_CACHE, LITELLM, variants
from .prices import Price, decimal_of, picos, price_of

# Its keys, all dollars for one, and our names. A picture's price counts where pictures are counted,
# which is where no tokens are.
_KEYS: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "input_cost_per_image_token": "input_image",
    "cache_read_input_image_token_cost": "cache_read_image",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_image_token": "output_image",
    "input_cost_per_request": "request",
    "input_cost_per_query": "search_unit",
    "input_cost_per_character": "character",
    "input_cost_per_image": "image",
    "output_cost_per_image": "image",
}
_TOKENS: Final = frozenset(name for key, name in _KEYS.items() if "_token" in key)
_PER_SECOND: Final = ("input_cost_per_second", "input_cost_per_audio_per_second")
_ABOVE: Final = re.compile(r"^(.+)_above_(\d+)k_tokens$")
_LANES: Final = {"_batches": "batch", "_flex": "flex", "_priority": "priority"}
# What a provider calls its own: for Anthropic's fast mode the factor of each token's price.
_OWN: Final = "provider_specific_entry"
_FAST: Final = "fast"
_SEARCH: Final = "search_context_cost_per_query"
# Their own words for how much is read in a search; nobody says which one it was.
_SEARCH_SIZES: Final = ("medium", "low", "high")
# By lane and, within it, by the least input: 0 is the usual price.
Sheet = dict[str, dict[int, dict[str, int]]]


class PriceFile:
    """The table of one file, as it was when it was read."""

    def __init__(self, path: Path, written: bytes) -> None:
        """Raises ValueError for what is no such file."""
        try:
            self._rows = msgspec.json.decode(written, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            raise ValueError(f"it is no JSON object of models: {error}") from error
        digest = hashlib.sha256(written).hexdigest()[:8]
        self.source = f"litellm:{path.name}-{digest}"

    def find(self, provider: str, models: tuple[str, ...]) -> Price | None:
        """The price of the first of these names that is there."""
        for name in self._names(provider, models):
            row = self._row(name)
            if row is not None:
                price = _price(row, self.source, provider)
                if price is not None:
                    return price
        return None

    def _names(self, provider: str, models: tuple[str, ...]) -> Iterator[str]:
        """What a model may be called there. A row without its provider's prefix has to say that it
        is that provider's.
        """
        prefixes, families = LITELLM.get(provider, ((f"{provider}/",), (provider,)))
        for model in models:
            for name in variants(model):
                for prefix in prefixes:
                    if prefix + name in self._rows:
                        yield prefix + name
                row = self._row(name)
                if row is not None and str(row.get("litellm_provider")).startswith(families):
                    yield name

    def _row(self, name: str) -> dict[str, Any] | None:
        raw = self._rows.get(name)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError:
            return None

    def names(self) -> list[str]:
        """Every name in it."""
        return list(self._rows)


_kept: dict[str, tuple[tuple[int, int, int], PriceFile]] = {}
# Gateways may have a file each; others are of earlier configurations.
_KEPT_MAX: Final = 4


def opened(path: str) -> PriceFile:
    """The file's table, read again only where the file is another. Raises ValueError."""
    place = Path(path).expanduser()
    try:
        state = place.stat()
        mark = (state.st_ino, state.st_mtime_ns, state.st_size)
        kept = _kept.get(path)
        if kept is None or kept[0] != mark:
            kept = mark, PriceFile(place, place.read_bytes())
            _kept.pop(path, None)
            _kept[path] = kept
            if len(_kept) > _KEPT_MAX:
                del _kept[next(iter(_kept))]
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    return kept[1]


def as_last_read(path: str) -> PriceFile:
    """The same as it was when a configuration was read, whatever the file is now."""
    kept = _kept.get(path)
    return opened(path) if kept is None else kept[1]


def _price(row: Mapping[str, Any], source: str, provider: str) -> Price | None:
    sheet = _sheet(row)
    tiers = sheet.pop("")
    base = tiers.pop(0)
    if base and provider in FREE_CACHE:
        base.setdefault("cache_read", 0)
    price = price_of(base, tiers, sheet, source)
    if price is None:
        return None
    most = row.get("max_output_tokens")
    known = {"output_max": most} if type(most) is int and most > 0 else {}
    return msgspec.structs.replace(price, audio_ms_min=AUDIO_MS_MIN.get(provider, 0), **known)


def _sheet(row: Mapping[str, Any]) -> Sheet:
    """All prices of a row, by lane and tier."""
    sheet: Sheet = {"": {0: {}}}
    by_token = "output_cost_per_token" in row or "output_cost_per_image_token" in row
    for key, value in row.items():
        lane, above, name = _parsed(key)
        known = _KEYS.get(name)
        if known is None or (known == "image" and by_token):
            continue
        price = _picos(value)
        if price is not None:
            sheet.setdefault(lane, {}).setdefault(above, {})[known] = price
    usual = sheet[""][0]
    for name in _PER_SECOND:
        price = _picos(row.get(name), hours=True)
        if price is not None:
            usual["audio_hour"] = price
    sizes = row.get(_SEARCH)
    if isinstance(sizes, dict):
        found = (sizes.get(f"search_context_size_{size}") for size in _SEARCH_SIZES)
        price = next((p for p in map(_picos, found) if p is not None), None)
        if price is not None:
            usual["web_search"] = price
    for above, tier in _ranges(row.get("tiered_pricing")):
        sheet[""].setdefault(above, {}).update(tier)
    factor = _factor(row.get(_OWN))
    if factor is not None:
        sheet[_FAST] = {above: _times(prices, factor) for above, prices in sheet[""].items()}
    return sheet


def _factor(own: object) -> Decimal | None:
    value = own.get(_FAST) if isinstance(own, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return decimal_of(value)


def _times(prices: Mapping[str, int], factor: Decimal) -> dict[str, int]:
    return {name: int(price * factor) for name, price in prices.items() if name in _TOKENS}


def _parsed(key: str) -> tuple[str, int, str]:
    """A key's lane, the input it is for, and its name without both."""
    lane = ""
    for suffix, name in _LANES.items():
        if key.endswith(suffix):
            lane, key = name, key.removesuffix(suffix)
    match = _ABOVE.match(key)
    return (lane, 0, key) if match is None else (lane, int(match[2]) * 1000, match[1])


def _ranges(tiers: object) -> Iterator[tuple[int, dict[str, int]]]:
    """The other form of tiers: a list of ranges, each with prices."""
    for tier in tiers if isinstance(tiers, list) else ():
        span = tier.get("range") if isinstance(tier, dict) else None
        if not isinstance(span, list) or not span or not isinstance(span[0], int | float):
            continue
        found = {_KEYS[key]: price for key in tier if key in _KEYS and (price := _picos(tier[key]))}
        yield int(span[0]), found


def _picos(value: object, *, hours: bool = False) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        dollars = decimal_of(value)
        return picos(dollars * Decimal(3600) if hours else dollars)
    except ValueError:
        return None
