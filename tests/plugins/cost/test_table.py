"""Costs computed by hand, from what the vendors' pages say, and what is found where.

Each case names where its prices and its rule stand: a page of the vendor's, read on 2026-11-28 in
stored copies of 2026, or LITELLM where none could be read. LiteLLM's file (release 1.110.2) agrees
with every case but where a comment says what it has instead. A case's sum is written in
nano-dollars: a dollar a million tokens is 1000 of them a token.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
import orjson
import pytest

from gateway import Usage
from plugins.cost import extract
from plugins.cost.genai import Book
from plugins.cost.own import Model
from plugins.cost.table import RESOLVED_MAX, Table

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WRITTEN = orjson.dumps(extract.everything())
BOOK = Book(WRITTEN, now=lambda: NOON)
SEARCH, SECOND = 10_000_000, 100_000  # a search at 10 USD a thousand; a second at 0.36 USD an hour

OPENAI, ANTHROPIC, GOOGLE = "openai", "anthropic", "google-ai-studio"
LITELLM = "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json"
OPENAI_PRICES = "https://developers.openai.com/api/docs/pricing"
OPENAI_PRIORITY = "https://openai.com/api-priority-processing"
OPENAI_MODELS = "https://developers.openai.com/api/docs/models"
CLAUDE_PRICES = "https://platform.claude.com/docs/en/about-claude/pricing"
GEMINI_PRICES = "https://ai.google.dev/gemini-api/docs/pricing"
DEEPSEEK_PRICES = "https://api-docs.deepseek.com/quick_start/pricing"
GROQ_DOCS = "https://console.groq.com/docs"
XAI_PRICES = "https://docs.x.ai/developers/pricing"
PERPLEXITY_PRICES = "https://docs.perplexity.ai/getting-started/pricing"
GPT5 = "gpt-5-2025-08-07"
SONNET = "claude-sonnet-4-5-20250929"
HAIKU = "claude-haiku-4-5-20251001"
OPUS = "claude-opus-4-5-20251101"


def used(
    fresh: int | None = None,
    out: int | None = None,
    *,
    read: int | None = None,
    write: int | None = None,
    thought: int | None = None,
    tier: str | None = None,
    **details: int,
) -> Usage:
    usage = Usage()
    usage.fresh_input, usage.cache_read, usage.cache_write = fresh, read, write
    usage.output_text, usage.output_reasoning = out, thought
    usage.tier, usage.details = tier, details or None
    return usage


Case = tuple[str, str, Usage, float, int, str]
CASES: list[Case] = [
    (OPENAI, GPT5, used(1000, 500), 1000 * 1_250 + 500 * 10_000, 6_250_000, OPENAI_PRICES),
    (
        OPENAI,
        GPT5,
        used(2000, 300, read=8000, thought=1200),
        2000 * 1_250 + 8000 * 125 + (300 + 1200) * 10_000,
        18_500_000,
        OPENAI_PRICES,
    ),
    (
        OPENAI,
        GPT5,
        used(10_000, 1000, tier="flex"),
        10_000 * 625 + 1000 * 5_000,
        11_250_000,
        OPENAI_PRICES,
    ),
    (
        OPENAI,
        GPT5,
        used(10_000, 1000, tier="priority"),
        10_000 * 2_500 + 1000 * 20_000,
        45_000_000,
        OPENAI_PRIORITY,
    ),
    (
        OPENAI,
        GPT5,
        used(10_000, 1000, tier="default"),
        10_000 * 1_250 + 1000 * 10_000,
        22_500_000,
        OPENAI_PRICES,
    ),
    (
        OPENAI,
        GPT5,
        used(6000, 1000, read=4000, tier="batch"),
        6000 * 625 + 4000 * 62.5 + 1000 * 5_000,
        9_000_000,
        OPENAI_PRICES,
    ),
    (OPENAI, "gpt-5-mini", used(1, 0, read=1), 250 + 25, 275, OPENAI_PRICES),
    # half a nano-dollar is one
    (OPENAI, "gpt-5-mini", used(0, 0, read=1, tier="flex"), 12.5 + 0.5, 13, OPENAI_PRICES),
    # LiteLLM has 25 USD a thousand: the page's price of the preview tool, with models that do not
    # reason. Which of the two tools searched, the counts do not say.
    (
        OPENAI,
        "gpt-4.1",
        used(5000, 1000, web_searches=2),
        5000 * 2_000 + 1000 * 8_000 + 2 * SEARCH,
        38_000_000,
        OPENAI_PRICES,
    ),
    (
        OPENAI,
        "gpt-4o-2024-08-06",
        used(1000, 200, read=3000),
        1000 * 2_500 + 3000 * 1_250 + 200 * 10_000,
        8_250_000,
        OPENAI_PRICES,
    ),
    # The batch table has no cached input here: it costs what it does anyway, half of fresh input.
    (
        OPENAI,
        "gpt-4o-mini",
        used(1000, 100, read=1000, tier="batch"),
        1000 * 75 + 1000 * 75 + 100 * 300,
        180_000,
        OPENAI_PRICES,
    ),
    (OPENAI, "gpt-5.4", used(272_000, 0), 272_000 * 2_500, 680_000_000, OPENAI_PRICES),
    (
        OPENAI,
        "gpt-5.4",
        used(300_000, 1000),
        300_000 * 5_000 + 1000 * 22_500,
        1_522_500_000,
        f"{OPENAI_MODELS}/gpt-5.4",
    ),
    (
        OPENAI,
        "o4-mini",
        used(1000, 60, read=1000, thought=40, tier="flex"),
        1000 * 550 + 1000 * 138 + (60 + 40) * 2_200,
        908_000,
        OPENAI_PRICES,
    ),
    (
        OPENAI,
        "text-embedding-3-small",
        used(10_000, 0),
        10_000 * 20,
        200_000,
        f"{OPENAI_MODELS}/text-embedding-3-large",  # compares the two
    ),
    (
        OPENAI,
        "gpt-image-1",
        used(500, 4000, input_image=300),
        200 * 5_000 + 300 * 10_000 + 4000 * 40_000,
        164_000_000,
        f"{OPENAI_MODELS}/gpt-image-1",
    ),
    # shut down, and gone from LiteLLM's file, as the next
    (
        OPENAI,
        "gpt-4o-mini-realtime-preview",
        used(900, 400, read=300, input_audio=800, cache_read_audio=200, output_audio=300),
        300 * 600 + 600 * 10_000 + 100 * 300 + 200 * 300 + 100 * 2_400 + 300 * 20_000,
        12_510_000,
        f"{OPENAI_MODELS}/gpt-4o-mini-realtime-preview",
    ),
    # genai-prices has no price of its sound
    (
        OPENAI,
        "gpt-4o-audio-preview",
        used(900, 400, input_audio=800, output_audio=300),
        100 * 2_500 + 800 * 40_000 + 100 * 10_000 + 300 * 80_000,
        57_250_000,
        f"{OPENAI_MODELS}/gpt-4o-audio-preview",
    ),
    # genai-prices has 6 USD for sound, as OPENAI_PRICES had in 2026-03
    (
        OPENAI,
        "gpt-4o-transcribe",
        used(500, 100, input_audio=480),
        20 * 2_500 + 480 * 2_500 + 100 * 10_000,
        2_250_000,
        f"{OPENAI_MODELS}/gpt-4o-transcribe",
    ),
    (
        OPENAI,
        "whisper-1",
        used(input_audio_ms=90_000),
        90 * SECOND,
        9_000_000,
        f"{OPENAI_MODELS}/whisper-1",
    ),
    (
        OPENAI,
        "tts-1",
        used(input_characters=1200),
        1200 * 15_000,
        18_000_000,
        f"{OPENAI_MODELS}/tts-1",
    ),
    # Global, as OpenAI's. Azure's page says no number before a region is chosen; LiteLLM's come
    # from its list of retail prices.
    (
        "azure-openai",
        "gpt-4o-2024-11-20",
        used(1000, 100),
        1000 * 2_500 + 100 * 10_000,
        3_500_000,
        LITELLM,
    ),
    (ANTHROPIC, HAIKU, used(1000, 200), 1000 * 1_000 + 200 * 5_000, 2_000_000, CLAUDE_PRICES),
    (
        ANTHROPIC,
        SONNET,
        used(100, 400, read=20_000, write=5000),
        100 * 3_000 + 20_000 * 300 + 5000 * 3_750 + 400 * 15_000,
        31_050_000,
        CLAUDE_PRICES,
    ),
    (
        ANTHROPIC,
        SONNET,
        used(100, 100, write=6000, cache_write_1h=4000),
        100 * 3_000 + 2000 * 3_750 + 4000 * 6_000 + 100 * 15_000,
        33_300_000,
        CLAUDE_PRICES,
    ),
    (
        ANTHROPIC,
        OPUS,
        used(2000, 300, thought=700),
        2000 * 5_000 + 1000 * 25_000,
        35_000_000,
        CLAUDE_PRICES,
    ),
    # LiteLLM has no price of an hour's cache in a batch; the page halves it like the rest
    (
        ANTHROPIC,
        OPUS,
        used(1000, 100, read=10_000, write=1000, cache_write_1h=1000, tier="batch"),
        1000 * 2_500 + 10_000 * 250 + 1000 * 5_000 + 100 * 12_500,
        11_250_000,
        CLAUDE_PRICES,
    ),
    # fast mode doubles all, and what caching multiplies is multiplied from there
    (
        ANTHROPIC,
        "claude-opus-5",
        used(1000, 100, read=10_000, write=1000, cache_write_1h=500, tier="fast"),
        1000 * 10_000 + 10_000 * 1_000 + 500 * 12_500 + 500 * 20_000 + 100 * 50_000,
        41_250_000,
        CLAUDE_PRICES,
    ),
    # LiteLLM has no price of this model's searches; the page has one for all
    (
        ANTHROPIC,
        HAIKU,
        used(1000, 100, web_searches=3),
        1000 * 1_000 + 100 * 5_000 + 3 * SEARCH,
        31_500_000,
        CLAUDE_PRICES,
    ),
    (
        GOOGLE,
        "models/gemini-2.5-pro",
        used(200_000, 1000),
        200_000 * 1_250 + 1000 * 10_000,
        260_000_000,
        GEMINI_PRICES,
    ),
    (
        GOOGLE,
        "gemini-2.5-pro",
        used(200_001, 1000),
        200_001 * 2_500 + 1000 * 15_000,
        515_002_500,
        GEMINI_PRICES,
    ),
    (
        GOOGLE,
        "gemini-2.5-pro",
        used(50_000, 0, read=160_000, thought=2000),
        50_000 * 2_500 + 160_000 * 250 + 2000 * 15_000,
        195_000_000,
        GEMINI_PRICES,
    ),
    (
        GOOGLE,
        "gemini-2.5-flash",
        used(1500, 100, input_audio=1000),
        500 * 300 + 1000 * 1_000 + 100 * 2_500,
        1_400_000,
        GEMINI_PRICES,
    ),
    (
        GOOGLE,
        "gemini-2.5-flash",
        used(800, 10, read=600, input_audio=1000, cache_read_audio=400),
        200 * 300 + 600 * 1_000 + 200 * 30 + 400 * 100 + 10 * 2_500,
        731_000,
        GEMINI_PRICES,
    ),
    (
        GOOGLE,
        "gemini-2.5-flash-lite",
        used(10_000, 1000, tier="batch"),
        10_000 * 50 + 1000 * 200,
        700_000,
        GEMINI_PRICES,
    ),
    (
        GOOGLE,
        "gemini-2.5-flash-image",
        used(20, 1290, output_image=1290),
        20 * 300 + 1290 * 30_000,
        38_706_000,
        GEMINI_PRICES,
    ),
    (GOOGLE, "gemini-embedding-001", used(1000, 0), 1000 * 150, 150_000, GEMINI_PRICES),
    # The global endpoint's: a regional one's is a tenth dearer, which no name or answer tells.
    (
        "google-vertex-ai",
        "publishers/anthropic/models/claude-sonnet-4-5@20250929",
        used(1000, 100),
        1000 * 3_000 + 100 * 15_000,
        4_500_000,
        CLAUDE_PRICES,
    ),
    # a Saturday, so off its peaks; LiteLLM has the peak's prices alone
    (
        "deepseek",
        "deepseek-v4-flash",
        used(1000, 500, read=9000),
        1000 * 150 + 9000 * 3 + 500 * 600,
        477_000,
        DEEPSEEK_PRICES,
    ),
    # not served since 2026-08, and gone from LiteLLM's file
    (
        "groq",
        "llama-3.3-70b-versatile",
        used(1000, 1000),
        1000 * 590 + 1000 * 790,
        1_380_000,
        f"{GROQ_DOCS}/models",
    ),
    # the page of models has the two prices, this one that cached input costs half
    (
        "groq",
        "openai/gpt-oss-120b",
        used(1000, 100, read=2000),
        1000 * 150 + 2000 * 75 + 100 * 600,
        360_000,
        f"{GROQ_DOCS}/prompt-caching",
    ),
    # a sound counts as 10 s at least; LiteLLM's price of a second is cut to four digits
    (
        "groq",
        "whisper-large-v3-turbo",
        used(input_audio_ms=3_000),
        10 * 40_000_000 // 3600,
        111_111,
        f"{GROQ_DOCS}/speech-to-text",
    ),
    ("mistral", "codestral-latest", used(1000, 500), 1000 * 300 + 500 * 900, 750_000, LITELLM),
    # that cached input costs a tenth is on docs.mistral.ai/studio-api/conversations/advanced too
    (
        "mistral",
        "mistral-small-latest",
        used(1000, 100, read=4000),
        1000 * 150 + 4000 * 15 + 100 * 600,
        270_000,
        LITELLM,
    ),
    # What is billed is `billed_units`, whatever `cached_tokens` stand beside them:
    # https://docs.cohere.com/v2/docs/how-does-cohere-pricing-work
    (
        "cohere",
        "command-a-03-2025",
        used(1000, 100, read=5000),
        1000 * 2_500 + 100 * 10_000,
        3_500_000,
        LITELLM,
    ),
    ("cohere", "command-r7b-12-2024", used(3, 1), 3 * 37.5 + 150 + 0.5, 263, LITELLM),
    ("cohere", "embed-v4.0", used(1000, 0), 1000 * 120, 120_000, LITELLM),
    # LiteLLM's come from AWS's price list
    (
        "aws-bedrock",
        "us.amazon.nova-lite-v1:0",
        used(1000, 100, read=1000),
        1000 * 60 + 1000 * 15 + 100 * 240,
        99_000,
        LITELLM,
    ),
    # a regional profile is a tenth dearer than the global one for Claude 4.5 and later
    (
        "aws-bedrock",
        "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        used(1000, 100),
        1000 * 3_300 + 100 * 16_500,
        4_950_000,
        CLAUDE_PRICES,
    ),
    (
        "grok",
        "grok-4.3",
        used(1000, 100, read=1000, thought=500),
        1000 * 1_250 + 1000 * 200 + (100 + 500) * 2_500,
        2_950_000,
        XAI_PRICES,
    ),
    # dearer from 200,000 on; LiteLLM's key says above it
    ("grok", "grok-4.3", used(199_999, 0), 199_999 * 1_250, 249_998_750, XAI_PRICES),
    ("grok", "grok-4.3", used(200_000, 0), 200_000 * 2_500, 500_000_000, XAI_PRICES),
    # Its last: not served since 2026-09-27. A request costs 6, 10 or 14 USD a thousand by the size
    # of its search context, on the vendor's page and in LiteLLM; genai-prices has the dearest.
    (
        "perplexity-ai",
        "sonar-pro",
        used(1000, 500),
        1000 * 3_000 + 500 * 15_000 + 14_000_000,
        24_500_000,
        PERPLEXITY_PRICES,
    ),
    # the same; its citation tokens, 2 USD a million, are not counted here
    (
        "perplexity-ai",
        "sonar-deep-research",
        used(100, 200, thought=3000, web_searches=5),
        100 * 2_000 + 200 * 8_000 + 3000 * 3_000 + 5 * 5_000_000,
        35_800_000,
        PERPLEXITY_PRICES,
    ),
    # mastra.ai/models has 0.25 and 0.69 USD; the vendor's own page could not be read
    ("cerebras", "gpt-oss-120b", used(1000, 1000), 1000 * 350 + 1000 * 750, 1_100_000, LITELLM),
]
# What the package has no price of, so that the configuration says it. Cohere's page has no price of
# a search any more (2026-10); dall-e-3 stood on OpenAI's until 2026-03.
OWN: list[dict] = [
    {"provider": "cohere", "model": "rerank-*", "search_unit": "0.002"},
    {"provider": "openai", "model": "dall-e-3", "image": 0.04},
]
OWN_CASES: list[Case] = [
    ("cohere", "rerank-v3.5", used(search_units=2), 2 * 2_000_000, 4_000_000, LITELLM),
    (OPENAI, "dall-e-3", used(images=2), 2 * 40_000_000, 80_000_000, OPENAI_PRICES),
]


def own(*rows: dict) -> tuple[Model, ...]:
    return tuple(msgspec.convert(row, Model) for row in rows)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "terms", "total", "source"), CASES + OWN_CASES
)
def test_a_cost_is_what_the_vendors_page_makes_it(provider, model, usage, terms, total, source):
    price = Table(own(*OWN), {}, None, BOOK).price(provider, model, None)

    assert price is not None
    assert (int(terms), price.cost(usage)) == (total, total), source


@pytest.mark.parametrize(
    ("moment", "times"),
    [
        (datetime(2026, 11, 27, 2, 0, tzinfo=UTC), 2),  # a Friday
        (datetime(2026, 11, 27, 4, 0, tzinfo=UTC), 1),
        (datetime(2026, 11, 28, 2, 0, tzinfo=UTC), 1),
        (datetime(2026, 11, 29, 9, 59, tzinfo=UTC), 1),
        (datetime(2026, 11, 30, 9, 59, tzinfo=UTC), 2),
    ],
    ids=str,
)
def test_an_hour_of_a_working_day_can_be_dearer(moment, times):
    # DEEPSEEK_PRICES: its peaks are 01:00-04:00 and 06:00-10:00 in UTC, from Monday to Friday.
    book = Book(WRITTEN, now=lambda: moment)

    price = Table((), {}, None, book).price("deepseek", "deepseek-v4-flash", None)

    assert price is not None
    assert price.cost(used(1000, 500, read=9000)) == times * 477_000


def test_the_model_that_answered_wins_over_the_one_that_was_asked_for():
    table = Table((), {}, None, BOOK)

    assert table.price(OPENAI, "gpt-5-mini", "gpt-5") == table.price(OPENAI, "gpt-5-mini", None)
    assert table.price("azure-openai", "gpt-5", "our-deployment") is not None
    assert table.price(OPENAI, "never-heard-of", "gpt-5") == table.price(OPENAI, "gpt-5", None)


def test_prices_of_ones_own_win_over_tables_by_either_name():
    table = Table(own({"model": "our-*", "input": 1, "output": 2}), {}, None, BOOK)

    price = table.price("azure-openai", "gpt-5", "our-deployment")

    assert price is not None
    assert price.source == "config"
    assert price.cost(used(1000, 10)) == 1000 * 1_000 + 10 * 2_000


def test_the_first_of_ones_own_prices_that_fits_counts():
    rows = own(
        {"provider": "open*", "model": "gpt-*", "input": "0.1"}, {"model": "*", "input": "0.2"}
    )
    table = Table(rows, {}, None, None)

    costs = [
        price.cost(used(1_000_000, 0))
        for names in (("openai", "gpt-5"), ("openai", "o3"), ("groq", "gpt-5"))
        if (price := table.price(*names, None)) is not None
    ]

    assert costs == [100_000_000, 200_000_000, 200_000_000]


def test_a_server_of_ones_own_has_the_price_that_the_configuration_gives_it():
    assert Table((), {}, None, BOOK).price("vllm", "gpt-5", None) is None
    assert Table(own({"model": "*", "input": 0}), {}, None, BOOK).price("vllm", "a", None)


def test_a_provider_of_ones_own_costs_what_another_does_under_an_alias():
    assert Table((), {}, None, BOOK).price("our-openai", "gpt-5", None) is None
    aliased = Table((), {"our-openai": "openai"}, None, BOOK)
    assert aliased.price("our-openai", "gpt-5", None) == BOOK.find("openai", ("gpt-5",))


def test_an_unknown_model_has_no_price_and_an_unnamed_one_neither():
    table = Table((), {}, None, BOOK)
    assert table.price(OPENAI, "gpt-99-turbo", None) is None
    assert table.price(OPENAI, None, None) is None


def test_models_that_callers_invent_are_not_remembered_for_ever():
    table = Table(own({"model": "*", "input": 1}), {}, None, None)
    for number in range(RESOLVED_MAX + 10):
        assert table.price("openai", f"m{number}", None) is not None
    assert len(table._resolved) <= RESOLVED_MAX


def test_a_price_is_looked_for_again_when_its_time_is_over():
    clock = [datetime(2026, 11, 27, 0, 59, 59, 980_000, tzinfo=UTC)]
    table = Table((), {}, None, Book(WRITTEN, now=lambda: clock[0]))
    before = table.price("deepseek", "deepseek-v4-flash", None)
    clock[0] = datetime(2026, 11, 27, 1, 0, tzinfo=UTC)
    time.sleep(0.05)  # the price was good for 20 ms
    now = table.price("deepseek", "deepseek-v4-flash", None)

    assert before is not None
    assert now is not None
    assert (before.cost(used(1000, 0)), now.cost(used(1000, 0))) == (150_000, 300_000)
