"""What `extract` wrote down of genai-prices: which model a name means there, and its price.

A provider's models stay as they are written until somebody asks for one of them. Conditions on
names and times are the package's own, evaluated here as it does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec

from .corrections import corrected
from .names import AUDIO_MS_MIN, FREE_CACHE, GENAI, WORKDAY_PEAKS, variants
from .prices import LANES, Price, Rates, decimal_of, picos, rates_of

# The package's keys: our name, and how many the price is for.
_KEYS: Final = {
    "input_mtok": ("input", 10**6),
    "output_mtok": ("output", 10**6),
    "cache_read_mtok": ("cache_read", 10**6),
    "cache_write_mtok": ("cache_write", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h", 10**6),
    "output_reasoning_mtok": ("reasoning", 10**6),
    "input_audio_mtok": ("input_audio", 10**6),
    "cache_audio_read_mtok": ("cache_read_audio", 10**6),
    "input_image_mtok": ("input_image", 10**6),
    "cache_image_read_mtok": ("cache_read_image", 10**6),
    "output_audio_mtok": ("output_audio", 10**6),
    "output_image_mtok": ("output_image", 10**6),
    "requests_kcount": ("request", 1000),
    "web_searches_kcount": ("web_search", 1000),
    "rerank_searches_kcount": ("search_unit", 1000),
    "input_mchars": ("character", 10**6),
    "audio_hours": ("audio_hour", 1),
    "input_audio_hours": ("audio_hour", 1),
}
# A model whose name says what it costs; any other without a price has none that is known.
_FREE: Final = ":free"
# A machine's clock may be set while we count on another: look again so often at least.
_AGAIN_S_MAX: Final = 3600.0
_SATURDAY: Final = 5
_COMPACT_DATE: Final = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

Clause = list[Any]
When = list[Any]
Sheet = dict[str, Any]


class Known(msgspec.Struct, gc=False):
    """One model: its name there, the condition on its name, and its prices."""

    id: str
    match: Clause
    prices: msgspec.Raw
    variants: msgspec.Raw


class Listed(msgspec.Struct, gc=False):
    """One provider: where its API lives, its models, and whose else it offers."""

    url: str
    fallback: list[str]
    models: msgspec.Raw


class File(msgspec.Struct, gc=False):
    """All of it."""

    version: str
    providers: dict[str, Listed]


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


class Book:
    """The table of one version."""

    def __init__(self, written: bytes, now: Callable[[], datetime] = _utc_now) -> None:
        """Raises ValueError for what `extract` did not write."""
        try:
            self._file = msgspec.json.decode(written, type=File)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error
        self.source = f"genai-prices {self._file.version}"
        self._now = now

    def find(self, provider: str, models: tuple[str, ...]) -> Price | None:
        """The price of the first of these names that it knows."""
        name = GENAI.get(provider, provider)
        listed = self._file.providers.get(name)
        if listed is None:
            return None
        owners = (name, *listed.fallback)
        listings = [_models(self._file.providers[one]) for one in owners]
        for model in models:
            for variant in variants(model):
                found = _match(listings, variant)
                if found is not None:
                    known, at = found
                    return self._price(provider, known, owners[at], is_own=at == 0)
        return None

    def names(self, provider: str | None = None) -> list[str]:
        """Every model's name, of one provider or all."""
        wanted = None if provider is None else GENAI.get(provider, provider)
        return [
            model.id
            for name, listed in self._file.providers.items()
            if wanted in (None, name)
            for model in _models(listed)
        ]

    def _price(self, provider: str, known: Known, owner: str, *, is_own: bool) -> Price | None:
        """owner: the provider there whose model it is."""
        now = self._now()
        prices = msgspec.json.decode(known.prices, type=list[tuple[When | None, Sheet]])
        variants = msgspec.json.decode(known.variants, type=list[tuple[dict[str, str], Any, Sheet]])
        over = WORKDAY_PEAKS.get(owner, ()) if now.weekday() >= _SATURDAY else ()
        said = _usual([one for one in prices if not _is_daily(one[0], over)], now)
        usual = corrected(owner, known.id, said)
        source = self.source if usual == said else f"{self.source}, corrected"
        if not usual and known.id.endswith(_FREE):
            usual = {"input_mtok": "0", "output_mtok": "0"}
        free = provider in FREE_CACHE
        price = _made(usual, source, free)
        if price is None:
            return None
        made = {}
        for lane in LANES if is_own else ():
            own = _variant(variants, lane, now)
            if own:
                made[lane] = _made(usual | own, source, free) or price
        times = [when for when, _ in prices] + [when for _, when, _ in variants]
        waits = [wait for when in times if when and (wait := _changes_after(when, now)) is not None]
        until = None
        if waits:
            until = time.monotonic_ns() + int(min(*waits, _AGAIN_S_MAX) * 1e9)
        least = AUDIO_MS_MIN.get(provider, 0) if "whisper" in known.id else 0
        shared = {"until_ns": until, "audio_ms_min": least}
        lanes = {lane: msgspec.structs.replace(one, **shared) for lane, one in made.items()}
        return msgspec.structs.replace(price, lanes=lanes, **shared)


