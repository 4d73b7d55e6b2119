"""Prices are those that genai-prices itself computes, for every model that it knows."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson
import pytest
from genai_prices import types
from genai_prices.data import providers

from gateway import Usage
from plugins.cost import extract
from plugins.cost.corrections import CORRECTIONS
from plugins.cost.genai import _KEYS, Book, fits
from plugins.cost.names import GENAI
from plugins.cost.prices import Price
from tests.plugins.cost.test_table import used
from tests.sizes import FULL, SMALL

WRITTEN = orjson.dumps(extract.everything())
OURS = {name: own for own, name in GENAI.items()}
MOMENTS = (
    datetime(2026, 11, 28, 10, 30, tzinfo=UTC),
    datetime(2026, 12, 1, 2, 0, tzinfo=UTC),
    datetime(2027, 1, 2, 17, 0, tzinfo=UTC),
)
# Finer than a pico-dollar a token is only what OpenRouter divides by twelve: a part of a token's
# price that is lost can be half a pico-dollar.
PICO_ERROR = Decimal("0.0005")


def book_at(now: datetime) -> Book:
    return Book(WRITTEN, now=lambda: now)


class Case:
    """A usage of a model in our words and in theirs."""

    def __init__(self, choose: random.Random, keys: set[str], tier: str | None) -> None:
        self._choose = choose
        self._keys = keys
        self.ours = Usage()
        self.ours.tier = tier
        self.theirs: dict[str, Any] = {}
        self._tokens()
        details = {**self._parts(), **self._pieces()}
        self.ours.details = {name: count for name, count in details.items() if count} or None

    def _upto(self, most: int) -> int:
        return self._choose.choice([0, self._choose.randrange(most + 1)])

    def _tokens(self) -> None:
        ours = self.ours
        has = {side for side in ("input", "output") if f"{side}_mtok" in self._keys}
        fresh, read, write = (self._upto(n) if "input" in has else 0 for n in (400_000, 9999, 9999))
        text, thought = (self._upto(9999) if "output" in has else 0 for _ in range(2))
        ours.fresh_input, ours.cache_read, ours.cache_write = fresh, read, write
        ours.output_text, ours.output_reasoning = text, thought
        self.theirs.update(
            input_tokens=fresh + read + write,
            cache_read_tokens=read,
            cache_write_tokens=write,
            output_tokens=text + thought,
            output_reasoning_tokens=thought,
        )

    def _parts(self) -> dict[str, int]:
        ours, keys = self.ours, self._keys
        hour = self._upto(ours.cache_write or 0)
        parts = {"cache_write_1h": hour}
        self.theirs["cache_write_1h_tokens"] = hour
        for kind, short in (("audio", "cache_audio"), ("image", "cache_image")):
            if f"input_{kind}_mtok" in keys and not self.theirs.get("input_audio_tokens"):
                fresh = self._upto(ours.fresh_input or 0)
                cached = self._upto(ours.cache_read or 0) if kind == "audio" else 0
                cached = cached if f"{short}_read_mtok" in keys else 0
                parts[f"input_{kind}"] = fresh + cached
                parts["cache_read_audio"] = parts.get("cache_read_audio", 0) + cached
                self.theirs[f"input_{kind}_tokens"] = fresh + cached
                self.theirs[f"{short}_read_tokens"] = cached
                # with a picture among the cached nobody tells us which
            if f"output_{kind}_mtok" in keys and not self.theirs.get("output_audio_tokens"):
                written = self._upto(ours.output_text or 0)
                parts[f"output_{kind}"] = self.theirs[f"output_{kind}_tokens"] = written
        return parts

    def _pieces(self) -> dict[str, int]:
        pieces = {}
        if "input_mtok" in self._keys and self.ours.fresh_input:
            pieces["web_searches"] = self.theirs["web_searches"] = self._upto(5)
        if self._keys & {"audio_hours", "input_audio_hours"}:
            ms = pieces["input_audio_ms"] = 1 + self._upto(100_000)
            seconds = Decimal(ms) / 1000
            self.theirs.update(audio_seconds=seconds, input_audio_seconds=seconds)
        if "input_mchars" in self._keys:
            pieces["input_characters"] = self.theirs["input_characters"] = 1 + self._upto(100_000)
        return pieces


def context(tier: str | None) -> dict[str, str] | None:
    if tier is None:
        return None
    return {"processing": tier} if tier == "batch" else {"service_tier": tier, "speed": tier}


def compare(provider: Any, model: Any, price: Price, case: Case, now: datetime) -> bool | None:
    """Whether both come to the very same; None where ours is unknown, and theirs 0."""
    if provider.id == "cohere":  # does not bill what was cached, as the package would
        case.ours.cache_read = 0
        case.theirs["input_tokens"] -= case.theirs.pop("cache_read_tokens")
    theirs = model.calc_price(
        types.Usage(**case.theirs),
        provider,
        genai_request_timestamp=now,
        price_context=context(case.ours.tier),
    ).total_price
    cost, nanos = price.cost(case.ours), theirs * 10**9
    if cost is None:
        assert nanos == 0, (provider.id, model.id, case.theirs)
        return None
    exact = int(nanos.to_integral_value(ROUND_HALF_UP))
    if provider.id == "openrouter":
        assert abs(exact - cost) <= PICO_ERROR * case.theirs["input_tokens"] + 1
    else:
        assert exact == cost, (provider.id, model.id, case.ours.tier, case.theirs)
    return exact == cost


@pytest.mark.parametrize("now", MOMENTS, ids=str)
def test_costs_equal_the_packages_own(now, request):
    sizes = FULL if request.config.getoption("--battery") else SMALL
    choose, book = random.Random(now.year), book_at(now)
    everything = [(provider, listed.id) for provider in providers for listed in provider.models]
    chosen = choose.sample(everything, min(sizes.priced_models, len(everything)))
    compared: Counter[bool | None] = Counter()
    for provider, name in chosen:
        model = provider.find_model(name, all_providers=providers)
        if model is None or (provider.id, model.id) in CORRECTIONS:
            continue
        prices = vars(model.get_prices(now))
        keys = {key for key, value in prices.items() if value is not None}
        price = book.find(OURS.get(provider.id, provider.id), (name,))
        if price is None:
            # Free there, unknown here; or priced by the page or the message, which nobody counts.
            assert not keys & _KEYS.keys(), name
            assert not model.id.endswith(":free"), name
            continue
        for tier in (None, "flex", "priority", "batch", "fast"):
            compared[compare(provider, model, price, Case(choose, keys, tier), now)] += 1
    assert compared[True] > 2.5 * len(chosen)
    assert compared[True] > 99 * compared[False]


def test_names_mean_the_models_that_they_mean_there():
    """Whatever is written, the same clause is met, or none."""
    choose, book = random.Random(1), book_at(MOMENTS[0])
    for provider in choose.sample(providers, 20):
        for listed in provider.models:
            for name in (f"{listed.id}-2026-01-01", f"x-{listed.id}", listed.id[:-1] or "x"):
                if book.find(OURS.get(provider.id, provider.id), (name,)) is None:
                    found = provider.find_model(name, all_providers=providers)
                    assert found is None or not vars(found.get_prices(MOMENTS[0])), name


def test_an_azure_deployment_of_openais_has_no_lanes():
    price = book_at(MOMENTS[0]).find("azure-openai", ("gpt-5",))
    assert price is not None
    assert price.lanes == {}


def test_a_corrected_price_says_so_beside_the_tables_version():
    book = book_at(MOMENTS[0])
    plain, better = (book.find("openai", (name,)) for name in ("gpt-4o", "gpt-4o-transcribe"))
    azures = book.find("azure-openai", ("gpt-4o-audio-preview",))  # a model of OpenAI's, there too

    assert plain is not None
    assert better is not None
    assert azures is not None
    assert plain.source == book.source
    assert better.source == azures.source == f"{book.source}, corrected"
    assert azures.cost(used(1000, 0, input_audio=1000)) == 1000 * 40_000


def test_a_price_that_changes_says_until_when_it_holds():
    soon = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    before = book_at(soon).find("google-ai-studio", ("gemini-3.6-flash",))
    after = book_at(soon + timedelta(seconds=1)).find("google-ai-studio", ("gemini-3.6-flash",))

    assert before is not None
    assert after is not None
    assert before.until_ns is not None
    assert after.until_ns is None
    assert before.cost(used(1000, 0)) != after.cost(used(1000, 0))
    batch = used(1000, 0, tier="batch")
    assert before.cost(batch) != after.cost(batch)  # of two that hold the first counts


def test_unknown_providers_and_models_have_no_price():
    book = book_at(MOMENTS[0])
    assert book.find("nobody", ("gpt-5",)) is None
    assert book.find("openai", ("nothing-like-it",)) is None
    assert "claude-sonnet-4-5" in book.names("anthropic")
    assert len(book.names()) > 2000


def test_what_was_not_written_by_us_is_refused():
    for written in (b"", b"{}", b'{"version": 1, "providers": {}}', WRITTEN[:-1]):
        with pytest.raises(ValueError, match=r"."):
            Book(written)


@pytest.mark.parametrize(
    ("clause", "name", "met"),
    [
        (["equals", "a"], "a", True),
        (["starts", "a"], "ab", True),
        (["ends", "b"], "ab", True),
        (["contains", "x"], "ab", False),
        (["regex", "^a.$"], "ab", True),
        (["or", [["equals", "x"], ["equals", "ab"]]], "ab", True),
        (["and", [["starts", "a"], ["ends", "c"]]], "ab", False),
    ],
)
def test_a_condition_on_a_name_is_met_or_not(clause, name, met):
    assert fits(clause, name) is met
