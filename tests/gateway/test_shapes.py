"""Shapes of heads: what follows from the names alone."""

from __future__ import annotations

from gateway.shapes import SHAPES_MAX, Shapes, by_table

LENGTH, DROP, TYPE = range(3)
KINDS = {b"content-length": LENGTH, b"te": DROP, b"content-type": TYPE}


def shapes() -> Shapes:
    return Shapes(by_table(KINDS), stays=frozenset({TYPE}))


def test_special_fields_are_found_in_any_case_and_the_last_to_drop_comes_first():
    shape = shapes().find((b"A", b"CONTENT-length", b"Content-Type", b"Te", b"B"))

    assert shape.at == {LENGTH: 1, TYPE: 2, DROP: 3}
    assert shape.drops == (3, 1)
    assert not shape.is_odd


def test_dropping_in_that_order_leaves_what_passes():
    names = (b"Te", b"A", b"Content-Length", b"B", b"Content-Type")
    kept = list(names)
    for place in shapes().find(names).drops:
        del kept[place]

    assert kept == [b"A", b"B", b"Content-Type"]


def test_a_special_field_that_stands_there_twice_is_odd():
    assert shapes().find((b"Content-Length", b"content-length")).is_odd


def test_a_kind_that_needs_the_long_way_is_odd():
    odd = Shapes(by_table(KINDS), odd=frozenset({DROP}))

    assert odd.find((b"TE",)).is_odd
    assert not odd.find((b"Content-Length",)).is_odd


def test_a_head_without_fields_has_a_shape_too():
    shape = shapes().find(())

    assert (shape.at, shape.drops, shape.is_odd) == ({}, (), False)


def test_a_known_shape_is_not_worked_out_again_and_the_memory_is_bounded():
    asked: list[bytes] = []

    def kind_of(name: bytes) -> int | None:
        asked.append(name)
        return None

    bounded = Shapes(kind_of)
    for number in range(SHAPES_MAX):
        bounded.find((b"x-%d" % number,))
    bounded.find((b"x-0",))
    assert len(asked) == SHAPES_MAX

    bounded.find((b"too-many",))
    bounded.find((b"too-many",))
    assert asked[SHAPES_MAX:] == [b"too-many", b"too-many"]
