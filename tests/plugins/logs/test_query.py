from __future__ import annotations

import re
from typing import Any

import pytest

from plugins.logs.query import FILTERS, LIMIT, is_narrow, read, row_id
from plugins.logs.records import Query

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
ID = "0198a2b4-0000-7000-8000-000000000001"


def asked(**given: str | list[str]) -> Query:
    pairs = [
        (name.replace("__", "."), text)
        for name, texts in given.items()
        for text in ([texts] if isinstance(texts, str) else texts)
    ]
    return read(pairs, NOW_MS)


def test_nothing_asked_is_the_newest_rows():
    assert asked() == Query(limit=LIMIT, newest_first=True)


def test_a_span_is_read_in_the_ways_people_write_times():
    found = asked(since="7d", until="2027-01-15T00:00Z")
    assert (found.since_ms, found.until_ms) == (NOW_MS - 7 * DAY_MS, 1_799_971_200_000)


def test_any_field_of_a_row_and_any_name_of_its_metadata_can_be_asked_for():
    found = asked(model=["a", "b"], streaming="true", metadata__team="x", attempts__provider="p")
    assert found.equal == {
        "model": ("a", "b"),
        "streaming": ("true",),
        "metadata.team": ("x",),
        "attempts.provider": ("p",),
    }


@pytest.mark.parametrize(
    ("given", "kept"), [("429", "429"), ("+429.0", "429"), ("-1", "-1"), ("0.50", "0.5")]
)
def test_a_number_is_kept_as_rows_write_it(given, kept):
    assert asked(score=given).equal == {"score": (kept,)}


def test_a_class_of_status_is_a_span():
    found = asked(status="4xx")
    assert (found.least, found.most, found.equal) == ({"status": 400}, {"status": 499}, {})


def test_bounds_are_of_rows_units_or_of_peoples():
    found = asked(min_cost="0.0105", max_duration="1.5s", min_output_text="100", max_score="-0.5")
    assert found.least == {"cost_nanousd": 10_500_000, "output_text": 100}
    assert found.most == {"duration_us": 1_500_000, "score": -0.5}


def test_a_cursor_goes_on_in_the_order_that_is_asked_for():
    newest, oldest = asked(cursor=ID), asked(cursor=ID, order="oldest")
    assert (newest.before, newest.after) == (row_id(ID), None)
    assert (oldest.before, oldest.after, oldest.newest_first) == (None, row_id(ID), False)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"modle": "x"}, "modle: there is no such parameter; did you mean model?"),
        ({"min_costs": "1"}, "min_costs: there is no such parameter; did you mean min_cost?"),
        ({"start_date": "1d"}, "start_date: there is no such parameter; did you mean since?"),
        ({"min_model": "1"}, "min_model: there is no such parameter"),
        ({"metadata.": "1"}, "metadata.: there is no such parameter"),
        ({"zzz": "1"}, "metadata.NAME, or min_ or max_"),
        ({"since": "soon"}, "since: 'soon': wanted a time"),
        ({"since": ["1d", "2d"]}, "since: given twice"),
        ({"since": "1d", "until": "2d"}, "until: wanted a time after since"),
        ({"status": "4x"}, "status: wanted a number such as 429 or 4xx, given '4x'"),
        ({"status": ["4xx", "5xx"]}, "status: given twice"),
        ({"min_status": "nan"}, "min_status: wanted a number"),
        ({"max_score": "1e999"}, "max_score: wanted a number"),
        ({"min_cost": "1 USD"}, "min_cost: wanted US dollars such as 0.01"),
        ({"min_cost": "inf"}, "min_cost: wanted US dollars"),
        ({"min_duration": "2"}, 'min_duration: wanted a time such as "2s"'),
        ({"min_cost": "1", "min_cost_nanousd": "1"}, "cost_nanousd: given twice"),
        ({"streaming": "yes"}, "streaming: wanted true or false, given 'yes'"),
        ({"limit": "0"}, "limit: wanted a number from 1 to 1000, given '0'"),
        ({"limit": "1001"}, "limit: wanted"),
        ({"limit": "\u0661"}, "limit: wanted"),
        ({"order": "up"}, "order: wanted newest or oldest, given 'up'"),
        ({"cursor": "7"}, "cursor: wanted the id of a row"),
        ({"search": " "}, "search: there is no word in it"),
        ({"search": '"!" ?'}, "search: there is no word in it"),
        ({"search": "x" * 1001}, "search: wanted at most 1000 characters"),
        ({"model": ["x"] * 101}, "model: wanted at most 100 values"),
    ],
)
def test_what_cannot_be_asked_is_named_with_what_is_wanted(given, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        asked(**given)


def test_what_has_no_place_in_a_question_is_refused_there():
    with pytest.raises(ValueError, match="limit: there is no such parameter"):
        read([("limit", "5")], NOW_MS, names=FILTERS)


@pytest.mark.parametrize(
    "given",
    [
        {"search": "x"},
        {"since": "1d"},
        {"until": "1970-01-01T00:00:01Z"},
        {"team": "a"},
        {"min_cost": "0"},
        {"max_cost": "0"},
    ],
)
def test_a_filter_is_one_that_leaves_rows_out(given: dict[str, Any]):
    assert is_narrow(asked(**given))


def test_order_and_limit_are_no_filters():
    assert not is_narrow(asked(limit="5", order="oldest"))


@pytest.mark.parametrize("text", ["", "7", ID[:-1], ID.replace("-", ""), "{" + ID + "}"])
def test_an_id_has_one_form(text):
    assert row_id(text) is None
    assert row_id(ID.upper()) == row_id(ID) == bytes.fromhex(ID.replace("-", ""))
