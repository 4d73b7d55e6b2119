"""Lines come out as they went in, however they were cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plugins.budget.lines import LINE_BYTES_MAX, LineSplitter


@given(st.lists(st.text("ab\r\n").map(str.encode), max_size=20))
def test_what_comes_out_and_the_rest_are_the_stream(slices):
    splitter = LineSplitter()
    lines = [line for data in slices for line in splitter.feed(data)]
    whole = b"".join(slices)
    assert b"".join(line.raw for line in lines) + splitter.rest == whole
    assert [line.data for line in lines] == [each.strip() for each in whole.split(b"\n")[:-1]]


def test_a_line_that_is_too_large_passes_unread():
    splitter = LineSplitter()
    large = b"x" * (LINE_BYTES_MAX + 1)
    (piece,) = splitter.feed(b"{}\n" + large)[1:]
    assert (piece.raw, piece.data, splitter.rest) == (large, b"", b"")
    rest, line = splitter.feed(b"end\n{}\n")
    assert (rest.raw, rest.data) == (b"end\n", b"")
    assert (line.raw, line.data) == (b"{}\n", b"{}")
