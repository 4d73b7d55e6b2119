from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from plugins.cost.litellm import PriceFile, as_last_read, opened
from plugins.cost.prices import Price
from tests.plugins.cost.test_table import used

ROWS: dict[str, dict[str, Any]] = {
    "sample_spec": {"litellm_provider": "one of the providers", "max_tokens": "a number"},
    "gpt-5": {
        "litellm_provider": "openai",
        "input_cost_per_token": 1.25e-06,
        "input_cost_per_token_flex": 6.25e-07,
        "input_cost_per_token_batches": 6.25e-07,
        "cache_read_input_token_cost": 1.25e-07,
        "cache_read_input_token_cost_flex": 6.25e-08,
        "output_cost_per_token": 1e-05,
        "output_cost_per_token_flex": 5e-06,
        "search_context_cost_per_query": {
            "search_context_size_low": 0.01,
            "search_context_size_medium": 0.02,
        },
    },
    "gemini/gemini-2.5-pro": {
        "litellm_provider": "gemini",
        "input_cost_per_token": 1.25e-06,
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "input_cost_per_token_above_200k_tokens_priority": 4.5e-06,
        "input_cost_per_token_priority": 2.25e-06,
        "output_cost_per_token": 1e-05,
        "output_cost_per_token_above_200k_tokens": 1.5e-05,
    },
    "claude-sonnet-4-5": {
        "litellm_provider": "anthropic",
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
        "cache_creation_input_token_cost": 3.75e-06,
        "cache_creation_input_token_cost_above_1hr": 6e-06,
    },
    "claude-opus-5": {
        "litellm_provider": "anthropic",
        "input_cost_per_token": 5e-06,
        "output_cost_per_token": 2.5e-05,
        "cache_read_input_token_cost": 5e-07,
        "search_context_cost_per_query": {"search_context_size_medium": 0.01},
        "provider_specific_entry": {"us": 1.1, "fast": 2.0},
    },
    "odd-factor": {
        "litellm_provider": "anthropic",
        "input_cost_per_token": 5e-06,
        "output_cost_per_token": 2.5e-05,
        "provider_specific_entry": {"fast": "twice"},
    },
    "dashscope/qwen": {
        "litellm_provider": "dashscope",
        "tiered_pricing": [
            {"range": [0, 1000], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
            {"range": [1000, 9000], "input_cost_per_token": 3e-06, "output_cost_per_token": 4e-06},
        ],
    },
    "whisper-1": {"litellm_provider": "openai", "input_cost_per_second": 0.0001},
    "groq/whisper-large-v3": {"litellm_provider": "groq", "input_cost_per_second": 0.00003},
    "rerank-v3.5": {"litellm_provider": "cohere", "input_cost_per_query": 0.002},
    "command-a": {
        "litellm_provider": "cohere",
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
    },
    "azure/gpt-4o": {
        "litellm_provider": "azure",
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
    },
    "us.amazon.nova": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 1e-06},
    "amazon.nova": {"litellm_provider": "bedrock", "input_cost_per_token": 9e-07},
    "dall-e": {"litellm_provider": "openai", "output_cost_per_image": 0.04},
    "image-by-token": {
        "litellm_provider": "openai",
        "input_cost_per_token": 1e-06,
        "output_cost_per_image": 0.04,
        "output_cost_per_image_token": 3e-05,
    },
    "no-price": {"litellm_provider": "openai", "mode": "chat"},
    "odd": {"litellm_provider": "openai", "input_cost_per_token": "a lot"},
}
FILE = PriceFile(Path("/somewhere/prices.json"), orjson.dumps(ROWS))


def price(provider: str, model: str) -> Price:
    found = FILE.find(provider, (model,))
    assert found is not None
    return found


def test_tokens_lanes_and_searches_have_the_rows_prices():
    gpt = price("openai", "gpt-5-2025-08-07")
    assert gpt.cost(used(100, 10, read=50)) == 100 * 1_250 + 50 * 125 + 10 * 10_000
    assert gpt.cost(used(100, 10, read=50, tier="flex")) == 100 * 625 + 50 * 62.5 + 10 * 5_000
    # what a lane has no price of costs as usual
    assert gpt.cost(used(100, 10, tier="batch")) == 100 * 625 + 10 * 10_000
    assert gpt.cost(used(1, 0, web_searches=1)) == 1_250 + 20_000_000


def test_a_tier_is_the_whole_requests():
    pro = price("google-ai-studio", "models/gemini-2.5-pro")
    assert pro.cost(used(200_000, 1)) == 200_000 * 1_250 + 10_000
    assert pro.cost(used(200_001, 1)) == 200_001 * 2_500 + 15_000
    assert pro.cost(used(200_001, 1, tier="priority")) == 200_001 * 4_500 + 15_000


