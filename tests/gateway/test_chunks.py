"""A chunked body without its chunks, however it is cut, and what is none."""

from __future__ import annotations

import gc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chunks import Chunks
from gateway.refusal import Refusal
from gateway.testing import chunk, chunked

HELLO = chunked(b"hel", b"lo")


def chunks(count_max: int = 3, bytes_max: int = 100) -> Chunks:
    return Chunks(count_max, bytes_max)


def refused(*slices: bytes, count_max: int = 3, bytes_max: int = 100) -> tuple[int, str]:
    """Feed slices, the last of which must be refused."""
    made = chunks(count_max, bytes_max)
    for data in slices[:-1]:
        made.feed(data)
    with pytest.raises(Refusal) as caught:
        made.feed(slices[-1])
    assert not made.complete or caught.value.status == 431
    return caught.value.status, caught.value.code


# -- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (HELLO, b"hello"),
        (chunked(), b""),
        (b"005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n", b"hello"),
        (chunked(b"0\r\n\r\n"), b"0\r\n\r\n"),
    ],
)
def test_the_framing_is_taken_off(raw, body):
    made = chunks()

    assert made.feed(raw) == body
    assert (made.complete, made.has_surplus) == (True, False)


def test_a_body_is_there_as_far_as_it_has_come():
    made = chunks()
    slices = [b"5", b"\r\nhel", b"lo", b"\r\n", b"1\r\n!\r\n1\r\n?\r\n", b"0\r\n", b"\r", b"\n"]
    parts = []
    for data in slices:
        assert not made.complete
        parts.append(made.feed(data))

    assert parts == [b"", b"hel", b"lo", b"", b"!?", b"", b"", b""]
    assert (made.complete, made.has_surplus) == (True, False)


@given(
    st.lists(st.binary(min_size=1, max_size=30), max_size=5),
    st.lists(st.integers(0, 250), max_size=10),
)
def test_a_body_may_be_cut_anywhere(pieces, cuts):
    raw = chunked(*pieces)
    edges = sorted({0, len(raw), *(min(at, len(raw)) for at in cuts)})
    made = chunks()
    got = b""
    for start, end in pairwise(edges):
        assert not made.complete
        got += made.feed(raw[start:end])

    assert got == b"".join(pieces)
    assert (made.complete, made.has_surplus) == (True, False)


def test_two_bodies_do_not_share_anything():
    one, other = chunks(), chunks()

    assert (one.feed(chunk(b"one")), other.feed(chunk(b"other"))) == (b"one", b"other")
    assert one.feed(chunked()) == b""
    assert (one.complete, other.complete) == (True, False)


# -- what stands behind it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behind",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nPOISON",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"POISON"),
        b"\r\nGET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n",
        b"POISON",
        b"\0",
        HELLO,
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_what_stands_behind_it_in_the_same_read_is_surplus_and_adds_nothing(behind, apart):
    made = chunks()
    if apart:
        assert made.feed(HELLO[:-3]) == b"hello"
        assert made.feed(HELLO[-3:] + behind) == b""
    else:
        assert made.feed(HELLO + behind) == b"hello"

    assert (made.complete, made.has_surplus) == (True, True)


def test_surplus_behind_a_trailer_that_closes_is_seen_too():
    made = chunks()

    assert made.feed(chunk(b"a") + b"0\r\nConnection: close\r\n\r\nGET") == b"a"
    assert (made.complete, made.has_surplus) == (True, True)


@pytest.mark.parametrize("empty", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_behind_it_are_no_surplus(empty):
    """RFC 9112 section 2.2: some old clients send one behind a body."""
    made = chunks()

    assert made.feed(HELLO + empty) == b"hello"
    assert (made.complete, made.has_surplus) == (True, False)


# -- what is none ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"\r\n",
        b"5\nhello\n",
        b"5\r\nhello0\r\n",
        b"3\r\nhello",
        b"5;\0\r\n",
        b"1" + b"0" * 16 + b"\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX A: 1\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_no_chunk_is_refused(bad):
    assert refused(bad) == (400, "bad_request")
    assert refused(chunk(b"good"), bad) == (400, "bad_request")


def test_the_refusal_says_for_the_log_what_was_wrong():
    with pytest.raises(Refusal) as caught:
        chunks().feed(b"zz\r\n")

    assert "chunk size" in caught.value.detail
    assert "chunk size" not in caught.value.message


# -- trailers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [True, False])
def test_trailers_are_counted(apart):
    lines = [b"0\r\n", b"A: 1\r\n", b"B: 2\r\n", b"C: 3\r\n", b"D: 4\r\n"]
    within, beyond = lines[:4], lines[:5]
    if not apart:
        within, beyond = [b"".join(within)], [b"".join(beyond)]
    made = chunks()
    for line in [*within, b"\r\n"]:
        made.feed(line)

    assert made.complete
    # A trailer is known once what follows it is.
    assert refused(*beyond, b"\r\n") == (431, "header_count")


def test_a_trailer_with_no_room_for_any_is_one_too_many():
    assert refused(b"0\r\nA: 1\r\n\r\n", count_max=0) == (431, "header_count")

    made = chunks(count_max=0)
    assert made.feed(HELLO) == b"hello"
    assert made.complete


def test_the_bytes_of_trailers_are_counted_over_all_reads():
    made = chunks(bytes_max=100)
    slices = [chunk(b"a"), b"0\r\nA: ", b"x" * 48, b"x" * 46]  # 100 without the first
    for data in slices:
        made.feed(data)
    assert not made.complete

    with pytest.raises(Refusal) as caught:
        made.feed(b"x")
    assert (caught.value.status, caught.value.detail) == (431, "header_count_max")


def test_an_endless_extension_counts_like_a_trailer():
    assert refused(b"1;", b"x" * 99) == (431, "header_count")


def test_the_framing_of_many_small_chunks_does_not_count_as_trailers():
    made = chunks(bytes_max=10)
    for _ in range(100):
        for data in (b"1\r\n", b"x", b"\r\n"):
            made.feed(data)
    made.feed(b"0\r\n\r\n")

    assert made.complete


@pytest.mark.parametrize(
    "trailers",
    [
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Host: a\r\nHost: b\r\n",
    ],
)
def test_a_trailer_that_means_something_in_a_head_means_nothing(trailers):
    made = chunks()

    assert made.feed(chunk(b"hello") + b"0\r\n" + trailers + b"\r\n") == b"hello"
    assert (made.complete, made.has_surplus) == (True, False)


# -- the end ---------------------------------------------------------------------------------------


def test_once_it_is_let_go_the_collector_is_not_needed():
    def alive() -> int:
        return sum(type(one) is Chunks for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        made = chunks()
        made.feed(chunk(b"half"))
        assert alive() == before + 1
        made.let_go()
        del made
        assert alive() == before
    finally:
        gc.enable()
