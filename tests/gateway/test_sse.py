from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.sse import Event, Splitter


def split(*pieces: bytes, event_bytes_max: int = 1 << 24) -> tuple[list[bytes], bytes]:
    splitter = Splitter(event_bytes_max)
    raws = [event.raw for piece in pieces for event in splitter.feed(piece)]
    return raws, splitter.rest


def read(stream: bytes) -> list[tuple[bytes, bytes]]:
    return [(event.name, event.data) for event in Splitter().feed(stream)]


def dispatched(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The standard's own algorithm, line by line: what an EventSource would be told."""
    lines = stream.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    if lines and not lines[-1].endswith((b"\r", b"\n")):
        lines.pop()
    told: list[tuple[bytes, bytes]] = []
    name, data = b"", b""
    for line in (line.rstrip(b"\r\n") for line in lines):
        if not line:
            if data:
                told.append((name, data[:-1]))
            name, data = b"", b""
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            data += value + b"\n"
        elif field == b"event":
            name = value
    return told


def all_cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in pairwise(edges)]


PIECES = [
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"data", b"data:", b"data: ", b"event: ", b":"),
    *(b"\xef\xbb\xbf", b"\x00", b"\xff", "\u2028".encode(), b" ", b"x", b"id: 7", b": ping"),
]
streams = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join) | st.binary(max_size=60)


@given(streams, st.lists(st.integers(0, 200), max_size=12))
@example(b"data: a\n\rdata: b\r\n\r\n", [9])
@example(b"data: a\r\r\n\n", [9])
def test_any_cut_of_any_bytes_gives_the_same_events_and_joins_back(
    stream: bytes, cuts: list[int]
) -> None:
    whole = split(stream)
    assert b"".join(whole[0]) + whole[1] == stream
    assert split(*all_cut(stream, cuts)) == whole
    assert split(*(stream[i : i + 1] for i in range(len(stream)))) == whole


@given(streams)
def test_events_say_what_the_standard_says(stream: bytes) -> None:
    stream += b"x"  # decides a last LF CR
    assert [pair for pair in read(stream) if pair[1]] == [
        pair for pair in dispatched(stream) if pair[1]
    ]


@given(streams, st.lists(st.integers(0, 200), max_size=12), st.integers(1, 12))
def test_no_bound_loses_a_byte(stream: bytes, cuts: list[int], bound: int) -> None:
    raws, rest = split(*all_cut(stream, cuts), event_bytes_max=bound)
    assert b"".join(raws) + rest == stream
    assert len(rest) <= bound


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\r", [(b"", b"a")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a\n\n", [(b"", b" a")]),
        (b"data\n\n", [(b"", b"")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"data: a\rdata: b\r\ndata: c\n\n", [(b"", b"a\nb\nc")]),
        (b"event: ping\ndata: {}\n\n", [(b"ping", b"{}")]),
        (b"data: {}\nevent: ping\n\n", [(b"ping", b"{}")]),
        (b"event: one\nevent: two\ndata: x\n\n", [(b"two", b"x")]),
        (b": OPENROUTER PROCESSING\n\n", [(b"", b"")]),
        (b"id: 1\nretry: 2\nData: x\ndata : x\n\n", [(b"", b"")]),
        (b"data: \xff\x00\xe2\x80\xa8\n\n", [(b"", b"\xff\x00\xe2\x80\xa8")]),
        (b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a"), (b"", b"")]),
        (b"data: a\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b""), (b"", b"b")]),
        (b"data: a\n\ndata: b\n", [(b"", b"a")]),
    ],
)
def test_name_and_data_are_read_as_the_standard_says(
    stream: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    assert read(stream) == expected


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\n", b"\n\r\n"])
def test_a_lone_event_is_not_held_back(end: bytes) -> None:
    assert split(b"data: a" + end) == ([b"data: a" + end], b"")


def test_a_line_feed_after_cr_cr_belongs_to_the_next_event() -> None:
    assert split(b"data: a\r\r\ndata: b\n\n") == ([b"data: a\r\r", b"\ndata: b\n\n"], b"")


def test_after_lf_cr_the_next_byte_decides() -> None:
    assert split(b"data: a\n\r") == ([], b"data: a\n\r")
    assert split(b"data: a\n\r", b"\nx") == ([b"data: a\n\r\n"], b"x")
    assert split(b"data: a\n\r", b"x") == ([b"data: a\n\r"], b"x")


def test_an_event_too_large_passes_in_pieces_and_the_next_is_whole_again() -> None:
    splitter = Splitter(event_bytes_max=10)
    first = splitter.feed(b"data: 0123")
    second = splitter.feed(b"4567")
    third = splitter.feed(b"89\n\ndata: b\n\n")

    assert first == []
    assert [event.raw for event in second] == [b"data: 01234567"]
    assert [event.raw for event in third] == [b"89\n\n", b"data: b\n\n"]
    assert [event.data for event in second + third] == [b"", b"", b"b"]
    assert splitter.overflowed


def test_an_event_too_large_is_unread_even_if_it_comes_in_one_piece() -> None:
    splitter = Splitter(event_bytes_max=10)
    events = splitter.feed(b"data: 0123456789\n\ndata: b\n\n")

    assert [event.data for event in events] == [b"", b"b"]
    assert splitter.overflowed


@given(st.binary(max_size=40), st.none() | st.binary(max_size=10))
def test_an_event_of_our_own_reads_back(data: bytes, name: bytes | None) -> None:
    if name is not None and (b"\r" in name or b"\n" in name):
        with pytest.raises(ValueError, match="one line"):
            Event.make(data, name)
        return
    event = Event.make(data, name)
    expected = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert (event.name, event.data) == (name or b"", expected)
    assert split(event.raw) == ([event.raw], b"")


@pytest.mark.parametrize("piece_bytes", [1, 7, 65536])
def test_the_time_is_linear_however_the_stream_is_cut(piece_bytes: int) -> None:
    def seconds(size: int) -> float:
        stream = b"data: " + b"\r\n: y" * (size // 5) + b"\r\n\r\n"
        pieces = [stream[i : i + piece_bytes] for i in range(0, len(stream), piece_bytes)]
        started = time.process_time()
        assert split(*pieces) == ([stream], b"")
        return time.process_time() - started

    small = min(seconds(20_000) for _ in range(3)) + 0.001
    assert seconds(200_000) < 60 * small


@pytest.mark.parametrize(
    "piece",
    [
        *(b"data: b\n\n", b"event: e\ndata: b\n\n", b"\n\n", b": b\n\n", b"data: b\ndata: c\n\n"),
        *(b"data: b\n\ndata: c\n\n", b"data: b\n\ndata: c", b"data: b\n\n\n\n", b"data: b\n"),
        *(
            b"data: b\r\n\r\n",
            b"data: b\n\r\n",
            b"data: \r\rb\n\n",
            b"data: b",
            b"\n",
            b"",
            b"e: x\n",
        ),
    ],
)
def test_a_slice_in_mid_stream_is_cut_as_the_whole_stream_is(piece):
    raws, rest = split(b"data: a\n\n", piece)
    assert (raws, rest) == split(b"data: a\n\n" + piece)
