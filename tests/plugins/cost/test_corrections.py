"""A page's price stands for what the package said of it, and for nothing else."""

from __future__ import annotations

from genai_prices import types
from genai_prices.data import providers

from plugins.cost.corrections import CORRECTIONS, corrected
from plugins.cost.extract import prices

TRANSCRIBE = ("openai", "gpt-4o-transcribe")


def test_the_pages_price_stands_where_the_package_says_what_it_did():
    sheet = {"input_mtok": "2.5", "input_audio_mtok": "6", "output_mtok": "10"}

    assert corrected(*TRANSCRIBE, sheet) == sheet | {"input_audio_mtok": "2.5"}


def test_a_price_that_is_missing_is_added():
    sheet = {"input_mtok": "2.5", "output_mtok": "10"}

    found = corrected("openai", "gpt-4o-audio-preview", sheet)

    assert found == sheet | {"input_audio_mtok": "40", "output_audio_mtok": "80"}


def test_a_package_that_says_something_else_by_now_counts():
    sheet = {"input_mtok": "2.5", "input_audio_mtok": "5"}

    assert corrected(*TRANSCRIBE, sheet) == sheet
    assert corrected("azure", "gpt-4o-transcribe", {"input_audio_mtok": "6"}) == {
        "input_audio_mtok": "6"
    }


def test_each_correction_is_still_one():
    """A release of the package that has the page's price makes its line here superfluous."""
    known = {
        (provider.id, model.id): prices(model.prices)
        for provider in providers
        for model in provider.models
        if (provider.id, model.id) in CORRECTIONS and isinstance(model.prices, types.ModelPrice)
    }

    for name, keys in CORRECTIONS.items():
        for key, (old, new) in keys.items():
            assert known[name].get(key) == old, (name, key)
            assert new != old, (name, key)
