"""A body on its way in: who gets which of its bytes, and what its connection is told meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.body import RequestBody
from tests.gateway.ends import run

BUFFER = 10


class Reading:
    """The caller's connection as a body knows it; it keeps what it was told."""

    def __init__(self) -> None:
        self.buffer_bytes_max = BUFFER
        self.told: list[str] = []

    def expect_no_more(self) -> None:
        self.told.append("go on")

    def pause_body(self) -> None:
        self.told.append("rest")

    def resume_body(self) -> None:
        self.told.append("resume")


def coming(size: int | None) -> tuple[RequestBody, Reading]:
    """Give a body of that size, or a chunked one, of which nothing has come."""
    reading = Reading()
    return RequestBody(reading, size, is_chunked=size is None), reading


def taken(body: RequestBody) -> list[tuple[bytes, bool]]:
    slices: list[tuple[bytes, bool]] = []
    body.start(lambda data, complete: slices.append((data, complete)))
    return slices


@pytest.mark.parametrize(
    ("size", "is_empty", "complete"), [(0, True, True), (1, False, False), (None, False, False)]
)
def test_a_body_is_announced_by_size_or_chunked(size, is_empty, complete):
    body, reading = coming(size)

    assert (body.is_empty, body.complete, body.received) == (is_empty, complete, 0)
    assert (body.size, body.is_chunked) == (size, size is None)
    assert reading.told == []


# -- held ------------------------------------------------------------------------------------------


def test_a_body_is_held_until_somebody_takes_it():
    body, reading = coming(6)
    body.feed(b"ab", False)
    body.feed(b"cd", False)
    assert (body.held, body.held_bytes, body.complete) == ([b"ab", b"cd"], 4, False)
    body.feed(b"ef", True)

    assert (body.held, body.held_bytes, body.complete) == ([b"ab", b"cd", b"ef"], 6, True)
    assert body.received == 6
    assert reading.told == []


def test_an_end_without_bytes_is_no_slice():
    body, _ = coming(None)
    body.feed(b"ab", False)
    body.feed(b"", True)

    assert (body.held, body.complete, body.received) == ([b"ab"], True, 2)


def test_the_caller_rests_once_more_is_held_than_the_buffer():
    body, reading = coming(None)
    body.feed(bytes(BUFFER), False)
    assert reading.told == []
    body.feed(b"x", False)

    assert reading.told == ["rest"]


def test_a_caller_that_has_sent_all_need_not_rest():
    body, reading = coming(BUFFER + 1)
    body.feed(bytes(BUFFER + 1), True)

    assert reading.told == []


@pytest.mark.parametrize(
    ("slices", "whole"), [([b""], b""), ([b"abc"], b"abc"), ([b"ab", b"c"], b"abc")]
)
def test_a_body_that_is_there_can_be_had_at_once(slices, whole):
    body, reading = coming(None)
    for data in slices:
        assert body.whole_now() is None
        assert body.whole is None
        body.feed(data, data is slices[-1])

    assert body.whole_now() == whole
    assert body.whole == whole
    assert reading.told == []


def test_a_body_in_one_slice_is_not_copied():
    body, _ = coming(5)
    data = bytes(5)
    body.feed(data, True)

    assert body.whole_now() is data


# -- read ------------------------------------------------------------------------------------------


def test_a_body_is_read_whole_once_all_has_come():
    async def story() -> None:
        body, reading = coming(6)
        body.feed(b"ab", False)
        reader = asyncio.ensure_future(body.read(100))
        await asyncio.sleep(0)
        assert reading.told == ["go on", "resume"]
        body.feed(b"c", False)
        body.feed(b"d", False)  # before the reader has woken up
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not reader.done()
        body.feed(b"ef", True)
        assert await reader == b"abcdef"

    run(story())


def test_a_body_that_is_there_is_read_without_a_wait():
    async def story() -> None:
        body, reading = coming(2)
        body.feed(b"ab", True)
        assert await body.read(2) == b"ab"
        assert reading.told == ["go on"]
        empty, _ = coming(0)
        assert await empty.read(0) == b""

    run(story())


def test_a_body_announced_too_large_is_not_even_asked_for():
    async def story() -> None:
        body, reading = coming(101)
        assert await body.read(100) is None
        assert reading.told == []

    run(story())


