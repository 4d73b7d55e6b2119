"""A body on its way up: slice by slice, once, and again only where that is no second time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import pytest

from gateway.body import RequestBody
from gateway.clock import Clock
from gateway.config import Limits
from gateway.origins import Origin
from gateway.pool import Pool
from gateway.testing import attempt_of, chunk, chunked, exchange
from gateway.upload import Upload, framed_chunk
from gateway.upstream import Answer, Upstream
from tests.gateway.ends import End, Listening, limits, run, until

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Reading:
    """The caller's socket as a body knows it: it can be asked to rest and to go on."""

    def __init__(self, bounds: Limits) -> None:
        self.buffer_bytes_max: int = bounds.buffer_bytes_max
        self.is_resting = False
        self.was_told_to_go_on = False

    def pause_body(self) -> None:
        self.is_resting = True

    def resume_body(self) -> None:
        self.is_resting = False

    def expect_no_more(self) -> None:
        self.was_told_to_go_on = True


class Uploading:
    """A body between its caller's socket and an upstream that the test plays."""

    def __init__(self, pool: Pool, listening: Listening) -> None:
        self.pool = pool
        self.listening = listening
        self.reading = Reading(pool.limits)

    def body(self, size: int | None) -> tuple[RequestBody, Upload]:
        """Give a body of that size, or a chunked one, and its upload."""
        body = RequestBody(self.reading, size, is_chunked=size is None)
        return body, Upload(body, self.pool.limits)

    async def connected(self) -> tuple[Upstream, End]:
        place = Origin("http", "127.0.0.1", self.listening.port)
        ours, theirs = await asyncio.gather(
            self.pool.connect(place, attempt_of(exchange()), 0), self.listening.accept()
        )
        ours.first_byte_timeout_ns = ours.idle_timeout_ns = 10**12
        return ours, theirs

    async def kept(self) -> tuple[Upstream, End]:
        """Give a connection that has had a request before."""
        ours, theirs = await self.connected()
        answer = ours.ask(HEAD, is_head=False, uploading=False)
        await theirs.exactly(len(HEAD))
        await theirs.send(ANSWER)
        await whole(answer)
        assert self.pool.idle(ours.origin) is ours
        return ours, theirs


async def whole(answer: Answer) -> Answer:
    while not answer.ended and answer.fault is None:
        await answer.news()
    return answer


@contextlib.asynccontextmanager
async def uploading(**written: str | int) -> AsyncIterator[Uploading]:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = Pool(loop, clock, limits(**written))
    try:
        yield Uploading(pool, Listening())
    finally:
        pool.close()
        clock.close()
        await asyncio.sleep(0.01)


def test_a_sized_body_goes_up_as_it_comes():
    async def story() -> None:
        async with uploading() as up:
            ours, theirs = await up.connected()
            body, upload = up.body(9)
            body.feed(b"abc", False)
            assert not upload.is_under_way
            answer = upload.begin(ours, HEAD, is_head=False)
            assert upload.is_under_way
            assert await theirs.exactly(len(HEAD) + 3) == HEAD + b"abc"
            body.feed(b"def", False)
            assert await theirs.exactly(3) == b"def"
            body.feed(b"ghi", True)
            assert await theirs.exactly(3) == b"ghi"
            await theirs.send(ANSWER)
            assert (await whole(answer)).fault is None
            assert up.pool.idle(ours.origin) is ours

    run(story())


@pytest.mark.parametrize("ends_apart", [True, False])
def test_a_chunked_body_goes_up_in_chunks_of_its_own(ends_apart):
    async def story() -> None:
        async with uploading() as up:
            ours, theirs = await up.connected()
            body, upload = up.body(None)
            body.feed(b"ab", False)
            body.feed(b"c", False)
            upload.begin(ours, HEAD, is_head=False)
            body.feed(b"x" * 300, not ends_apart)
            if ends_apart:
                body.feed(b"", True)
            sent = HEAD + chunk(b"abc") + chunked(b"x" * 300)
            assert await theirs.exactly(len(sent)) == sent
            assert await theirs.soon() == b""

    run(story())


