"""A caller's connection: requests come out of it one at a time, whole, and only good ones.

The line's side is played here: what the connection serves waits in a queue, and the test answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import cast

import httptools
import hypothesis
import hypothesis.strategies as st
import orjson
import pytest

from gateway import Exchange
from gateway.body import RequestBody
from gateway.caller import Caller
from gateway.chunks import Chunks
from gateway.clock import Clock
from gateway.config import Config
from gateway.refusal import Refusal, Screen
from gateway.screened import Screened
from gateway.testing import chunk, chunked
from tests.gateway.ends import End, Wire, connect, limits, run, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECOND_NS = 1_000_000_000


class Turn:
    """One request in the hands of its line.

    given: its body as the connection gave it. body: the same, one that came whole put into a body
    that has all of it.
    """

    def __init__(
        self,
        door: Door,
        caller: Caller,
        exchange: Exchange,
        given: bytes | RequestBody,
        screened: Screened,
    ) -> None:
        assert caller.body is (given if isinstance(given, RequestBody) else None)
        self.door = door
        self.caller = caller
        self.exchange = exchange
        self.screened = screened
        self.given = given
        self.body = whole(given) if isinstance(given, bytes) else given
        self.has_left = asyncio.Event()
        self.drained_times = 0

    def start(self) -> None:
        self.door.begun(self)

    def leave(self) -> None:
        assert not self.has_left.is_set()
        self.has_left.set()

    def drained(self) -> None:
        self.drained_times += 1

    def answer(self, raw: bytes = OK, *, keep: bool | None = None) -> None:
        self.caller.write(raw)
        self.caller.done(keep=self.caller.may_keep if keep is None else keep)

    def taken(self) -> list[tuple[bytes, bool]]:
        """Take the body slice by slice, from now on."""
        slices: list[tuple[bytes, bool]] = []
        self.body.start(lambda data, complete: slices.append((data, complete)))
        return slices


def whole(data: bytes) -> RequestBody:
    body = RequestBody(None, len(data), is_chunked=False)
    if data:
        body.feed(data, True)
    return body


class Page(asyncio.Protocol):
    """Stands where aiohttp serves a plugin's page."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(b"a page")

    def data_received(self, data: bytes) -> None:
        self.received += data


class Door:
    """A listener on a port of its own that hands each request to the test."""

    def __init__(self, config: Config) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = Clock(self.loop)
        self.limits = config.limits
        self.is_draining = False
        self.has_pages = False
        self.connections: set[Caller] = set()
        self.refusals: list[Refusal] = []
        self.page = Page()
        self.port = 0
        self.screened = Screen(config).pass_over
        self._turns: asyncio.Queue[Turn] = asyncio.Queue()

    def serve(
        self, caller: Caller, exchange: Exchange, body: bytes | RequestBody, screened: Screened
    ) -> Turn:
        return Turn(self, caller, exchange, body, screened)

    def serve_upgrade(
        self, caller: Caller, exchange: Exchange, screened: Screened, key: bytes
    ) -> Turn:
        return Turn(self, caller, exchange, b"", screened)

    def begun(self, turn: Turn) -> None:
        self._turns.put_nowait(turn)

    def hand_over(self, target: bytes) -> asyncio.Protocol | None:
        return self.page if target.startswith(b"/page") else None

    def refused(self, refusal: Refusal, peer: str) -> None:
        assert peer.startswith("127.0.0.1:")
        self.refusals.append(refusal)

    async def next(self) -> Turn:
        return await self._turns.get()

    @property
    def is_quiet(self) -> bool:
        return self._turns.empty()

    async def only(self) -> Caller:
        """Give the one connection, once it is there."""
        await until(lambda: self.connections)
        (caller,) = self.connections
        return caller


class Prompt(Door):
    """A listener whose lines are over before their start returns: they answer with the target."""

    def begun(self, turn: Turn) -> None:
        turn.answer(answer(turn.exchange.target))


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@contextlib.asynccontextmanager
async def opened(
    kind: type[Door] = Door, /, *, send_bytes: int | None = None, **written: str | int
) -> AsyncIterator[Door]:
    """Open a door. send_bytes: of the kernel's buffer towards callers."""
    loop = asyncio.get_running_loop()
    door = kind(Config(limits=limits(**written)))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        if send_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        server = await loop.create_server(lambda: Caller(door), sock=sock)
        door.port = sock.getsockname()[1]
        try:
            yield door
        finally:
            server.close()
            for caller in tuple(door.connections):
                caller.transport.abort()
            door.clock.close()
            await asyncio.sleep(0.01)


def request(
    *fields: bytes, start: bytes = b"POST /openai/v1/x HTTP/1.1", body: bytes = b""
) -> bytes:
    return b"\r\n".join([start, b"Host: localhost", *fields, b"", body])


def sized(body: bytes, *fields: bytes) -> bytes:
    return request(*fields, b"Content-Length: %d" % len(body), body=body)


GET = request(start=b"GET /openai/v1/x HTTP/1.1")
CHUNKED = b"Transfer-Encoding: chunked"
UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x")


def passed(caller: Caller, *seconds: float) -> None:
    """Have the clock ask at these times from now."""
    now_ns = time.monotonic_ns()
    for second in seconds:
        caller.check(now_ns + int(second * SECOND_NS))


async def refusal(end: End) -> tuple[int, str]:
    """Read a refusal to the end of the connection: its status and its code."""
    raw = await end.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    return int(head.split(b" ")[1]), orjson.loads(body)["error"]["code"]


# -- heads -----------------------------------------------------------------------------------------


def test_a_request_becomes_an_exchange():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(b"X-B: 1", b"x-a: \xff", b"X-B: 2", b"Weir-Cache: off"))
            turn = await door.next()
            made = turn.exchange
            assert (made.method, made.target, made.version) == (b"POST", b"/openai/v1/x", "1.1")
            assert made.headers.items[1:] == [
                (b"X-B", b"1"),
                (b"x-a", b"\xff"),
                (b"X-B", b"2"),
                (b"Weir-Cache", b"off"),
            ]
            assert turn.screened.upward == made.headers.items[1:4]
            assert made.peer == f"127.0.0.1:{end.sock.getsockname()[1]}"
            assert (turn.body.is_empty, turn.body.complete) == (True, True)

    run(story())