@pytest.mark.parametrize("complete", [True, False])
def test_a_body_that_grows_too_large_stays_held(complete):
    async def story() -> None:
        body, _ = coming(None)
        reader = asyncio.ensure_future(body.read(5))
        await asyncio.sleep(0)
        body.feed(b"abcde", False)
        await asyncio.sleep(0)
        assert not reader.done()
        body.feed(b"f", complete)
        assert await reader is None
        assert (body.held, body.complete) == ([b"abcde", b"f"], complete)

    run(story())


def test_while_somebody_reads_the_caller_does_not_rest():
    async def story() -> None:
        body, reading = coming(None)
        reader = asyncio.ensure_future(body.read(100))
        await asyncio.sleep(0)
        body.feed(bytes(BUFFER + 1), False)
        assert "rest" not in reading.told
        await asyncio.sleep(0)
        body.feed(b"", True)
        assert await reader == bytes(BUFFER + 1)
        assert "rest" not in reading.told

    run(story())


def test_a_reader_wakes_a_caller_that_rests():
    async def story() -> None:
        body, reading = coming(None)
        body.feed(bytes(BUFFER + 1), False)
        reader = asyncio.ensure_future(body.read(100))
        await asyncio.sleep(0)
        assert reading.told == ["rest", "go on", "resume"]
        body.feed(b"x", True)
        assert await reader == bytes(BUFFER + 1) + b"x"

    run(story())


def test_a_reader_that_gives_up_leaves_the_body_as_it_was():
    async def story() -> None:
        body, reading = coming(None)
        reader = asyncio.ensure_future(body.read(100))
        await asyncio.sleep(0)
        body.feed(b"ab", False)
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
        assert reader.cancelled()
        body.feed(bytes(BUFFER), False)
        assert reading.told[-1] == "rest"  # nobody reads
        body.feed(b"c", True)
        assert await body.read(100) == b"ab" + bytes(BUFFER) + b"c"

    run(story())


# -- taken -----------------------------------------------------------------------------------------


def test_from_its_start_each_slice_is_passed_on_and_nothing_is_held():
    body, reading = coming(None)
    body.feed(b"ab", False)
    slices = taken(body)
    assert reading.told == ["go on", "resume"]
    body.feed(b"cd", False)
    body.feed(bytes(BUFFER + 1), False)
    body.feed(b"", True)

    assert slices == [(b"cd", False), (bytes(BUFFER + 1), False), (b"", True)]
    assert (body.held, body.held_bytes) == ([], 0)
    assert (body.received, body.complete) == (4 + BUFFER + 1, True)
    assert "rest" not in reading.told


def test_a_slice_that_is_passed_on_finds_the_body_as_complete_as_it_is():
    body, _ = coming(2)
    seen: list[tuple[bool, int]] = []
    body.start(lambda data, complete: seen.append((body.complete, body.received)))
    body.feed(b"a", False)
    body.feed(b"b", True)

    assert seen == [(False, 1), (True, 2)]


def test_who_takes_it_says_when_to_rest_and_when_to_go_on():
    body, reading = coming(2)
    taken(body)
    reading.told.clear()
    body.pause()
    body.resume()
    assert reading.told == ["rest", "resume"]

    body.feed(b"ab", True)
    body.pause()  # there is nothing left to hold back; what comes now is another request
    assert reading.told == ["rest", "resume"]


# -- the end ---------------------------------------------------------------------------------------


def test_once_it_is_let_go_neither_side_is_told_anything():
    body, reading = coming(None)
    slices = taken(body)
    reading.told.clear()
    body.let_go()
    assert (body.caller, body.take) == (None, None)
    body.wanted()
    body.pause()
    body.resume()
    body.feed(bytes(BUFFER + 1), False)
    body.start(lambda data, complete: None)

    assert (reading.told, slices) == ([], [])


def test_a_body_that_points_at_nobody_can_still_be_read():
    async def story() -> None:
        body = RequestBody(None, 5, is_chunked=False)
        reader = asyncio.ensure_future(body.read(5))
        await asyncio.sleep(0)
        body.feed(b"hello", True)
        assert await reader == b"hello"

    run(story())
