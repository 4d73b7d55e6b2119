from __future__ import annotations

import pytest

from gateway.dialects.loose import at, decode, error_text, items, read_json, string

DOCUMENT = {"a": [{"b": "c"}, {"b": 1}], "d": None}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), DOCUMENT),
        (("a", 0, "b"), "c"),
        (("a", -1, "b"), 1),
        (("a", 2, "b"), None),
        (("a", -3), None),
        (("a", "b"), None),
        (("d", "e"), None),
        (("x",), None),
    ],
)
def test_steps_lead_to_a_value_or_to_nothing(
    steps: tuple[str | int, ...], expected: object
) -> None:
    assert at(DOCUMENT, *steps) == expected


def test_strings_and_lists_are_only_what_they_are() -> None:
    assert string(DOCUMENT, "a", 0, "b") == "c"
    assert string(DOCUMENT, "a", 1, "b") is None
    assert items(DOCUMENT, "a") == DOCUMENT["a"]
    assert items(DOCUMENT, "d") == []


def test_what_is_no_json_decodes_to_nothing() -> None:
    assert decode(b'{"a":1}') == {"a": 1}
    assert decode(b"[DONE]") is None
    assert decode(b"") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, None),
        (False, None),
        ({}, None),
        ("broken", "broken"),
        ({"message": "Busy."}, "error: Busy."),
        ({"type": "overloaded_error", "message": "Busy."}, "overloaded_error: Busy."),
        ({"code": 404, "status": "NOT_FOUND", "message": "No."}, "NOT_FOUND: No."),
        ({"code": 429}, "429"),
    ],
)
def test_an_error_is_told_in_one_line(error: object, expected: str | None) -> None:
    assert error_text(error) == expected


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b'"a\\ud83d"', "a\ufffd"),
        (b'"\\uDE00\\ud83d"', "\ufffd\ufffd"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_half_of_a_surrogate_pair_is_read(written: bytes, read: str) -> None:
    assert read_json(b'{"a":%b}' % written) == {"a": read}
    assert decode(b'{"a":%b}' % written) == {"a": read}


@pytest.mark.parametrize("written", [b'{"a":NaN,"b":"\\u0041"}', b"{", b'"\\ud8"'])
def test_what_is_no_json_is_not_read(written: bytes) -> None:
    with pytest.raises(ValueError, match=r"unexpected|invalid|expected"):
        read_json(written)
    assert decode(written) is None