@pytest.mark.parametrize(
    "raw",
    [sized(b"hello"), request(CHUNKED, body=chunked(b"hel", b"lo"))],
    ids=["sized", "chunked"],
)
def test_a_request_may_be_cut_anywhere(raw):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            for cut in range(1, len(raw)):
                await end.send(raw[:cut])
                await asyncio.sleep(0)
                await end.send(raw[cut:])
                turn = await door.next()
                assert await turn.body.read(100) == b"hello"
                assert turn.exchange.target == b"/openai/v1/x"
                turn.answer()
                assert await end.exactly(len(OK)) == OK
            assert door.is_quiet

    run(story())


def test_a_request_may_come_byte_by_byte():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            caller = await door.only()
            for raw in (sized(b"hello"), request(CHUNKED, body=chunked(b"hel", b"lo"))):
                for byte in raw:
                    caller.data_received(bytes((byte,)))
                turn = await door.next()
                assert await turn.body.read(100) == b"hello"
                turn.answer()
            assert await end.exactly(len(OK) * 2) == OK * 2

    run(story())


@pytest.mark.parametrize("empty", [b"\r\n", b"\n", b"\r\n\r\n\r\n"])
def test_empty_lines_before_a_request_are_passed_over(empty):
    """RFC 9112 section 2.2: some old clients send one behind a body."""

    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            for raw in (empty + GET, GET):
                await end.send(raw)
                (await door.next()).answer()
                assert await end.exactly(len(OK)) == OK
                await end.send(empty)

    run(story())


def test_an_upgrade_is_a_request_like_any_other():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            for raw, body in (
                (request(*UPGRADE), b""),
                (sized(b"hello", *UPGRADE), b"hello"),
                (request(*UPGRADE, CHUNKED, body=chunked(b"hello")), b"hello"),
                (GET, b""),
            ):
                await end.send(raw)
                turn = await door.next()
                assert await turn.body.read(100) == body
                assert turn.screened.upward == []
                turn.answer()
                assert await end.exactly(len(OK)) == OK

    run(story())


EARLY: dict[str, tuple[dict[str, int], list[bytes], bytes]] = {
    "bad syntax": ({}, [b"HEAD /openai HTTP/1.1\r\nHost : a\r\n\r\n"], b" 400 "),
    "bad target": ({}, [b"HEAD \x01 HTTP/1.1\r\n\r\n"], b" 400 "),
    "in pieces": ({}, [b"HE", b"AD /op", b"enai HTTP/1.1\r\nHost", b" : a\r\n\r\n"], b" 400 "),
    "bad before its end": ({}, [b"HEAD /openai HTTP/1.1\r\nHos", b"t : a\r\nA: b"], b" 400 "),
    "behind an empty line": ({}, [b"\r\nHEAD /openai HTTP/1.1\r\nHost : a\r\n\r\n"], b" 400 "),
    "too many fields": (
        {"header_count_max": 1},
        [request(b"A: b", start=b"HEAD /openai HTTP/1.1")],
        b" 431 ",
    ),
    "too large": (
        {"header_bytes_max": 100},
        [b"HEAD /openai HTTP/1.1\r\nA: ", b"b" * 100],
        b" 431 ",
    ),
    "bad host": ({}, [b"HEAD /openai HTTP/1.1\r\n\r\n"], b" 400 "),
    "bad chunk": ({}, [request(CHUNKED, start=b"HEAD /openai HTTP/1.1", body=b"x\r\n")], b" 400 "),
    "late": ({}, [b"HEAD /openai HTTP/1.1\r\n"], b" 408 "),
}


@pytest.mark.parametrize("name", EARLY)
@pytest.mark.parametrize("is_head", [True, False])
def test_a_refused_head_request_gets_no_content(name, is_head):
    """RFC 9110 section 9.3.2, whatever of it had come."""
    written, pieces, status = EARLY[name]

    async def story() -> None:
        async with opened(**written) as door:
            end = await connect(door.port)
            # What was asked before is no reason.
            await end.send(request(start=(b"GET" if is_head else b"HEAD") + b" /x HTTP/1.1"))
            (await door.next()).answer()
            await end.exactly(len(OK))
            for piece in pieces:
                await end.send(
                    piece if is_head else piece.replace(b"HE", b"RE").replace(b"AD ", b"PORT ")
                )
                await asyncio.sleep(0.01)
            if name == "late":
                passed(await door.only(), 3600)
            answered = await end.rest()
            head, _, content = answered.partition(b"\r\n\r\n")
            assert status in head
            assert b"\r\nContent-Length: 0" not in head
            assert bool(content) is not is_head

    run(story())


BOUNDS = {
    "fields": ({"header_count_max": 3}, request(b"A: 1", b"B: 2", b"C: 3"), 431, "header_count"),
    "bytes": ({"header_bytes_max": 100}, request(b"A: " + b"b" * 100), 431, "header_bytes"),
    "target": (
        {"header_bytes_max": 100},
        request(start=b"GET /" + b"x" * 100 + b" HTTP/1.1"),
        414,
        "target_bytes",
    ),
    "length": ({"body_bytes_max": 4}, sized(b"hello"), 413, "body_bytes"),
    "chunks": (
        {"body_bytes_max": 4},
        request(CHUNKED, body=chunked(b"he", b"llo")),
        413,
        "body_bytes",
    ),
    "trailers": (
        {"header_count_max": 3},
        request(CHUNKED, body=b"0\r\n" + b"A: b\r\n" * 4 + b"\r\n"),
        431,
        "header_count",
    ),
}


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("name", BOUNDS)
def test_what_is_beyond_a_bound_is_refused(name, apart):
    written, raw, status, code = BOUNDS[name]

    async def story() -> None:
        async with opened(**written) as door:
            end = await connect(door.port)
            await end.send(raw[:-3] if apart else raw)
            if apart:
                await asyncio.sleep(0.005)
                with contextlib.suppress(ConnectionError):
                    await end.send(raw[-3:])
            assert await refusal(end) == (status, code)
            assert [refused.code for refused in door.refusals] == [code]
            assert door.refusals[0].detail in (
                "header_bytes_max",
                "header_count_max",
                "body_bytes_max",
            )
            if not door.is_quiet:
                assert (await door.next()).has_left.is_set()

    run(story())


@pytest.mark.parametrize("name", ["fields", "bytes", "length"])
def test_what_is_just_within_a_bound_is_served(name):
    written, raw, _, _ = BOUNDS[name]
    key = next(iter(written))
    within = {key: {"fields": 4, "bytes": len(raw), "length": 5}[name]}

    async def story() -> None:
        async with opened(**within) as door:
            end = await connect(door.port)
            await end.send(raw)
            (await door.next()).answer()
            assert await end.exactly(len(OK)) == OK

    run(story())