def _models(listed: Listed) -> list[Known]:
    return msgspec.json.decode(listed.models, type=list[Known])


def _match(listings: list[list[Known]], model: str) -> tuple[Known, int] | None:
    """The model of that name, and the list it is in: the provider's own is the first."""
    for written in dict.fromkeys((model, _COMPACT_DATE.sub(r"\1\2-\3-\4", model))):
        for at, listing in enumerate(listings):
            for known in listing:
                if fits(known.match, written):
                    return known, at
    return None


def fits(clause: Clause, name: str) -> bool:
    """Whether a name in lower case meets a condition."""
    word, rest = clause[0], clause[1]
    match word:
        case "or":
            return any(fits(one, name) for one in rest)
        case "and":
            return all(fits(one, name) for one in rest)
        case "equals":
            return bool(name == rest)
        case "starts":
            return bool(name.startswith(rest))
        case "ends":
            return bool(name.endswith(rest))
        case "contains":
            return str(rest) in name
    return re.search(rest, name) is not None


def _usual(prices: list[tuple[When | None, Sheet]], now: datetime) -> Sheet:
    """The last that holds now, or the first where none does."""
    for when, sheet in reversed(prices):
        if when is None or _holds(when, now):
            return sheet
    return prices[0][1] if prices else {}


def _variant(
    variants: list[tuple[dict[str, str], When | None, Sheet]], lane: str, now: datetime
) -> Sheet:
    """What a lane has of its own: of each key the first that holds."""
    # Anthropic's fast mode is a speed there, OpenAI's a tier.
    context = {"processing": lane} if lane == "batch" else {"service_tier": lane, "speed": lane}
    own: Sheet = {}
    for wanted, when, sheet in variants:
        if wanted.items() <= context.items() and (when is None or _holds(when, now)):
            own = sheet | own
    return own


def _is_daily(when: When | None, hours: Container[tuple[int, int]]) -> bool:
    """Whether a condition is one of these hours of each day."""
    return when is not None and when[0] == "daily" and tuple(when[1:]) in hours


def _holds(when: When, now: datetime) -> bool:
    if when[0] == "from":
        return now.date() >= date.fromisoformat(when[1])
    minute = now.hour * 60 + now.minute
    start, end = int(when[1]), int(when[2])
    return start <= minute < end if start <= end else minute >= start or minute < end


def _changes_after(when: When, now: datetime) -> float | None:
    """Seconds until a condition may hold that does not, or the other way round."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if when[0] == "from":
        begins = datetime.combine(date.fromisoformat(when[1]), datetime.min.time(), tzinfo=UTC)
        return (begins - now).total_seconds() if begins > now else None
    edges = (midnight + timedelta(days=day, minutes=edge) for day in (0, 1) for edge in when[1:])
    return min((edge - now).total_seconds() for edge in edges if edge > now)


def _made(sheet: Mapping[str, Any], source: str, free_cache: bool) -> Price | None:
    """Whole numbers of a sheet. Each key may have tiers of its own: a tier of ours is where any of
    them begins.
    """
    rates = _rates(sheet, None, free_cache)
    if rates is None:
        return None
    starts = {start for value in sheet.values() if isinstance(value, list) for start, _ in value[1]}
    tiers = []
    for start in sorted(starts, reverse=True):
        higher = _rates(sheet, start, free_cache)
        assert higher is not None
        tiers.append((start, higher))
    return Price(rates, tiers=tuple(tiers), source=source)


def _rates(sheet: Mapping[str, Any], start: int | None, free_cache: bool) -> Rates | None:
    known = {}
    for key, value in sheet.items():
        if key in _KEYS:
            name, per = _KEYS[key]
            known[name] = picos(decimal_of(_at(value, start)), per)
    if known and free_cache:
        known.setdefault("cache_read", 0)
    return rates_of(known)


def _at(value: Any, start: int | None) -> str:
    """A key's price for more input than that."""
    if isinstance(value, str):
        return value
    base, tiers = value
    reached: Iterator[str] = (
        price for begins, price in reversed(tiers) if start is not None and begins <= start
    )
    return next(reached, base)
