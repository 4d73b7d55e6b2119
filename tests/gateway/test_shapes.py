"""Shapes of heads: what follows from the names alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shapes import (
    NAMES_BYTES_MAX,
    SHAPES_MAX,
    WITHOUT_MAX,
    Names,
    Passed,
    Shape,
    Shapes,
    by_table,
    lines,
    paired,
)

LENGTH, DROP, TYPE = range(3)
KINDS = {b"content-length": LENGTH, b"te": DROP, b"content-type": TYPE}


def shapes() -> Shapes:
    return Shapes(len(KINDS), by_table(KINDS), stays=frozenset({TYPE}))


def find(memory: Shapes, names: Names) -> Shape:
    """As everybody asks for a shape."""
    return memory.known.get(names) or memory.work_out(names)


def passed(*fields: tuple[bytes, bytes], memory: Shapes | None = None) -> Passed:
    """What passes of a head, by its shape."""
    flat = [part for pair in fields for part in pair]
    shape = find(memory or shapes(), tuple(flat[::2]))
    return Passed(flat, tuple(flat[1::2]), shape)


# -- shapes ----------------------------------------------------------------------------------------


def test_special_fields_are_found_in_any_case_and_the_others_pass_with_those_that_stay():
    shape = find(shapes(), (b"A", b"CONTENT-length", b"Content-Type", b"Te", b"B"))

    assert (shape.at[LENGTH], shape.at[TYPE], shape.at[DROP]) == (1, 2, 3)
    assert shape.passes == (0, 2, 4)
    assert not shape.is_odd


def test_a_special_field_that_is_not_there_stands_nowhere():
    shape = find(shapes(), (b"TE", b"A"))

    assert (shape.at[LENGTH], shape.at[DROP], shape.at[TYPE]) == (-1, 0, -1)


def test_the_places_that_pass_are_those_of_what_passes():
    names = (b"Te", b"A", b"Content-Length", b"B", b"Content-Type")

    passing = [names[place] for place in find(shapes(), names).passes]

    assert passing == [b"A", b"B", b"Content-Type"]


def test_a_special_field_that_stands_there_twice_is_odd():
    assert find(shapes(), (b"Content-Length", b"content-length")).is_odd
    assert find(shapes(), (b"Content-Type", b"A", b"content-type")).is_odd
    assert not find(shapes(), (b"A", b"a", b"A")).is_odd


def test_a_kind_that_needs_the_long_way_is_odd():
    odd = Shapes(len(KINDS), by_table(KINDS), odd=frozenset({DROP}))

    assert find(odd, (b"TE",)).is_odd
    assert not find(odd, (b"Content-Length",)).is_odd


def test_what_is_odd_stays_odd_whatever_follows():
    odd = Shapes(len(KINDS), by_table(KINDS), odd=frozenset({DROP}))

    assert find(odd, (b"TE", b"Content-Length", b"A")).is_odd


def test_a_head_without_fields_has_a_shape_too():
    shape = find(shapes(), ())

    assert (shape.at, shape.passes, shape.template) == ((-1, -1, -1), (), b"")
    assert not shape.is_odd


def test_a_known_shape_is_not_worked_out_again_and_the_memory_is_bounded():
    asked: list[bytes] = []

    def kind_of(name: bytes) -> int | None:
        asked.append(name)
        return None

    bounded = Shapes(0, kind_of)
    for number in range(SHAPES_MAX):
        find(bounded, (b"x-%d" % number,))
    find(bounded, (b"x-0",))
    assert len(asked) == SHAPES_MAX

    for _ in range(3):
        find(bounded, (b"one-more",))
    assert asked[SHAPES_MAX:] == [b"one-more"]
    assert len(bounded.known) == 1

    for _ in range(2):
        find(bounded, (b"x" * (NAMES_BYTES_MAX + 1),))
    assert len(asked) == SHAPES_MAX + 3
    assert len(bounded.known) == 1


def test_shapes_differ_by_order_case_and_number_of_names():
    memory = shapes()
    heads: list[Names] = [(b"A", b"TE"), (b"TE", b"A"), (b"a", b"TE"), (b"A", b"TE", b"A")]
    for names in heads:
        find(memory, names)

    assert list(memory.known) == heads
    assert [find(memory, names).passes for names in heads] == [(0,), (1,), (0,), (0, 2)]


# -- what passes -----------------------------------------------------------------------------------


def test_what_passes_is_the_same_as_pairs_and_as_lines():
    found = passed(
        (b"Te", b"trailers"),
        (b"X-B", b"1"),
        (b"Content-Length", b"5"),
        (b"x-a", b""),
        (b"Content-Type", b"text/plain"),
        (b"X-B", b"2"),
    )

    assert found.text() == b"X-B: 1\r\nx-a: \r\nContent-Type: text/plain\r\nX-B: 2\r\n"
    assert found.fields == [
        (b"X-B", b"1"),
        (b"x-a", b""),
        (b"Content-Type", b"text/plain"),
        (b"X-B", b"2"),
    ]


def test_a_percent_sign_is_only_that():
    found = passed((b"X-%b", b"%b"), (b"TE", b"%s"), (b"%", b"100 %"), (b"%%d", b"%%"))

    assert found.text() == b"X-%b: %b\r\n%: 100 %\r\n%%d: %%\r\n"


def test_one_shape_serves_many_values():
    memory = shapes()
    texts = [
        passed((b"A", value), (b"TE", value), (b"B", b"b"), memory=memory).text()
        for value in (b"1", b"", b"\xff" * 1000)
    ]

    assert texts == [b"A: %b\r\nB: b\r\n" % value for value in (b"1", b"", b"\xff" * 1000)]
    assert len(memory.known) == 1


def test_the_list_of_what_passes_is_made_once():
    found = passed((b"A", b"1"))

    assert found.fields is found.fields


def test_fields_that_were_sorted_out_one_by_one_pass_as_they_are():
    fields = [(b"A", b"1"), (b"TE", b"%b"), (b"%b", b"")]
    found = Passed.only(fields)

    assert found.fields is fields
    assert found.text() == b"A: 1\r\nTE: %b\r\n%b: \r\n"


def test_nothing_passes_as_nothing():
    assert (Passed.only([]).fields, Passed.only([]).text()) == ([], b"")
    assert (passed().fields, passed().text()) == ([], b"")
    assert (passed((b"TE", b"x")).fields, passed((b"TE", b"x")).text()) == ([], b"")


NAMES = st.sampled_from([*KINDS, b"TE", b"Content-Type", b"X-A", b"x-a", b"%b"]) | st.binary()


@given(st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=8))
def test_whatever_stands_in_a_head_passes_or_is_dropped_by_its_name(fields):
    found = passed(*fields)
    wanted = [pair for pair in fields if KINDS.get(pair[0].lower()) in (None, TYPE)]

    assert found.fields == wanted
    assert found.text() == lines(wanted) == b"".join(b"%b: %b\r\n" % pair for pair in wanted)


# -- forms -----------------------------------------------------------------------------------------


def test_a_flat_list_is_paired():
    assert paired([b"A", b"1", b"b", b""]) == [(b"A", b"1"), (b"b", b"")]
    assert paired([]) == []


@pytest.mark.parametrize("is_known", [True, False])
def test_fields_among_some_names_are_those_that_pass_in_order(is_known):
    flat = [b"X-A", b"1", b"Drop", b"2", b"x-b", b"3", b"x-A", b"4"]
    shapes = Shapes(1, by_table({b"drop": 0}))
    names = tuple(flat[::2])
    passed = Passed(flat, tuple(flat[1::2]), shapes.known.get(names) or shapes.work_out(names))
    if not is_known:
        passed = Passed.only(passed.fields)

    for _ in range(2):
        assert passed.among(frozenset({b"x-a", b"drop"})) == [(b"X-A", b"1"), (b"x-A", b"4")]
        assert passed.among(frozenset({b"x-b"})) == [(b"x-b", b"3")]
        assert passed.among(frozenset({b"none"})) == []


@pytest.mark.parametrize("is_known", [True, False])
def test_fields_can_be_left_out_and_the_rest_stays_as_it_came(is_known):
    flat = [b"X-A", b"1%", b"Drop", b"2", b"x-b", b"3", b"X-C%b", b"4", b"x-A", b"5"]
    shapes = Shapes(1, by_table({b"drop": 0}))
    passed = Passed(flat, tuple(flat[1::2]), shapes.work_out(tuple(flat[::2])))
    if not is_known:
        passed = Passed.only(passed.fields)

    left = passed
    for _ in range(2):
        left = passed.without((b"x-a", b"none"))
        assert left.fields == [(b"x-b", b"3"), (b"X-C%b", b"4")]
        assert left.text() == b"x-b: 3\r\nX-C%b: 4\r\n"
        assert not left.has(b"x-a")
        assert left.among(frozenset({b"x-a", b"x-b"})) == [(b"x-b", b"3")]
    assert passed.text() == b"X-A: 1%\r\nx-b: 3\r\nX-C%b: 4\r\nx-A: 5\r\n"
    assert left.without((b"x-b",)).text() == b"X-C%b: 4\r\n"


def test_what_is_left_out_is_not_remembered_without_end():
    shape = Shapes(1, by_table({})).work_out((b"a", b"b"))
    for number in range(WITHOUT_MAX + 5):
        assert shape.without((b"a", b"%d" % number)).passes == (1,)
    assert len(shape._without) == WITHOUT_MAX