def test_one_endless_trailer_is_refused_before_it_fills_the_memory():
    async def story() -> None:
        async with opened(header_bytes_max="10kB") as door:
            end = await connect(door.port)
            await end.send(request(CHUNKED, body=b"5\r\nhello\r\n0\r\nA: "))
            turn = await door.next()
            with contextlib.suppress(ConnectionError):
                for _ in range(40):
                    await end.send(b"b" * 1000)
                    await asyncio.sleep(0)
            async with asyncio.timeout(0.5):
                await turn.has_left.wait()
            assert (await refusal(end))[0] == 431

    run(story())


def test_one_connection_too_many_is_told_and_closed_and_the_others_go_on():
    async def story() -> None:
        async with opened(connections_max=2) as door:
            ends = [await connect(door.port) for _ in range(2)]
            await until(lambda: len(door.connections) == 2)
            third = await connect(door.port)
            assert await refusal(third) == (503, "connections")
            third.close()
            await until(lambda: len(door.connections) == 2)
            for end in ends:
                await end.send(GET)
                (await door.next()).answer()
                assert await end.exactly(len(OK)) == OK
            ends[0].close()
            await until(lambda: len(door.connections) == 1)
            fourth = await connect(door.port)
            await fourth.send(GET)
            (await door.next()).answer()
            assert await fourth.exactly(len(OK)) == OK

    run(story())


def test_one_connection_too_many_does_not_stay_because_its_caller_does():
    async def story() -> None:
        async with opened(connections_max=1, linger_timeout="100ms") as door:
            _, one_too_many = await connect(door.port), await connect(door.port)
            assert (await refusal(one_too_many))[0] == 503
            await asyncio.sleep(0.6)
            await one_too_many.send(b"x")  # answered by a reset, if nobody is there
            await asyncio.sleep(0.01)
            with pytest.raises(ConnectionError):
                await one_too_many.send(b"x")

    run(story())


# -- one after the other ---------------------------------------------------------------------------


def test_requests_that_come_at_once_are_served_one_at_a_time():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(GET + sized(b"hello") + GET + request(start=b"GET /last HTTP/1.1"))
            targets = []
            for body in (b"", b"hello", b"", b""):
                turn = await door.next()
                await asyncio.sleep(0.002)
                assert door.is_quiet
                assert await turn.body.read(100) == body
                targets.append(turn.exchange.target)
                turn.answer()
                assert await end.exactly(len(OK)) == OK
            assert targets == [b"/openai/v1/x"] * 3 + [b"/last"]

    run(story())


def test_thousands_of_requests_that_come_at_once_are_answered_at_once_and_in_order():
    """Each from within the call that starts it: were the next taken up there too, the calls would
    stand in one another.
    """
    targets = [b"/openai/%d" % number for number in range(3000)]
    raw = b"".join(request(start=b"GET %b HTTP/1.1" % target) for target in targets)

    async def story() -> None:
        async with opened(Prompt) as door:
            end = await connect(door.port)
            sending = asyncio.ensure_future(end.send(raw))
            for target in targets:
                wanted = answer(target)
                assert await end.exactly(len(wanted)) == wanted
            await sending
            assert door.refusals == []

    run(story())


def test_what_comes_while_the_next_request_waits_for_its_turn_stands_behind_it():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(GET + request(start=b"GET /2 HTTP/1.1"))
            first = await door.next()
            first.answer()
            first.caller.data_received(request(start=b"GET /3 HTTP/1.1"))
            assert door.is_quiet
            for target in (b"/2", b"/3"):
                turn = await door.next()
                assert turn.exchange.target == target
                turn.answer()
            assert await end.exactly(len(OK) * 3) == OK * 3

    run(story())


def test_a_request_whose_turn_would_come_in_the_drain_is_not_served():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(GET * 2)
            turn = await door.next()
            turn.answer(keep=True)
            door.is_draining = True
            turn.caller.close_if_idle()
            assert await end.rest() == OK
            assert door.is_quiet

    run(story())


def test_a_request_of_a_caller_that_has_left_before_its_turn_is_not_served():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(GET * 2)
            turn = await door.next()
            turn.answer(keep=True)
            turn.caller.transport.abort()
            await until(lambda: not door.connections)
            await asyncio.sleep(0.005)
            assert door.is_quiet
            assert door.refusals == []

    run(story())


@pytest.mark.parametrize(
    "behind", [GET, sized(b"POISON"), request(CHUNKED, body=chunked(b"POISON")), b"POISON"]
)
@pytest.mark.parametrize("apart", [True, False])
def test_a_request_behind_a_chunked_one_adds_nothing_to_it(behind, apart):
    raw = request(CHUNKED, body=chunked(b"hello"))

    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            if apart:
                await end.send(raw[:-8])
                turn = await door.next()
                before = b"".join(turn.body.held)
                slices = turn.taken()
                await end.send(raw[-8:] + behind)
                await until(lambda: turn.body.complete)
                assert before + b"".join(data for data, _ in slices) == b"hello"
            else:
                await end.send(raw + behind)
                turn = await door.next()
                assert await turn.body.read(1000) == b"hello"
            assert turn.body.received == 5
            assert turn.exchange.target == b"/openai/v1/x"

    run(story())


def test_what_is_sent_ahead_is_bounded():
    async def story() -> None:
        async with opened(pipeline_bytes_max="10kB") as door:
            end = await connect(door.port)
            await end.send(GET)
            turn = await door.next()
            sending = asyncio.ensure_future(end.send(GET * 500_000))
            await asyncio.sleep(0.1)
            assert not sending.done()
            turn.answer(keep=True)
            second = await door.next()
            assert second.exchange.target == b"/openai/v1/x"
            second.answer(keep=False)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending

    run(story())


def test_a_caller_that_was_held_back_is_read_again_once_its_turn_has_come():
    raw = GET * 100

    async def story() -> None:
        async with opened(pipeline_bytes_max="1kB") as door:
            end = await connect(door.port)
            await end.send(GET)
            turn = await door.next()
            await end.send(raw[:-10])
            await until(lambda: not turn.caller.transport.is_reading())
            await end.send(raw[-10:])
            turn.answer()
            for _ in range(100):
                (await door.next()).answer()
            assert await end.exactly(len(OK) * 101) == OK * 101

    run(story())


