"""What a row says of itself, and what may be changed of it."""

from __future__ import annotations

import base64

import msgspec
import pytest

from gateway import id_at
from plugins.logs.records import (
    COUNTED,
    FACTS,
    NUMBERS,
    ROW_BYTES,
    Body,
    Change,
    changed,
    facts_of,
    numbers_of,
    row_bytes,
)
from tests.plugins.logs.made import body, made


@pytest.mark.parametrize(
    ("data", "is_cut", "shown"),
    [
        ("naïve".encode(), False, ("naïve", False)),
        ("naïv".encode()[:3], True, ("na", False)),
        ("naïv".encode()[:3], False, (base64.b64encode(b"na\xc3").decode(), True)),
        (b"\xff and more", True, (base64.b64encode(b"\xff and more").decode(), True)),
        ("\U0001f600".encode()[:3], True, ("", False)),
        (b"", True, ("", False)),
        (None, True, ("", False)),
        (b"a\0b", False, ("a\0b", False)),
    ],
)
def test_a_body_is_shown_as_text_or_else_in_base64(data, is_cut, shown):
    assert Body(data, "", 99, is_cut).shown() == shown


def test_a_row_knows_when_it_began():
    row = made(1)._replace(id=id_at(1_764_000_000_001))
    assert row.started_at == "2025-11-24T16:00:00.001Z"


def test_facts_are_pairs_of_field_and_text():
    row = made(1, metadata={"a": 1, "b": True, "c": 1.5, "d": "x"}, streaming=True, cost_nanousd=3)
    facts = dict(facts_of(row.document))
    assert facts["status"] == "200"
    assert (facts["streaming"], facts["estimated"]) == ("true", "false")
    assert [facts[f"metadata.{name}"] for name in "abcd"] == ["1", "true", "1.5", "x"]
    assert (facts["attempts.provider"], facts["attempts.status"]) == ("openai", "200")
    assert not {"cost_nanousd", "id", "attempts"} & facts.keys()
    assert set(facts) <= FACTS | {f"metadata.{name}" for name in "abcd"}


def test_numbers_stand_in_their_order_and_fit():
    found = dict(zip(COUNTED, numbers_of({"status": 200, "cost_nanousd": 10**30}), strict=True))
    assert (found["status"], found["cost_nanousd"]) == (200, 2**63 - 1)
    assert found["ttft_us"] is None
    assert set(COUNTED) < NUMBERS


def test_a_row_takes_about_its_parts():
    row = made(1, request=body(b"x" * 1000), response=Body(None, "", 5000))
    assert row_bytes(row) == ROW_BYTES + len(row.entry) + 1000 + 2 * len(row.words)


def test_what_is_absent_stays_and_what_is_null_goes():
    row = made(1, feedback=1, score=2.0, metadata={"a": 1})
    assert changed(row, Change()) == row
    cleared = changed(row, msgspec.json.decode(b'{"feedback":null,"score":null}', type=Change))
    assert (cleared.feedback, cleared.score) == (None, None)
    assert cleared.document == row.document
    assert changed(row, Change(metadata={"b": True})).document["metadata"] == {"b": True}
    assert "metadata" not in changed(row, Change(metadata=None)).document
    assert "metadata" not in changed(row, Change(metadata={})).document


@pytest.mark.parametrize(
    "text",
    [
        b'{"feedback":2}',
        b'{"feedback":0}',
        b'{"feedback":true}',
        b'{"score":"1"}',
        b'{"score":1e300}',
        b'{"metadata":{"a":{}}}',
        b'{"metadata":{"":1}}',
        b'{"metadata":[]}',
        b'{"colour":1}',
        b"[]",
    ],
)
def test_a_change_that_cannot_be_made_is_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Change)
