from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.places import KeyPath, find_places
from gateway.testing.toml import to_toml

EVERYTHING = '''# a comment with [brackets] and key = 1
a = 1
"b.c".d = """x
y = 3
\\"""
""" # after
'lit eral' = 2
[t] # header
x = [1,
  "a,]\\"", # = [
  {q = 1, r.s = [2]},
  1979-05-27 07:32:00,
  [
    {}],
]
y = 'lit\\'
z = \'\'\'
[not.a.header]
\'\'\'
[ t . "sub table" ]
w = 1.5e3
[[arr]]
k = 1
[arr.sub]
z = """"q""""
[[arr]]
k = 2
[[arr.deep]]
m=true
'''

PLACES = {
    ("a",): 2,
    ("b.c",): 3,
    ("b.c", "d"): 3,
    ("lit eral",): 7,
    ("t",): 8,
    ("t", "x"): 9,
    ("t", "x", 0): 9,
    ("t", "x", 1): 10,
    ("t", "x", 2): 11,
    ("t", "x", 2, "q"): 11,
    ("t", "x", 2, "r"): 11,
    ("t", "x", 2, "r", "s"): 11,
    ("t", "x", 2, "r", "s", 0): 11,
    ("t", "x", 3): 12,
    ("t", "x", 4): 13,
    ("t", "x", 4, 0): 14,
    ("t", "y"): 16,
    ("t", "z"): 17,
    ("t", "sub table"): 20,
    ("t", "sub table", "w"): 21,
    ("arr",): 22,
    ("arr", 0): 22,
    ("arr", 0, "k"): 23,
    ("arr", 0, "sub"): 24,
    ("arr", 0, "sub", "z"): 25,
    ("arr", 1): 26,
    ("arr", 1, "k"): 27,
    ("arr", 1, "deep"): 28,
    ("arr", 1, "deep", 0): 28,
    ("arr", 1, "deep", 0, "m"): 29,
}


def paths_of(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths_of(inner, (*path, index))


def test_every_form_of_toml_is_found_on_its_line():
    assert find_places(EVERYTHING) == PLACES


def test_the_table_above_is_itself_complete():
    assert set(paths_of(tomllib.loads(EVERYTHING))) == set(PLACES)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a=1", "a=1\r\nb=2\r\n"])
def test_small_texts_are_read_to_their_end(text):
    assert set(find_places(text)) == set(paths_of(tomllib.loads(text)))


def test_windows_line_ends_count_once():
    assert find_places("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


def test_a_table_stands_where_its_header_is_even_after_its_children():
    assert find_places("[a.b]\nx = 1\n[a]\ny = 2\n[a.c]\n") == {
        ("a", "b"): 1,
        ("a", "b", "x"): 2,
        ("a",): 3,
        ("a", "y"): 4,
        ("a", "c"): 5,
    }


def test_a_table_without_a_header_stands_where_its_first_child_does():
    assert find_places("x = 1\n[a.b.c]\ny = 2\n") == {
        ("x",): 1,
        ("a",): 2,
        ("a", "b"): 2,
        ("a", "b", "c"): 2,
        ("a", "b", "c", "y"): 3,
    }


SCALARS = st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8)
VALUES = SCALARS | st.lists(SCALARS | st.lists(SCALARS, max_size=2), max_size=3)
TABLES = st.recursive(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=4),
    lambda inner: st.dictionaries(st.text(max_size=5), VALUES | inner, max_size=4),
    max_leaves=12,
)


@given(TABLES)
def test_what_tomllib_reads_is_all_found_and_nothing_else(table):
    text = to_toml(table)
    document = tomllib.loads(text)
    places = find_places(text)
    assert set(places) == set(paths_of(document))
    lines = text.split("\n")
    for path, line in places.items():
        assert lines[line - 1]
        assert 1 <= line <= len(lines)
        if isinstance(path[-1], str) and not lines[line - 1].startswith("["):
            key = lines[line - 1].partition(" = ")[0]
            assert tomllib.loads(f"{key} = 1") == {path[-1]: 1} or path[-1] in lines[line - 1]