def test_a_caller_that_is_held_back_is_seen_to_leave():
    async def story() -> None:
        async with opened(pipeline_bytes_max="1kB") as door:
            end = await connect(door.port)
            await end.send(GET)
            turn = await door.next()
            await end.send(GET * 100)
            await asyncio.sleep(0.01)
            began = time.monotonic()
            end.close()
            await turn.has_left.wait()
            assert time.monotonic() - began < 0.2

    run(story())


@pytest.mark.parametrize(
    ("raw", "keep"),
    [
        (GET, True),
        (request(b"Connection: close"), False),
        (request(b"Connection: keep-alive"), True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (sized(b"hello"), True),
        (request(b"Content-Length: 6", body=b"hello"), False),
        (request(CHUNKED, body=chunk(b"hello")), False),
    ],
)
def test_a_connection_may_be_kept_if_the_caller_says_so_and_is_done(raw, keep):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(raw)
            turn = await door.next()
            assert turn.caller.may_keep is keep
            turn.answer()
            if keep:
                assert await end.exactly(len(OK)) == OK
                await end.send(GET)
                await door.next()
            else:
                assert await end.rest() == OK

    run(story())


@pytest.mark.parametrize(
    ("raw", "version"),
    [
        (GET, "1.1"),
        (b"GET / HTTP/1.0\r\n\r\n", "1.0"),
        (b"GET /1.1 HTTP/1.0\r\nX: HTTP/1.1\r\n\r\n", "1.0"),
    ],
)
def test_the_version_is_that_of_the_request_line(raw, version):
    async def story() -> None:
        async with opened() as door:
            for pieces in ([raw], [raw[:9], raw[9:]], [b"\r\n" + raw]):
                end = await connect(door.port)
                for piece in pieces:
                    await end.send(piece)
                    await asyncio.sleep(0.005)
                turn = await door.next()
                assert turn.exchange.version == version

    run(story())


def test_while_the_gateway_drains_none_is_kept():
    async def story() -> None:
        async with opened() as door:
            idle, busy = await connect(door.port), await connect(door.port)
            for end in (idle, busy):
                await end.send(GET)
            first, second = await door.next(), await door.next()
            first.answer()
            door.is_draining = True
            for caller in tuple(door.connections):
                caller.close_if_idle()
            assert second.caller.may_keep is False
            second.answer()
            assert await idle.rest() + await busy.rest() == OK * 2

    run(story())


def test_an_answer_that_was_to_be_kept_when_the_drain_began_is_the_last():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(GET)
            turn = await door.next()
            door.is_draining = True
            turn.answer(keep=True)
            assert await end.rest() == OK

    run(story())


# -- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (GET, b""),
        (request(*UPGRADE), b""),
        (sized(b""), b""),
        (sized(b"hello"), b"hello"),
        (b"\r\n" + sized(b"hello"), b"hello"),
        (sized(b"hello", *UPGRADE), b"hello"),
        (sized(b"hello") + GET, b"hello"),
        (GET + GET, b""),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_a_body_that_comes_whole_with_its_head_is_only_bytes(raw, body, apart):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            if apart:  # in the head, which is one all the same
                await end.send(raw[:30])
                await asyncio.sleep(0.005)
            await end.send(raw[30:] if apart else raw)
            turn = await door.next()
            assert turn.given == body
            assert type(turn.given) is bytes
            assert turn.caller.body is None
            assert turn.caller.may_keep

    run(story())


SHORT = request(b"Content-Length: 6", body=b"hello")


@pytest.mark.parametrize(
    ("first", "rest", "body"),
    [
        (SHORT[:-5], b"hello!", b"hello!"),
        (SHORT, b"!", b"hello!"),
        (SHORT, b"!" + GET, b"hello!"),
        (request(*UPGRADE, b"Content-Length: 6", body=b"hello"), b"!", b"hello!"),
        (request(CHUNKED), chunked(b"hel", b"lo"), b"hello"),
        (request(CHUNKED, body=chunk(b"hel")), chunked(b"lo"), b"hello"),
        (request(CHUNKED, body=chunked(b"hello")), b"", b"hello"),
        (request(CHUNKED, body=chunked()), b"", b""),
    ],
)
def test_any_other_body_is_one_on_its_way(first, rest, body):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(first)
            turn = await door.next()
            given = turn.given
            assert isinstance(given, RequestBody)
            assert (given.complete, given.is_empty) == (not rest, False)
            is_chunked = CHUNKED in first
            assert (given.size, given.is_chunked) == (None if is_chunked else 6, is_chunked)
            await end.send(rest)
            assert await given.read(100) == body
            assert turn.caller.may_keep

    run(story())


# What may stand before a request, in the pieces in which it comes, and its body.
BEFORE = {
    "nothing": ([GET], b""),
    "whole": ([sized(b"hello")], b"hello"),
    "pieces": ([SHORT[:-5], b"hello", b"!"], b"hello!"),
    "a head in pieces": ([SHORT[:20], SHORT[20:], b"!"], b"hello!"),
    "old": ([b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"], b"hi"),
    "proxy, none": ([request(b"Proxy-Connection: close")], b""),
    "proxy, whole": ([sized(b"hello", b"Proxy-Connection: close")], b"hello"),
    "upgrade": ([request(*UPGRADE)], b""),
    "upgrade, whole": ([sized(b"hello", *UPGRADE)], b"hello"),
    "upgrade, pieces": ([request(*UPGRADE, b"Content-Length: 2"), b"h", b"i"], b"hi"),
    "chunked": ([request(CHUNKED, body=chunked(b"hel", b"lo"))], b"hello"),
    "chunked, pieces": ([request(CHUNKED), chunk(b"hel"), chunked(b"lo")], b"hello"),
    "chunked, trailers": ([request(CHUNKED, body=chunk(b"a") + b"0\r\nX-T: 1\r\n\r\n")], b"a"),
    "chunked, upgrade": ([request(*UPGRADE, CHUNKED), chunked(b"hello")], b"hello"),
}
BEHIND = [
    (request(b"X-A: 1", start=b"GET /behind HTTP/1.1"), b""),
    (sized(b"GET /", b"X-A: 1").replace(b"/openai/v1/x", b"/behind"), b"GET /"),
    (request(b"X-A: 1", CHUNKED, start=b"POST /behind HTTP/1.1", body=chunked(b"0")), b"0"),
]


async def pieces(end: End, raws: list[bytes]) -> None:
    for raw in raws:
        await end.send(raw)
        await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("name", "ahead"),
    # A request that is sent ahead behind a chunked body is not served.
    [(name, False) for name in BEFORE] + [(name, True) for name in BEFORE if "chunk" not in name],
)
def test_a_request_is_taken_as_if_nothing_had_stood_before_it(name, ahead):
    first, first_body = BEFORE[name]

    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            for raw, body in BEHIND:
                for then in ([raw], [raw[:-1], raw[-1:]]):
                    sent = [*first[:-1], first[-1] + then.pop(0)] if ahead else first
                    sending = asyncio.ensure_future(pieces(end, sent))
                    turn = await door.next()
                    assert await turn.body.read(100) == first_body
                    await sending
                    turn.answer()
                    assert await end.exactly(len(OK)) == OK
                    sending = asyncio.ensure_future(pieces(end, then))
                    turn = await door.next()
                    made = turn.exchange
                    assert (made.method, made.target) == (raw.partition(b" ")[0], b"/behind")
                    assert made.headers.items[:2] == [(b"Host", b"localhost"), (b"X-A", b"1")]
                    assert len(made.headers) == raw.partition(b"\r\n\r\n")[0].count(b"\r\n")
                    assert turn.screened.upward == [(b"X-A", b"1")]
                    assert await turn.body.read(100) == body
                    await sending
                    turn.answer()
                    assert await end.exactly(len(OK)) == OK

    run(story())


def test_a_sized_body_is_fed_to_the_byte():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 6", body=b"abc"))
            turn = await door.next()
            assert turn.body.held == [b"abc"]
            slices = turn.taken()
            await end.send(b"defGET")
            await end.send(GET[3:])
            await until(lambda: turn.body.complete)
            assert slices == [(b"def", True)]
            turn.answer(keep=True)
            assert (await door.next()).exchange.method == b"GET"

    run(story())


@pytest.mark.parametrize("raw", [sized(b"hello"), request(CHUNKED, body=chunked(b"he", b"llo"))])
def test_a_body_that_came_along_is_there_at_once(raw):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(raw)
            turn = await door.next()
            assert turn.body.whole_now() == b"hello"
            assert await turn.body.read(5) == b"hello"
            assert turn.body.received == 5

    run(story())


def test_a_body_that_is_still_coming_is_not_there_yet():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 6", body=b"abc"))
            turn = await door.next()
            assert turn.body.whole_now() is None
            reading = asyncio.ensure_future(turn.body.read(100))
            await end.send(b"d")
            await asyncio.sleep(0.005)
            assert not reading.done()
            await end.send(b"ef")
            assert await reading == b"abcdef"

    run(story())


@pytest.mark.parametrize(
    "raw",
    [request(b"Content-Length: 100", body=b"abc"), request(CHUNKED, body=chunk(b"x" * 30))],
)
def test_a_body_above_the_bound_is_not_read_whole_and_can_still_be_streamed(raw):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(raw)
            turn = await door.next()
            assert await turn.body.read(20) is None
            held = b"".join(turn.body.held)
            assert raw.endswith((held, held + b"\r\n"))
            slices = turn.taken()
            more = b"y" * 97
            await end.send(more if b"Length" in raw else chunked(more))
            await until(lambda: turn.body.complete)
            assert b"".join(data for data, _ in slices) == more

    run(story())


def test_a_body_that_nobody_takes_is_held_up_to_a_bound():
    async def story() -> None:
        async with opened(buffer_bytes_max="64KiB") as door:
            end = await connect(door.port)
            size = 30_000_000
            sending = asyncio.ensure_future(end.send(sized(bytes(size))))
            turn = await door.next()
            await asyncio.sleep(0.1)
            assert not sending.done()
            assert turn.body.held_bytes < 1_000_000
            taken = turn.body.held_bytes
            slices = turn.taken()
            await sending
            await until(lambda: turn.body.complete)
            assert taken + sum(len(data) for data, _ in slices) == size

    run(story())


def test_a_body_rests_and_goes_on_as_it_is_told():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 6"))
            turn = await door.next()
            slices = turn.taken()
            turn.body.pause()
            await end.send(b"abcdef")
            await asyncio.sleep(0.01)
            assert slices == []
            turn.body.resume()
            await until(lambda: turn.body.complete)
            assert slices == [(b"abcdef", True)]
            turn.answer()
            assert await end.exactly(len(OK)) == OK

    run(story())


def test_a_caller_that_leaves_while_its_body_rests_is_seen_to():
    async def story() -> None:
        async with opened() as door:
            for leave in (End.close, End.reset, End.half_close):
                end = await connect(door.port)
                await end.send(request(b"Content-Length: 6"))
                turn = await door.next()
                turn.taken()
                turn.body.pause()
                await end.send(b"abc")
                await asyncio.sleep(0.005)
                began = time.monotonic()
                leave(end)
                await turn.has_left.wait()
                assert time.monotonic() - began < 0.2

    run(story())


def test_trailers_are_dropped():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(
                request(CHUNKED, body=b"5\r\nhello\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n")
            )
            turn = await door.next()
            assert await turn.body.read(100) == b"hello"
            assert turn.exchange.headers.get(b"x-t") is None
            turn.answer()
            await end.send(GET)
            second = await door.next()
            assert second.exchange.headers.items == [(b"Host", b"localhost")]

    run(story())


@pytest.mark.parametrize("bad", [b"zz\r\n", b"3\r\nhello", b"-1\r\n", b"0\r\nbad\r\n\r\n"])
def test_a_body_that_turns_bad_ends_the_request_and_the_caller_hears_why(bad):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(CHUNKED, body=chunk(b"good")))
            turn = await door.next()
            slices = turn.taken()
            await end.send(bad)
            await turn.has_left.wait()
            assert await refusal(end) == (400, "bad_request")
            assert not turn.body.complete
            assert slices in ([], [(b"hel", False)])

    run(story())


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("why", ["bad", "large", "slow"])
def test_nothing_is_said_into_an_answer_that_has_begun(why):
    """An upstream may answer before it has read all; what then goes wrong is only a cut."""

    async def story() -> None:
        async with opened(body_bytes_max=100, body_rate_grace="1s") as door:
            end = await connect(door.port)
            await end.send(request(CHUNKED, body=chunk(b"good")))
            turn = await door.next()
            turn.caller.write(HALF + b"ten bytes.")
            if why == "bad":
                await end.send(b"zz\r\n")
            elif why == "large":
                await end.send(chunk(b"x" * 101))
            else:
                passed(turn.caller, 3)
            async with asyncio.timeout(1):
                await turn.has_left.wait()
            assert await end.rest() == HALF + b"ten bytes."

    run(story())


def test_pauses_do_not_open_the_bound_of_a_body():
    async def story() -> None:
        async with opened(body_bytes_max=1000) as door:
            end = await connect(door.port)
            await end.send(request(CHUNKED, body=chunk(b"x" * 900)))
            turn = await door.next()
            slices = turn.taken()
            turn.body.pause()
            passed(turn.caller, 1, 2)
            turn.body.resume()
            await end.send(chunk(b"x" * 900))
            async with asyncio.timeout(0.5):
                await turn.has_left.wait()
            assert sum(len(data) for data, _ in slices) <= 1000

    run(story())


# -- Expect ----------------------------------------------------------------------------------------

EXPECT = b"Expect: 100-continue"
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


async def streams(turn: Turn) -> bytes:
    slices = turn.taken()
    await until(lambda: turn.body.complete)
    return b"".join(data for data, _ in slices)


@pytest.mark.parametrize("how", ["read", "start"])
def test_the_caller_is_told_to_go_on_when_its_body_is_wanted_and_not_before(how):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(EXPECT, b"Content-Length: 5"))
            turn = await door.next()
            assert await end.soon() == b""
            reads = turn.body.read(100) if how == "read" else streams(turn)
            reading = asyncio.ensure_future(reads)
            assert await end.exactly(len(GO_ON)) == GO_ON
            await end.send(b"hello")
            assert await reading == b"hello"
            turn.answer()
            assert await end.exactly(len(OK)) == OK

    run(story())