def test_the_other_form_of_tiers_is_read_too():
    qwen = price("dashscope", "qwen")
    assert qwen.cost(used(1000, 1)) == 1000 * 1_000 + 2_000
    assert qwen.cost(used(1001, 1)) == 1001 * 3_000 + 4_000


def test_longer_cache_writes_have_their_own_price():
    claude = price("anthropic", "claude-sonnet-4-5-20250929")
    assert claude.cost(used(0, 0, write=3, cache_write_1h=2)) == 3_750 + 2 * 6_000


def test_seconds_searches_and_pictures_are_priced_by_the_piece():
    assert price("openai", "whisper-1").cost(used(input_audio_ms=1500)) == 150_000
    assert price("cohere", "rerank-v3.5").cost(used(search_units=2)) == 4_000_000
    assert price("openai", "dall-e").cost(used(images=2)) == 80_000_000
    # a picture that is counted in tokens is not paid twice
    assert price("openai", "image-by-token").cost(used(0, 9, output_image=9, images=1)) == 270_000


def test_a_short_sound_of_groqs_is_billed_as_its_least():
    groq = price("groq", "whisper-large-v3")
    assert groq.cost(used(input_audio_ms=1500)) == groq.cost(used(input_audio_ms=10_000)) == 300_000
    assert groq.cost(used(input_audio_ms=20_000)) == 600_000


def test_fast_mode_is_a_factor_of_the_tokens_alone():
    opus = price("anthropic", "claude-opus-5")
    fast = used(100, 10, read=50, web_searches=1, tier="fast")
    assert opus.cost(fast) == 100 * 10_000 + 50 * 1_000 + 10 * 50_000 + 10_000_000
    # without a factor that is a number it costs as usual
    assert price("anthropic", "odd-factor").cost(used(100, 10, tier="fast")) == 750_000


def test_what_cohere_cached_is_free_and_anybody_elses_is_not():
    assert price("cohere", "command-a").cost(used(1, 1, read=100)) == 2_500 + 10_000
    assert price("azure-openai", "gpt-4o").cost(used(1, 1, read=100)) == 101 * 2_500 + 10_000


def test_the_most_exact_name_counts():
    assert price("aws-bedrock", "us.amazon.nova").cost(used(1, 0)) == 1_000
    assert price("aws-bedrock", "eu.amazon.nova").cost(used(1, 0)) == 900


def test_a_row_of_another_provider_is_not_taken():
    assert FILE.find("openrouter", ("gpt-5",)) is None
    assert FILE.find("google-vertex-ai", ("gemini-2.5-pro",)) is None


@pytest.mark.parametrize("model", ["no-price", "odd", "sample_spec", "gpt-9"])
def test_a_row_without_a_price_is_none(model):
    assert FILE.find("openai", (model,)) is None


def test_the_source_names_the_file_and_its_content():
    again = PriceFile(Path("/else/prices.json"), orjson.dumps(ROWS | {"x": {}}))
    assert FILE.source.startswith("litellm:prices.json-")
    assert len(FILE.source) == len("litellm:prices.json-") + 8
    assert again.source != FILE.source
    assert "gpt-5" in FILE.names()


def test_a_file_is_read_again_only_when_it_is_another(tmp_path):
    file = tmp_path / "prices.json"
    file.write_bytes(orjson.dumps(ROWS))
    first = opened(str(file))
    assert opened(str(file)) is first

    changed = tmp_path / "new"
    changed.write_bytes(orjson.dumps({"gpt-5": ROWS["gpt-5"]}))
    changed.replace(file)
    assert as_last_read(str(file)) is first
    assert opened(str(file)).source != first.source
    assert as_last_read(str(file)) is not first
    file.unlink()
    assert as_last_read(str(file)).names() == ["gpt-5"]


@pytest.mark.parametrize(
    ("written", "said"),
    [(b"[]", "no JSON object"), (b"{", "no JSON object"), (None, "cannot be read: No such file")],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path, written, said):
    file = tmp_path / "prices.json"
    if written is not None:
        file.write_bytes(written)
    with pytest.raises(ValueError, match=said):
        opened(str(file))


@pytest.mark.parametrize(("most", "known"), [(8192, 8192), ("8192", None), (0, None), (True, None)])
def test_the_most_that_a_model_writes_is_known(most, known):
    row = {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "max_output_tokens": most}
    written = orjson.dumps({"m": row})
    price = PriceFile(Path("/somewhere/prices.json"), written).find("openai", ("m",))
    assert price is not None
    assert price.output_max == known
