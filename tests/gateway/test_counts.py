"""Counters are disjoint, and what is unknown stays unknown."""

from __future__ import annotations

import pytest

from gateway import Usage
from gateway.counts import COUNT_MAX, count, detail, read_cohere, read_counts, read_gemini
from tests.gateway.answers import counts_of


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, (None, None, None, None, None)),
        ({"prompt_tokens": 5}, (5, None, None, None, None)),
        ({"completion_tokens": 5}, (None, None, None, 5, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (0, None, None, 0, None)),
        ({"prompt_tokens": None, "completion_tokens": "9"}, (None, None, None, None, None)),
        ({"prompt_tokens": True, "completion_tokens": -1}, (None, None, None, None, None)),
        ({"prompt_tokens": COUNT_MAX + 1, "completion_tokens": 1}, (None, None, None, 1, None)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, (9, None, None, None, None)),
        ({"prompt_tokens": 9, "prompt_tokens_details": [3]}, (9, None, None, None, None)),
        # A total of nothing but input: an embedding.
        ({"prompt_tokens": 9, "total_tokens": 9}, (9, None, None, 0, None)),
        ({"total_tokens": 9}, (9, None, None, 0, None)),
        # More was cached than read: it stands beside.
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 90}},
            (9, 90, None, None, None),
        ),
        # More reasoning than output: it stands beside.
        (
            {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 90}},
            (None, None, None, 9, 90),
        ),
        ({"completion_tokens": 90, "reasoning_tokens": 40}, (None, None, None, 50, 40)),
        ({"input_tokens": 9, "output_tokens": 2}, (9, None, None, 2, None)),
        (
            {"input_tokens": 9, "cache_read_input_tokens": 90, "output_tokens": 2},
            (9, 90, None, 2, None),
        ),
        (
            {"input_tokens": 90, "input_tokens_details": {"cached_tokens": 9}},
            (81, 9, None, None, None),
        ),
        ({"inputTokens": 9, "cacheReadInputTokens": 90}, (9, 90, None, None, None)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 2}}, (9, None, None, 2, None)),
    ],
)
def test_each_shape_makes_disjoint_counters(counts, expected):
    usage = Usage()
    read_counts(counts, usage)

    assert counts_of(usage) == expected


def test_a_streams_later_counts_leave_what_they_do_not_name():
    usage = Usage()
    read_counts({"input_tokens": 9, "cache_read_input_tokens": 90, "output_tokens": 1}, usage)
    read_counts({"output_tokens": 70, "input_tokens": None}, usage)

    assert counts_of(usage) == (9, 90, None, 70, None)


@pytest.mark.parametrize(("speed", "tier"), [("fast", "fast"), ("standard", "standard")])
def test_anthropics_fast_mode_is_a_tier_whatever_tier_it_names_beside(speed, tier):
    usage = Usage()
    read_counts({"input_tokens": 8, "service_tier": "standard", "speed": speed}, usage)

    assert usage.tier == tier


def test_geminis_cached_tokens_are_within_its_prompt():
    usage = Usage()
    read_gemini({"promptTokenCount": 100, "cachedContentTokenCount": 60}, usage)

    assert counts_of(usage) == (40, 60, None, None, None)


def test_what_cohere_bills_counts_more_than_what_it_saw():
    usage = Usage()
    seen = {"input_tokens": 500.0, "output_tokens": 9.0}
    read_cohere({"billed_units": {"input_tokens": 5.0}, "tokens": seen}, usage)

    assert counts_of(usage) == (5, None, None, 9, None)


@pytest.mark.parametrize(
    ("found", "expected"), [(3, 3), (3.0, 3), (0, 0), (-1, None), (True, None), ("3", None)]
)
def test_a_count_is_a_number_that_can_be_one(found, expected):
    assert count({"a": [{"b": found}]}, "a", 0, "b") == expected


def test_a_detail_of_nothing_is_none():
    usage = Usage()
    detail(usage, "images", 0)
    detail(usage, "images", None)
    assert usage.details is None

    detail(usage, "images", 2)
    assert usage.details == {"images": 2}
