"""What is priced by the piece is counted as far as a request says it."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.budget.units import SEARCHES_DEFAULT, kind_of, picture_tokens, sound_ms, units_of


@pytest.mark.parametrize(
    ("path", "document", "answers", "units"),
    [
        (b"v1/images/generations", {}, 1, {"images": 1}),
        (b"v1/images/generations?x=y", {"n": 3}, 3, {"images": 3}),
        (b"v1/models/imagen-4:predict", {}, 2, {"images": 2}),
        (b"v1/audio/speech", {"input": "Grüße"}, 1, {"input_characters": 5}),
        (b"v1/audio/speech", {"input": 5}, 1, None),
        (b"v2/rerank", {"documents": ["a"] * 100}, 1, {"search_units": 1}),
        (b"v2/rerank", {"documents": ["a"] * 101}, 1, {"search_units": 2}),
        (b"v2/rerank", {}, 1, {"search_units": 1}),
        (b"v1/messages", {"tools": [{"type": "web_search_20250305", "max_uses": 3}]}, 1,
         {"web_searches": 3}),
        (b"v1/responses", {"tools": [{"type": "web_search"}]}, 1,
         {"web_searches": SEARCHES_DEFAULT}),
        (b"v1beta/models/m:generateContent", {"tools": [{"google_search": {}}]}, 1,
         {"web_searches": SEARCHES_DEFAULT}),
        (b"v1/chat/completions", {"web_search_options": {}}, 2,
         {"web_searches": 2 * SEARCHES_DEFAULT}),
        (b"v1/chat/completions", {"tools": [{"type": "function"}, 5]}, 1, None),
        (b"v1/chat/completions", {"tools": None}, 1, None),
        (b"v1/chat/completions", {"n": 3}, 3, None),
    ],
)  # fmt: skip
def test_units(path: bytes, document: dict[str, Any], answers: int, units: Any):
    assert units_of(kind_of(path), document, answers) == units


@pytest.mark.parametrize(
    ("document", "tokens"),
    [
        ({}, 6240),
        ({"quality": "auto"}, 6240),
        ({"quality": "low"}, 408),
        ({"quality": "medium", "partial_images": 2}, 1784),
        ({"quality": "hd"}, 0),
        ({"quality": [], "partial_images": 99}, 6540),
    ],
)
def test_a_pictures_tokens_follow_from_its_quality(document, tokens):
    assert picture_tokens(document) == tokens


def test_a_sound_is_as_long_as_it_is_at_few_bits():
    assert sound_ms(4_000) == 1_000
