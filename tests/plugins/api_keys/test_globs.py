"""Patterns fit whole names."""

from __future__ import annotations

import pytest

from plugins.api_keys.globs import compiled


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        (("gpt-5*",), "gpt-5-mini", True),
        (("gpt-5*",), "gpt-4", False),
        (("gpt-5*",), "my-gpt-5", False),
        (("gpt-5",), "gpt-5-mini", False),
        (("gpt-5",), "GPT-5", False),
        (("a", "b*"), "bc", True),
        (("a", "b*"), "ab", False),
        (("v1/*",), "v1/chat/completions", True),
        (("gpt-?",), "gpt-5", True),
        (("gpt.5",), "gpt-5", False),
        (("a|b",), "a", False),
        (("a",), "a\n", False),
    ],
)
def test_a_pattern_fits_a_whole_name(patterns, name, fits):
    assert bool(compiled(patterns).match(name)) == fits


def test_any_case_where_it_is_wanted():
    assert compiled(("gpt-5*",), any_case=True).match("GPT-5-Mini")