@pytest.mark.parametrize(("size", "sent"), [(3, b"abc"), (None, chunked(b"abc"))])
def test_a_body_that_is_whole_already_goes_up_with_its_head(size, sent):
    async def story() -> None:
        async with uploading() as up:
            ours, theirs = await up.connected()
            body, upload = up.body(size)
            body.feed(b"abc", True)
            answer = upload.begin(ours, HEAD, is_head=False)
            assert await theirs.exactly(len(HEAD + sent)) == HEAD + sent
            await theirs.send(ANSWER)
            assert (await whole(answer)).fault is None
            assert up.pool.idle(ours.origin) is ours

    run(story())


def test_a_chunked_body_without_a_byte_is_its_last_chunk():
    async def story() -> None:
        async with uploading() as up:
            ours, theirs = await up.connected()
            body, upload = up.body(None)
            upload.begin(ours, HEAD, is_head=False)
            body.feed(b"", True)
            sent = HEAD + b"0\r\n\r\n"
            assert await theirs.exactly(len(sent)) == sent
            assert await theirs.soon() == b""

    run(story())


def test_nothing_is_framed_as_nothing():
    assert framed_chunk(b"") == b""
    assert framed_chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"


def test_the_caller_is_told_to_go_on_once_somebody_takes_its_body():
    async def story() -> None:
        async with uploading() as up:
            ours, _ = await up.connected()
            _, upload = up.body(3)
            assert not up.reading.was_told_to_go_on
            upload.begin(ours, HEAD, is_head=False)
            assert up.reading.was_told_to_go_on

    run(story())


def test_a_caller_that_rested_before_goes_on_once_its_body_is_taken():
    async def story() -> None:
        async with uploading(buffer_bytes_max=1000) as up:
            ours, theirs = await up.connected()
            body, upload = up.body(3000)
            body.feed(b"x" * 1500, False)
            assert up.reading.is_resting
            upload.begin(ours, HEAD, is_head=False)
            assert not up.reading.is_resting
            body.feed(b"x" * 1500, True)
            assert len(await theirs.exactly(len(HEAD) + 3000)) == len(HEAD) + 3000

    run(story())


def test_a_caller_rests_while_the_upstream_does_not_read():
    async def story() -> None:
        async with uploading() as up:
            ours, theirs = await up.connected()
            body, upload = up.body(None)
            upload.begin(ours, HEAD, is_head=False)
            sent = 0
            while not up.reading.is_resting:
                body.feed(bytes(100_000), False)
                sent += 1
            await theirs.exactly(sent * len(chunk(bytes(100_000))))
            await until(lambda: not up.reading.is_resting)
            body.feed(b"", True)

    run(story())


def test_after_the_answer_the_rest_is_read_away():
    async def story() -> None:
        async with uploading() as up:
            ours, theirs = await up.connected()
            body, upload = up.body(300)
            answer = upload.begin(ours, HEAD, is_head=False)
            await theirs.exactly(len(HEAD))
            await theirs.send(ANSWER)
            assert (await whole(answer)).take() == b"ok"
            body.feed(b"x" * 100, False)
            body.feed(b"x" * 200, True)
            assert body.received == 300
            assert await theirs.ending() == "reset"

    run(story())


def test_what_is_left_of_a_body_does_not_go_into_the_next_request():
    """The connection may be another's by then."""

    async def story() -> None:
        async with uploading() as up:
            ours, theirs = await up.connected()
            body, upload = up.body(6)
            body.feed(b"abc", False)
            answer = upload.begin(ours, HEAD, is_head=False)
            body.feed(b"def", True)
            await theirs.exactly(len(HEAD) + 6)
            await theirs.send(ANSWER)
            await whole(answer)
            assert up.pool.idle(ours.origin) is ours
            other = ours.ask(HEAD, is_head=False, uploading=False)
            body.feed(b"late", True)
            assert await theirs.exactly(len(HEAD)) == HEAD
            assert await theirs.soon() == b""
            await theirs.send(ANSWER)
            assert (await whole(other)).fault is None

    run(story())


