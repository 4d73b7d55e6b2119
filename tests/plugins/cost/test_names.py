from __future__ import annotations

import pytest

from plugins.cost.names import short, variants


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("GPT-5", "gpt-5"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("projects/p/locations/l/publishers/anthropic/models/claude@1", "claude@1"),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
            "amazon.nova-lite-v1:0",
        ),
        ("openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("@cf/meta/llama-3.1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct"),
    ],
)
def test_a_path_to_a_model_is_no_part_of_its_name(model, name):
    assert short(model) == name


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("command-r-08-2024", "command-r"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "ft:gpt-4o-mini-2024-07-18"),
        ("mistral-large-latest", "mistral-large"),
    ],
)
def test_a_model_is_looked_for_with_its_own_name_first_and_without_its_date(model, found):
    assert variants(model)[0] == model
    assert found in variants(model)


@pytest.mark.parametrize(
    "model", ["gpt-3.5-turbo-0125", "mistral-large-2512", "deepseek-r1:free", "ft:gpt-4o", "o3"]
)
def test_what_may_name_another_model_stays(model):
    assert variants(model) == (model,)