def test_a_caller_whose_body_is_not_wanted_gets_its_answer_alone():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(EXPECT, b"Content-Length: 5"))
            (await door.next()).answer()
            assert await end.rest() == OK

    run(story())


def test_a_body_that_came_along_needs_no_word():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(sized(b"hello", EXPECT))
            turn = await door.next()
            assert await turn.body.read(100) == b"hello"
            turn.answer()
            assert await end.soon() == OK

    run(story())


def test_an_expectation_does_not_outlive_its_request():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(EXPECT, b"Content-Length: 5"))
            turn = await door.next()
            await end.send(b"hello")
            await until(lambda: turn.body.complete)
            turn.answer(keep=True)
            assert await end.exactly(len(OK)) == OK
            await end.send(request(b"Content-Length: 5", body=b"he"))
            second = await door.next()
            reading = asyncio.ensure_future(second.body.read(100))
            await asyncio.sleep(0.005)
            await end.send(b"llo")
            await reading
            second.answer()
            assert await end.soon() == OK

    run(story())


# -- answers ---------------------------------------------------------------------------------------


def test_a_caller_that_does_not_read_is_full_until_it_reads():
    async def story() -> None:
        async with opened(send_bytes=4096, buffer_bytes_max="64KiB") as door:
            end = await connect(door.port, receive_bytes=4096)
            await end.send(GET)
            turn = await door.next()
            written = 0
            while not turn.caller.is_full:
                turn.caller.writelines([b"x" * 5000, b"y" * 5000])
                written += 10_000
            assert turn.drained_times == 0
            assert len(await end.exactly(written)) == written
            await asyncio.sleep(0.005)
            assert (turn.caller.is_full, turn.drained_times) == (False, 1)

    run(story())


