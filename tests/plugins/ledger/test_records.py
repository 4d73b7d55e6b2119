"""Lines are read as what they are, and sums are the sums of the rows."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.ledger.records import (
    COUNTERS,
    DIMENSIONS,
    SUMS,
    Bill,
    Damaged,
    Entry,
    Opening,
    bills_of,
    corrected,
    record_of,
    rows_of,
    sums_of,
    without,
)
from tests.plugins.ledger.entries import AT_MS, HOUR_MS, attempt, closing, entry, id_of, opening

COUNTS = st.one_of(st.none(), st.integers(0, 10**12))


def opening_of(line: bytes) -> Opening:
    found = record_of(line)
    assert isinstance(found, Opening)
    return found


def test_a_line_is_an_opening_or_an_entry():
    assert opening_of(opening(id_of(1), n=2))[:2] == (id_of(1), 2)
    found = record_of(closing(id_of(1)))
    assert isinstance(found, Entry)
    assert (found.document["id"], found.at_ms) == (id_of(1), AT_MS)
    assert found.text == closing(id_of(1)).rstrip()


@pytest.mark.parametrize("line", [b"", b"\n", bytes(10), bytes(5) + b"\r\n"])
def test_room_that_was_never_written_to_is_nothing(line):
    assert record_of(line) is None


@pytest.mark.parametrize(
    "line",
    [
        *(b"x", b"[]", b"1", b"{}", b'"open"', b'["open"]', b"{\0}"),
        *(b'{"id":1}', b'{"id":"a"}', b'{"open":"a"}', b'{"open":null}'),
        *(closing(id_of(1))[:-3], closing(id_of(1))[1:], b"\xff" + closing(id_of(1))),
    ],
)
def test_what_is_neither_is_damaged(line):
    with pytest.raises(Damaged):
        record_of(line)


@given(
    line=st.one_of(
        st.binary(),
        st.recursive(
            st.none() | st.text() | st.integers(),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["id", "open", "n"]), inner)
            ),
        )
        .map(repr)
        .map(str.encode),
    )
)
def test_no_line_is_worse_than_damaged(line):
    with contextlib.suppress(Damaged):
        record_of(line)


@given(
    each=st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from([None, "", "t"]),
            st.integers(0, 3),
            st.lists(
                st.tuples(st.sampled_from(["p", "q"]), *[COUNTS] * 6, st.booleans()), max_size=3
            ),
        ),
        max_size=20,
    )
)
def test_sums_are_the_sums_of_what_they_are_of(each):
    entries = []
    for number, (key, team, hour, attempts) in enumerate(each):
        made = [
            {
                "n": n,
                "provider": provider,
                **{
                    name: count
                    for name, count in zip((*COUNTERS, "cost_nanousd"), counts[:6], strict=True)
                    if count is not None
                },
                "estimated": counts[6],
            }
            for n, (provider, *counts) in enumerate(attempts, 1)
        ]
        id_ = id_of(number, AT_MS + hour * HOUR_MS)
        line = orjson.loads(closing(id_, key=key, team=team))
        line["attempts"] = made
        found = record_of(orjson.dumps(line))
        assert isinstance(found, Entry)
        entries.append(found)
    sums = sums_of(entries)

    def total(name: str) -> int:
        return sum(counts[SUMS.index(name)] for counts in sums.values())

    attempts = [one for found in entries for one in found.document["attempts"]]
    assert total("requests") == len(entries)
    assert total("attempts") == len(attempts)
    assert total("duration_us") == 11 * len(entries)
    assert total("bytes_sent") == 7 * len(entries)
    for name in (*COUNTERS, "cost_nanousd"):
        assert total(name) == sum(one.get(name, 0) for one in attempts)
    assert total("estimated") == sum(one["estimated"] for one in attempts)
    for group, counts in sums.items():
        facts = dict(zip(DIMENSIONS, group, strict=True))
        requests = [
            found
            for found in entries
            if found.at_ms // HOUR_MS == facts["hour"]
            and found.document["key"] == facts["key"]
            and (found.document["team"] or "") == facts["team"]
            and (found.document["attempts"] or [{"provider": "openai"}])[-1]["provider"]
            == facts["provider"]
        ]
        assert counts[0] == len(requests)


def test_a_price_that_nobody_knows_is_counted():
    sums = sums_of([entry(id_of(1), attempt(), attempt(2, cost_nanousd=3))])
    ((_, counts),) = sums.items()
    found = dict(zip(SUMS, counts, strict=True))
    assert (found["unpriced"], found["cost_nanousd"]) == (1, 3)


def test_a_cost_that_nothing_has_does_not_run_over_a_stores_integers():
    ones = [entry(id_of(n), attempt(cost_nanousd=(1 << 63) - 1)) for n in range(9)]
    ((_, counts),) = sums_of(ones).items()
    assert 0 < dict(zip(SUMS, counts, strict=True))["cost_nanousd"] < 1 << 63


def test_names_that_callers_choose_are_bounded_in_sums():
    ((group, _),) = sums_of([entry(id_of(1), model="m" * 10_000, key="k" * 5_000)]).items()
    assert max(len(part) for part in group[1:]) == 100


def test_an_answer_that_can_be_asked_for_again_is_billed_by_its_id():
    poll = attempt(response_id="r", reported=True)
    assert list(bills_of(entry(id_of(1), poll))) == [Bill("openai", "r", True, 1)]
    first = entry(id_of(1), attempt(response_id="r"), path="/openai/v1/responses")
    assert list(bills_of(first)) == [Bill("openai", "r", False, 1)]
    third = entry(id_of(1), attempt(response_id="r"), path="/google-ai-studio/v1beta/interactions")
    assert list(bills_of(third)) == [Bill("openai", "r", False, 1)]
    assert list(bills_of(entry(id_of(1), attempt(response_id="r")))) == []
    assert list(bills_of(entry(id_of(1), attempt(response_id="", reported=True)))) == []
    assert list(bills_of(entry(id_of(1), attempt(response_id="r" * 501, reported=True)))) == []


def test_what_was_billed_before_is_taken_out():
    poll = attempt(response_id="r", reported=True, cost_nanousd=7, details={"a": 1})
    other = attempt(2, cost_nanousd=9, estimated=True)
    found = without(entry(id_of(1), poll, other, fresh_input=20), Bill("openai", "r", True, 1), "e")
    document = orjson.loads(found.text)
    assert document == found.document
    assert document["attempts"] == [
        {"n": 1, "provider": "openai", "response_id": "r", "reported": True, "duplicate_of": "e"},
        other,
    ]
    assert (document["fresh_input"], document["cost_nanousd"]) == (10, 9)
    assert document["estimated"]


GUESS: dict[str, Any] = {"response_id": "r", "estimated": True}


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ({"response_id": "r"}, {}),  # no guess
        ({"response_id": "r", "cost_nanousd": 5}, {"cost_nanousd": 6}),
        (GUESS, {"estimated": True}),  # another guess
        ({"response_id": "other", "estimated": True}, {}),
        ({**GUESS, "provider": "other"}, {}),
        ({"response_id": "r", "corrects": "e"}, {"cost_nanousd": 6}),  # what it has is a difference
    ],
)
def test_only_a_guess_or_what_had_no_price_is_corrected(first, told):
    earlier = entry(id_of(1), attempt(**first))
    poll = attempt(response_id="r", reported=True, **told)
    assert corrected(entry(id_of(2), poll), Bill("openai", "r", True, 1), earlier) is None


def test_a_correction_stands_under_the_model_that_it_corrects():
    earlier = entry(id_of(1), attempt(**GUESS), model="m")
    poll = entry(id_of(2), attempt(response_id="r", reported=True), model="m-2025-08-07")
    found = corrected(poll, Bill("openai", "r", True, 1), earlier)
    assert found is not None
    assert found.document["model"] == "m"


def test_a_correction_among_other_attempts_is_what_changes_their_sum():
    earlier = entry(id_of(1), attempt(**GUESS, details={"a": 5}, cost_nanousd=9))
    other = attempt(1, cost_nanousd=100)
    poll = attempt(2, response_id="r", reported=True, output_text=50, details={"a": 2, "b": 1})
    bill = Bill("openai", "r", True, 2)
    found = corrected(entry(id_of(2), other, poll), bill, earlier)
    assert found is not None
    assert found.document["attempts"][0] == other
    told = found.document["attempts"][1]
    assert (told["fresh_input"], told["output_text"], told["details"]) == (0, 45, {"a": -3, "b": 1})
    assert "cost_nanousd" not in told  # nobody knows it, so the guess's stays
    assert (found.document["output_text"], found.document["cost_nanousd"]) == (50, 100)


@pytest.mark.parametrize(
    ("whole", "attempts", "expected"),
    [
        ("complete", [{"error": "cut"}, {"status": 200}], ["provider_error", "complete"]),
        ("complete", [{"status": 503}, {"status": 200}], ["provider_error", "complete"]),
        ("complete", [{"status": 200}, {"status": 200}], [None, "complete"]),  # by a plugin's word
        ("truncated", [{"status": 500}, {"status": 200}], ["provider_error", "truncated"]),
        ("refused", [{"error": "cut"}], ["provider_error"]),
        ("client_abort", [{"status": 500}], ["client_abort"]),
        ("orphaned", [{}, {}], ["orphaned", "orphaned"]),
    ],
)  # fmt: skip
def test_an_attempts_row_says_what_became_of_that_attempt(whole, attempts, expected):
    found = entry(
        id_of(1), *(attempt(n, **one) for n, one in enumerate(attempts, 1)), outcome=whole
    )
    rows = list(rows_of(found))
    assert [row["outcome"] for row in rows] == [whole, *expected]


def test_rows_say_null_for_what_nobody_knows():
    rows = list(rows_of(entry(id_of(1), attempt(), attempt(2, error="connect"), key="k")))
    assert [row["kind"] for row in rows] == ["exchange", "attempt", "attempt"]
    assert {row["id"] for row in rows} == {id_of(1)}
    assert [row["attempts"] for row in rows[:1]] == [2]
    assert [row.get("n") for row in rows] == [None, 1, 2]
    for row in rows:
        assert row["cost_nanousd"] is None
        assert row["cache_read"] is None
        assert row["estimated"] is False
        assert row["started_at"] == "2027-01-15T08:00:00.000Z"
        assert row["key"] == "k"
