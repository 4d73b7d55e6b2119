"""Fields keep what they came with, and no line can be smuggled into one."""

from __future__ import annotations

import pytest

from gateway import Headers
from gateway.headers import HOP_BY_HOP, is_field_safe, named_by_connection

PAIRS = [(b"Accept", b"a"), (b"X-One", b"1"), (b"accept", b"b"), (b"ACCEPT", b"")]


def made() -> Headers:
    return Headers(PAIRS.copy())


def test_order_case_and_duplicates_stay():
    assert list(made()) == PAIRS
    assert len(made()) == 4


@pytest.mark.parametrize(
    ("name", "first", "every"),
    [
        (b"accept", b"a", [b"a", b"b", b""]),
        (b"x-one", b"1", [b"1"]),
        (b"x-two", None, []),
    ],
)
def test_a_field_is_found_whatever_its_case(name, first, every):
    assert (made().get(name), made().all(name), name in made()) == (first, every, bool(every))


def test_several_names_are_found_among_the_fields_in_order_and_as_they_came():
    assert made().among(frozenset({b"accept", b"x-two"})) == [PAIRS[0], *PAIRS[2:]]
    assert made().among(frozenset({b"x-one", b"accept"})) == PAIRS
    assert made().among(frozenset({b"X-One"})) == []
    assert made().among(frozenset()) == []


def test_an_empty_value_is_there():
    assert b"x" in Headers([(b"X", b"")])


def test_add_appends_whatever_is_there():
    headers = made()
    headers.add(b"X-One", b"2")
    assert list(headers) == [*PAIRS, (b"X-One", b"2")]


@pytest.mark.parametrize(
    ("name", "items"),
    [
        (b"ACCept", [(b"ACCept", b"new"), (b"X-One", b"1")]),
        (b"x-one", [PAIRS[0], (b"x-one", b"new"), *PAIRS[2:]]),
        (b"X-Two", [*PAIRS, (b"X-Two", b"new")]),
    ],
)
def test_set_keeps_the_first_ones_place_and_drops_the_others(name, items):
    headers = made()
    headers.set(name, b"new")
    assert list(headers) == items


def test_drop_takes_every_field_of_that_name():
    headers = made()
    headers.drop(b"accept")
    headers.drop(b"x-two")
    assert list(headers) == [(b"X-One", b"1")]


def test_a_copy_goes_its_own_way():
    headers = made()
    copy = headers.copy()
    assert copy == headers
    copy.add(b"X", b"")
    assert copy != headers
    assert list(headers) == PAIRS


def test_a_list_is_taken_over_and_anything_else_is_listed():
    items = PAIRS.copy()
    assert Headers(items).items is items
    assert Headers(tuple(PAIRS)).items == PAIRS


def test_fields_are_equal_to_fields_only():
    assert made() == made()
    assert made() != PAIRS
    assert Headers([(b"A", b"1")]) != Headers([(b"a", b"1")])


def test_values_may_be_credentials_and_are_not_shown():
    shown = repr(Headers([(b"Authorization", b"Bearer sk-secret"), (b"X-\xff", b"v")]))
    assert shown == "Headers(['Authorization', 'X-\xff'])"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([], set()),
        ([b""], set()),
        ([b"close"], {b"close"}),
        ([b"Keep-Alive, X-Hop"], {b"keep-alive", b"x-hop"}),
        ([b" a ,,\tb\t", b"C"], {b"a", b"b", b"c"}),
    ],
)
def test_connection_names_fields_in_any_spelling(values, names):
    assert named_by_connection(values) == names


def test_fields_of_one_hop_are_known_in_lower_case():
    wanted = b"connection keep-alive te trailer transfer-encoding upgrade proxy-authorization"
    assert set(wanted.split()) <= HOP_BY_HOP
    assert {name for name in HOP_BY_HOP if name != name.lower()} == set()


@pytest.mark.parametrize(
    ("name", "value", "is_safe"),
    [
        (b"X-A", b"any value: \xff,\t", True),
        (b"X-A", b"", True),
        (b"", b"v", False),
        (b"X A", b"v", False),
        (b"X:A", b"v", False),
        (b"X-A", b"a\r", False),
        (b"X-A", b"a\nb", False),
        (b"X-A", b"a\0", False),
    ],
)
def test_a_field_that_could_end_its_line_is_not_safe(name, value, is_safe):
    assert is_field_safe(name, value) is is_safe