def test_a_caller_that_takes_nothing_for_too_long_is_left():
    async def story() -> None:
        async with opened(send_bytes=4096, stall_timeout="10s") as door:
            end = await connect(door.port, receive_bytes=4096)
            await end.send(GET)
            turn = await door.next()
            while not turn.caller.is_full:
                turn.caller.write(bytes(100_000))
            passed(turn.caller, 1, 10)
            await end.exactly(10_000)
            await asyncio.sleep(0.005)
            passed(turn.caller, 12, 21)
            assert not turn.has_left.is_set()
            passed(turn.caller, 23)
            await turn.has_left.wait()

    run(story())


@pytest.mark.parametrize("keep", [True, False])
def test_a_caller_that_leaves_the_last_bytes_of_its_answer_is_left_too(keep):
    """They are too few to make the connection full, and it would wait for them for ever."""

    async def story() -> None:
        async with opened(send_bytes=4096, stall_timeout="10s", keepalive_timeout="20s") as door:
            end = await connect(door.port, receive_bytes=4096)
            await end.send(GET)
            turn = await door.next()
            while not turn.caller.transport.get_write_buffer_size():
                turn.caller.write(bytes(1000))
            assert not turn.caller.is_full
            turn.caller.done(keep=keep)
            for second in (1, 12, 22, 24, 40, 60, 100):
                passed(turn.caller, second)
                await asyncio.sleep(0.002)
            assert door.connections == set()

    run(story())


def test_a_cut_answer_ends_with_what_was_written():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(GET)
            turn = await door.next()
            turn.caller.write(HALF + b"half")
            turn.caller.cut(reset_too=False)
            assert await end.rest() == HALF + b"half"
            assert not turn.has_left.is_set()

    run(story())


@pytest.mark.parametrize("is_slow", [True, False])
def test_an_answer_without_framing_is_cut_by_a_reset_behind_what_was_written(is_slow):
    async def story() -> None:
        async with opened(send_bytes=4096) as door:
            end = await connect(door.port, receive_bytes=4096 if is_slow else None)
            await end.send(GET)
            turn = await door.next()
            size = 0
            while not (turn.caller.is_full if is_slow else size):
                turn.caller.write(bytes(10_000))
                size += 10_000
            turn.caller.cut(reset_too=True)
            assert len(await end.exactly(size)) == size
            assert await end.ending() == "reset"

    run(story())


@pytest.mark.parametrize("size", [300_000, 6_000_000])
def test_a_reset_waits_until_a_slow_caller_has_what_was_written(size):
    """What the kernel still holds would be lost with it."""

    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port, receive_bytes=4096)
            await end.send(GET)
            turn = await door.next()
            turn.caller.write(bytes(size))
            turn.caller.cut(reset_too=True)
            await asyncio.sleep(0.01)
            got = 0
            while got < size:
                got += len(await end.exactly(1000))
            assert await end.ending() == "reset"

    run(story())