# -- again on a fresh connection -------------------------------------------------------------------


async def stale(up: Uploading, body: RequestBody, upload: Upload) -> Answer:
    """Begin on a kept connection that is dead, and give what came of it."""
    ours, theirs = await up.kept()
    theirs.close()
    time.sleep(0.01)  # noqa: ASYNC251  # the loop is not to hear of it before we ask
    answer = upload.begin(ours, HEAD, is_head=False)
    return await whole(answer)


async def again(up: Uploading, upload: Upload) -> tuple[Answer, End]:
    ours, theirs = await up.connected()
    return upload.begin(ours, HEAD, is_head=False), theirs


@pytest.mark.parametrize("is_sized", [True, False])
@pytest.mark.parametrize("late", ["during", "between", "after"])
def test_the_very_same_bytes_go_to_a_fresh_connection(is_sized, late):
    async def story() -> None:
        async with uploading() as up:
            body, upload = up.body(9 if is_sized else None)
            body.feed(b"abc", False)
            failing = asyncio.ensure_future(stale(up, body, upload))
            await until(lambda: upload.is_under_way)
            if late == "during":
                body.feed(b"def", False)
                body.feed(b"ghi", True)
            failed = await failing
            assert failed.fault is not None
            assert failed.fault.reached is False
            assert upload.may_replay
            if late == "between":
                body.feed(b"def", False)
                body.feed(b"ghi", True)
            answer, theirs = await again(up, upload)
            if late == "after":
                body.feed(b"def", False)
                body.feed(b"ghi", True)
            parts = (b"abc", b"def", b"ghi")
            sent = HEAD + (b"".join(parts) if is_sized else chunked(*parts))
            assert await theirs.exactly(len(sent)) == sent
            assert await theirs.soon() == b""
            await theirs.send(ANSWER)
            assert (await whole(answer)).fault is None
            assert up.pool.idle(Origin("http", "127.0.0.1", up.listening.port)) is not None

    run(story())


def test_more_than_the_bound_is_not_kept_for_a_second_time():
    async def story() -> None:
        async with uploading(replay_bytes_max=1000) as up:
            ours, _ = await up.connected()
            body, upload = up.body(10_000)
            assert not upload.may_replay  # nothing has been sent yet
            upload.begin(ours, HEAD, is_head=False)
            body.feed(b"x" * 1000, False)
            assert upload.may_replay
            body.feed(b"x", False)
            assert not upload.may_replay
            body.feed(b"x" * 100, False)
            assert not upload.may_replay

    run(story())


def test_a_caller_that_rested_for_a_dead_connection_goes_on_for_the_fresh_one():
    async def story() -> None:
        async with uploading() as up:
            ours, dead = await up.kept()
            ours.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # soon full
            dead.close()
            time.sleep(0.01)  # noqa: ASYNC251  # the loop is not to hear of it before we ask
            body, upload = up.body(None)
            body.feed(bytes(300_000), False)
            failed = upload.begin(ours, HEAD, is_head=False)
            assert up.reading.is_resting
            sent = HEAD + chunk(bytes(300_000))
            await whole(failed)
            assert failed.fault is not None
            assert upload.may_replay
            answer, theirs = await again(up, upload)
            assert await theirs.exactly(len(sent)) == sent
            await until(lambda: not up.reading.is_resting)
            body.feed(b"", True)
            assert await theirs.exactly(5) == b"0\r\n\r\n"
            await theirs.send(ANSWER)
            assert (await whole(answer)).fault is None

    run(asyncio.wait_for(story(), 1))


def test_a_dead_connection_takes_nothing_more():
    async def story() -> int:
        async with uploading() as up:
            body, upload = up.body(9)
            await stale(up, body, upload)
            body.feed(b"abc", False)
            body.feed(b"defghi", True)
            return body.received

    assert run(story()) == 9