@pytest.mark.parametrize("is_held_back", [True, False])
def test_a_cut_answer_arrives_although_the_caller_is_still_sending(is_held_back):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 1000000", body=bytes(1000)))
            turn = await door.next()
            turn.taken()
            if is_held_back:
                turn.body.pause()
            await end.send(bytes(100_000))
            turn.caller.write(HALF + b"half")
            turn.caller.cut(reset_too=False)
            with contextlib.suppress(ConnectionError):
                for _ in range(3):
                    await end.send(bytes(1000))
                    await asyncio.sleep(0.005)
            assert await end.exactly(len(HALF) + 4) == HALF + b"half"
            end.close()

    run(story())


def test_after_a_cut_a_caller_that_reads_nothing_is_left():
    async def story() -> None:
        for reset_too in (True, False):
            async with opened(send_bytes=4096, stall_timeout="10s") as door:
                end = await connect(door.port, receive_bytes=4096)
                await end.send(GET)
                turn = await door.next()
                while not turn.caller.is_full:
                    turn.caller.write(bytes(10_000))
                turn.caller.cut(reset_too=reset_too)
                for second in (1, 12, 23):
                    passed(turn.caller, second)
                    await asyncio.sleep(0.002)
                assert door.connections == set()

    run(story())


def test_an_answer_before_the_upload_is_over_arrives_although_the_caller_goes_on_sending():
    async def story() -> None:
        async with opened(linger_timeout="2s") as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 1000000"))
            turn = await door.next()
            turn.answer()
            for _ in range(50):
                await end.send(bytes(10_000))
            assert await end.rest() == OK
            end.close()
            await until(lambda: not door.connections)

    run(story())


def test_a_caller_that_goes_on_sending_for_too_long_is_left():
    async def story() -> None:
        async with opened(linger_timeout="2s") as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 1000000"))
            turn = await door.next()
            turn.answer()
            assert await end.rest() == OK
            passed(turn.caller, 1.9)
            assert door.connections
            passed(turn.caller, 2.1)
            await asyncio.sleep(0.005)
            assert door.connections == set()

    run(story())


# -- leaving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [End.close, End.reset, End.half_close])
@pytest.mark.parametrize("raw", [GET, request(b"Content-Length: 9", body=b"abc")])
def test_a_caller_that_leaves_is_told_of_once(leave, raw):
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(raw)
            turn = await door.next()
            leave(end)
            await turn.has_left.wait()
            await until(lambda: not door.connections)

    run(story())


def test_a_caller_that_leaves_between_requests_or_in_a_head_leaves_nobody():
    async def story() -> None:
        async with opened() as door:
            for raw in (b"", GET[:20]):
                end = await connect(door.port)
                await end.send(raw)
                await door.only()
                end.close()
                await until(lambda: not door.connections)
            assert door.refusals == []

    run(story())


@pytest.mark.parametrize(
    "slices",
    [
        [],
        [GET[:20]],
        [GET],
        [GET + GET],
        [sized(b"hello", *UPGRADE)],
        [request(b"Content-Length: 9", body=b"abc")],
        [request(CHUNKED, body=chunked(b"hello"))],
        [request(CHUNKED), chunk(b"hello")],
        [request(CHUNKED), chunk(b"hello"), b"zz\r\n"],
        [request(CHUNKED), chunked(b"hello"), GET],
        [b"no request\r\n\r\n"],
    ],
)
def test_a_lost_connection_leaves_nothing_to_the_collector(slices):
    """They come and go by the thousand; a collector that is needed for them stops everybody."""
    kinds = (Caller, Chunks, RequestBody, httptools.HttpRequestParser)

    def alive() -> list[type]:
        return [type(one) for one in gc.get_objects() if type(one) in kinds]

    async def story() -> None:
        before = alive()
        door, wire = Served(Config(), "at once"), Wire()
        caller = Caller(door)
        caller.connection_made(wire)
        for data in slices:
            caller.data_received(data)
            await door.go_on()
        caller.connection_lost(None)
        door.turn = None
        door.refusals.clear()
        del caller
        assert alive() == before
        door.clock.close()

    gc.collect()
    gc.disable()
    try:
        run(story())
    finally:
        gc.enable()


# -- deadlines -------------------------------------------------------------------------------------


def test_a_connection_that_says_nothing_is_closed():
    async def story() -> None:
        async with opened(header_timeout="10s", keepalive_timeout="75s") as door:
            end = await connect(door.port)
            caller = await door.only()
            passed(caller, 9.9)
            assert await end.soon() == b""
            assert door.connections == {caller}
            passed(caller, 10.1)
            assert await end.rest() == b""
            assert door.refusals == []

    run(story())


def test_one_that_was_served_may_rest_longer():
    async def story() -> None:
        async with opened(header_timeout="10s", keepalive_timeout="75s") as door:
            end = await connect(door.port)
            await end.send(GET)
            turn = await door.next()
            passed(turn.caller, 0)
            turn.answer()
            assert await end.exactly(len(OK)) == OK
            passed(turn.caller, 1, 75)
            assert await end.soon() == b""
            assert door.connections == {turn.caller}
            passed(turn.caller, 76.5)
            assert await end.rest() == b""

    run(story())


def test_a_head_that_does_not_come_to_its_end_is_refused():
    async def story() -> None:
        async with opened(header_timeout="10s") as door:
            end = await connect(door.port)
            caller = await door.only()
            await end.send(GET[:10])
            await asyncio.sleep(0.005)
            passed(caller, 9.9)
            await end.send(GET[10:20])  # to trickle does not buy time
            await asyncio.sleep(0.005)
            passed(caller, 10.1)
            assert await refusal(end) == (408, "request_timeout")

    run(story())


def test_empty_lines_do_not_buy_time():
    async def story() -> None:
        async with opened(header_timeout="10s") as door:
            end = await connect(door.port)
            caller = await door.only()
            for second in (4, 8, 12):
                await end.send(b"\r\n")
                await asyncio.sleep(0.005)
                if not caller.transport.is_closing():
                    passed(caller, second)
            assert await end.ending() == "fin"

    run(story())


def test_a_body_must_come_at_a_rate_on_average():
    async def story() -> None:
        async with opened(body_rate_min=500, body_rate_grace="10s") as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 100000", body=b"x" * 6000))
            turn = await door.next()
            turn.taken()
            passed(turn.caller, 9.9, 11.9)
            assert not turn.has_left.is_set()
            await end.send(b"x" * 1000)
            await asyncio.sleep(0.005)
            passed(turn.caller, 13.9)
            assert not turn.has_left.is_set()
            passed(turn.caller, 14.2)
            assert turn.has_left.is_set()
            assert await refusal(end) == (408, "request_timeout")

    run(story())


def test_a_body_is_not_blamed_for_our_own_pauses():
    async def story() -> None:
        async with opened(body_rate_min=500, body_rate_grace="10s") as door:
            end = await connect(door.port)
            await end.send(request(b"Content-Length: 100000", body=b"x"))
            turn = await door.next()
            turn.taken()
            turn.body.pause()
            passed(turn.caller, 9, 20, 300)
            turn.body.resume()
            passed(turn.caller, 309)
            assert not turn.has_left.is_set()
            passed(turn.caller, 311)
            assert turn.has_left.is_set()
            assert await refusal(end) == (408, "request_timeout")

    run(story())


def test_a_body_that_has_not_been_asked_for_yet_is_not_late():
    async def story() -> None:
        async with opened(body_rate_min=500, body_rate_grace="10s") as door:
            end = await connect(door.port)
            await end.send(request(EXPECT, b"Content-Length: 5"))
            turn = await door.next()
            passed(turn.caller, 5, 15, 25)
            assert not turn.has_left.is_set()
            reading = asyncio.ensure_future(turn.body.read(100))
            assert await end.exactly(len(GO_ON)) == GO_ON
            await end.send(b"hello")
            assert await reading == b"hello"

    run(story())


def test_a_line_may_take_its_time():
    async def story() -> None:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(sized(b"hello"))
            turn = await door.next()
            passed(turn.caller, 100, 1000)
            turn.answer()
            assert await end.exactly(len(OK)) == OK

    run(story())


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_behind_another", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_a_plugins_page_gets_the_whole_connection(apart, is_behind_another):
    raw = request(b"Content-Length: 5", start=b"POST /page?a=b HTTP/1.1", body=b"hello")

    async def story() -> None:
        async with opened() as door:
            door.has_pages = True
            end = await connect(door.port)
            if is_behind_another:
                await end.send(GET)
                (await door.next()).answer()
                assert await end.exactly(len(OK)) == OK
            await end.send(raw[:30] if apart else raw)
            await asyncio.sleep(0.005)
            if apart:
                await end.send(raw[30:])
            async with asyncio.timeout(0.5):
                assert await end.exactly(6) == b"a page"
            assert door.page.received == raw
            assert door.is_quiet
            assert door.connections == set()
            end.close()

    run(story())


def test_without_pages_every_path_is_the_lines():
    async def story() -> bytes:
        async with opened() as door:
            end = await connect(door.port)
            await end.send(request(start=b"GET /page HTTP/1.1"))
            return (await door.next()).exchange.target

    assert run(story()) == b"/page"


# -- whatever comes --------------------------------------------------------------------------------


class Served(Door):
    """Answers each request as soon as it is whole, and keeps what it was."""

    def __init__(self, config: Config, pace: str) -> None:
        super().__init__(config)
        self.pace = pace
        self.got: list[tuple[bytes, bytes]] = []
        self.turn: Turn | None = None

    def begun(self, turn: Turn) -> None:
        assert self.turn is None
        self.turn = turn
        if self.pace == "at once":
            self.answer()

    def answer(self) -> None:
        if self.turn is not None and self.turn.body.complete:
            turn, self.turn = self.turn, None
            body = turn.body.whole_now()
            assert body is not None
            self.got.append((turn.exchange.target, body))
            turn.answer()

    async def go_on(self) -> None:
        """Answer what is whole; what a caller sent ahead brings the next, a turn of the loop
        later.
        """
        before = -1
        while before < len(self.got):
            before = len(self.got)
            self.answer()
            await asyncio.sleep(0)


def fed(slices: list[bytes], pace: str) -> tuple[Served, Wire]:
    """Feed slices to a connection until it ends. pace: when each request is answered."""

    async def story() -> tuple[Served, Wire]:
        door, wire = Served(Config(), pace), Wire()
        caller = Caller(door)
        caller.connection_made(wire)
        for data in slices:
            if data and not wire.ending:
                caller.data_received(data)
                if pace != "late":
                    await door.go_on()
        await door.go_on()
        caller.connection_lost(None)
        door.clock.close()
        return door, wire

    return run(story())


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(min(at, len(data)) for at in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


BODIES = st.binary(max_size=30)
# A request as it is written, and what is to come of it.
REQUESTS = st.one_of(
    st.just((GET, b"")),
    BODIES.map(lambda body: (sized(body), body)),
    BODIES.map(lambda body: (sized(body, EXPECT), body)),
    BODIES.map(lambda body: (b"\r\n" + sized(body), body)),
    st.lists(BODIES.filter(len), max_size=3).map(
        lambda pieces: (request(CHUNKED, body=chunked(*pieces)), b"".join(pieces))
    ),
)
CUTS = st.lists(st.integers(0, 800), max_size=12)
# From within its start; before more comes; when all has come.
PACES = st.sampled_from(["at once", "soon", "late"])


@hypothesis.given(st.lists(REQUESTS, min_size=1, max_size=5), CUTS, PACES)
def test_requests_come_out_as_they_went_in_however_they_are_cut(requests, cuts, pace):
    door, wire = fed(cut(b"".join(raw for raw, _ in requests), cuts), pace)
    bodies = [body for _, body in door.got]

    # A request in the same read behind a chunked one is not served; the connection ends instead.
    assert bodies == [body for _, body in requests][: len(bodies)]
    assert len(bodies) == len(requests) or wire.ending
    assert wire.written.count(OK) == len(bodies)
    assert door.refusals == []


@hypothesis.given(
    st.lists(REQUESTS, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=3)), min_size=1, max_size=4),
    CUTS,
    PACES,
)
def test_whatever_bytes_come_are_served_or_refused(requests, changes, cuts, pace):
    raw = bytearray(b"".join(raw for raw, _ in requests))
    for at, data in changes:
        raw[at : at + len(data)] = data
    door, wire = fed(cut(bytes(raw), cuts), pace)

    assert len(door.refusals) <= 1
    if door.refusals:
        assert wire.ending == "half-closed"
        assert wire.written.endswith(b"}}")
    said = re.findall(rb"HTTP/1\.1 [0-9]{3} ", wire.written)
    assert len(said) == len(door.got) + len(door.refusals) + wire.written.count(GO_ON)
