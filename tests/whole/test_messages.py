"""Requests and answers of every kind on kept connections: order, reuse, Expect, and no body."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    chunked,
    head,
    running_gateway,
    says,
    sized,
)
from tests.sizes import Sizes

CHUNKED = (b"Transfer-Encoding", b"chunked")
PIPELINE_BYTES_MAX = 4096
LIMITS = {"keepalive_timeout": "1s", "pipeline_bytes_max": PIPELINE_BYTES_MAX}

REFUSING = '''
"""Refuses every caller."""

import msgspec

from gateway import Reply, hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Plugin:
    def __init__(self, config):
        pass

    @hookimpl
    async def authenticate(self, exchange):
        return Reply(401, b"no")
'''


def says_target(visit: Visit) -> None:
    visit.read()
    visit.send(sized(visit.request.target))


@pytest.fixture(scope="module")
def gateway(upstream) -> Iterator[RunningGateway]:
    with running_gateway(
        {"providers": {"openai": upstream.provider()}, "limits": LIMITS}
    ) as gateway:
        yield gateway
        assert gateway.crashes == []


@pytest.fixture
def caller(upstream, gateway) -> Iterator[RawCaller]:
    upstream.forget()
    with RawCaller(gateway.port) as caller:
        yield caller


# -- kept connections ------------------------------------------------------------------------------


def test_connections_are_kept_on_both_sides(upstream, caller):
    upstream.script = says_target
    for number in range(20):
        caller.request(b"GET", b"/openai/v1/%d" % number)
        assert caller.answer().body == b"/v1/%d" % number

    assert len({request.connection for request in upstream.requests}) == 1


def test_an_upstream_that_says_close_is_not_used_again(upstream, caller):
    upstream.script = says(sized(b"x", (b"Connection", b"close")))
    for _ in range(3):
        caller.request(b"GET", b"/openai/v1/x")
        assert caller.answer().body == b"x"

    assert len({request.connection for request in upstream.requests}) == 3


def test_a_caller_that_says_close_is_closed(upstream, caller):
    upstream.script = says_target
    caller.request(b"GET", b"/openai/v1/x", (b"Connection", b"close"))
    answer = caller.answer()

    assert answer.get(b"connection") == b"close"
    assert caller.ending() == "fin"


def test_an_idle_caller_is_closed_after_its_time(upstream, caller):
    upstream.script = says_target
    caller.request(b"GET", b"/openai/v1/x")
    caller.answer()
    began = time.monotonic()

    assert caller.ending() == "fin"
    assert 0.9 < time.monotonic() - began < 2.5


def test_an_old_caller_is_closed_unless_it_asks_to_be_kept(upstream, gateway):
    upstream.script = says_target
    for fields, kept in ((b"", False), (b"Connection: keep-alive\r\n", True)):
        with RawCaller(gateway.port) as caller:
            caller.send(b"GET /openai/v1/x HTTP/1.0\r\n%b\r\n" % fields)
            answer = caller.answer()
            assert (answer.body, answer.is_complete) == (b"/v1/x", True)
            assert (answer.get(b"connection") == b"keep-alive") is kept
            if kept:
                caller.send(b"GET /openai/v1/y HTTP/1.0\r\n\r\n")
                assert caller.answer().body == b"/v1/y"
            assert caller.ending() == "fin"


def test_an_old_caller_gets_no_chunks(upstream, gateway):
    upstream.script = says(head(200, CHUNKED) + chunked(b"one", b"two"))
    with RawCaller(gateway.port) as caller:
        caller.send(b"GET /openai/v1/x HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = caller.answer()

    assert answer.get(b"transfer-encoding") is None
    assert (answer.body, answer.is_complete) == (b"onetwo", True)


# -- pipelining ------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(upstream, caller, sizes: Sizes):
    def slow_at_first(visit: Visit) -> None:
        if visit.request.target.endswith(b"/0"):
            visit.pause(0.2)
        says_target(visit)

    upstream.script = slow_at_first
    sender = threading.Thread(
        target=caller.send,
        args=(
            b"".join(
                b"POST /openai/v1/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
                % n
                for n in range(sizes.pipelined)
            ),
        ),
    )
    sender.start()
    bodies = [caller.answer().body for _ in range(sizes.pipelined)]
    sender.join()

    assert bodies == [b"/v1/%d" % n for n in range(sizes.pipelined)]
    assert [request.target for request in upstream.requests] == bodies
    assert {request.body for request in upstream.requests} == {b"abc"}


def test_what_a_caller_sends_ahead_is_bounded_and_dies_with_it(upstream, gateway, caller):
    upstream.script = lambda visit: visit.wait_gone()
    one = b"GET /openai/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    memory = gateway.memory_bytes()
    caller.send(one)
    upstream.wait_for_requests(1)
    caller.sock.settimeout(0.3)
    sent = 0
    try:
        while sent < 100_000_000:
            sent += caller.sock.send(one * 1000)
    except TimeoutError:
        pass

    assert sent < 100_000_000  # the gateway does not read without end
    assert gateway.memory_bytes() - memory < 4_000_000
    caller.reset()
    upstream.requests[0].connection.wait_gone(2)
    time.sleep(0.1)
    assert len(upstream.requests) == 1


# -- answers without a body ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "raw", "status", "length"),
    [
        (b"HEAD", head(200, (b"Content-Length", b"7")), 200, b"7"),
        (b"HEAD", head(200, CHUNKED), 200, None),
        (b"GET", head(204), 204, None),
        (b"GET", head(304, (b"ETag", b'"x"')), 304, None),
        (b"GET", head(304, (b"Content-Length", b"7")), 304, b"7"),
        (b"GET", head(200, (b"Content-Length", b"0")), 200, b"0"),
        (b"POST", head(200, CHUNKED) + chunked(), 200, None),
    ],
)
def test_answers_without_a_body_end_with_their_head(upstream, caller, method, raw, status, length):
    upstream.script = says(raw)
    for _ in range(2):
        caller.request(method, b"/openai/v1/x", body=b"" if method == b"POST" else None)
        answer = caller.answer(to=method)
        assert (answer.status, answer.body, answer.is_complete) == (status, b"", True)
        assert answer.get(b"content-length") == length
    upstream.script = says_target
    caller.request(b"GET", b"/openai/v1/y")

    assert caller.answer().body == b"/v1/y"


# -- Expect ----------------------------------------------------------------------------------------

EXPECT = (b"Expect", b"100-continue")


def test_expect_is_answered_and_does_not_go_up(upstream, caller):
    upstream.script = lambda visit: visit.send(sized(visit.read()))
    caller.request(b"POST", b"/openai/v1/x", EXPECT, (b"Content-Length", b"5"))
    assert caller.wire.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    caller.send(b"hello")
    answer = caller.answer()

    assert (answer.status, answer.body, answer.interim) == (200, b"hello", [])
    assert upstream.requests[0].get(b"expect") is None


def test_a_body_that_comes_without_waiting_is_served_too(upstream, caller):
    upstream.script = lambda visit: visit.send(sized(visit.read()))
    for _ in range(3):
        caller.request(b"POST", b"/openai/v1/x", EXPECT, body=b"hello")
        answer = caller.answer()
        assert (answer.status, answer.body) == (200, b"hello")


def test_no_100_before_the_caller_is_let_in(upstream, tmp_path):
    (tmp_path / "refusing.py").write_text(REFUSING)
    with (
        running_gateway(
            {"providers": {"openai": upstream.provider()}}, plugins=[tmp_path / "refusing.py"]
        ) as gateway,
        RawCaller(gateway.port) as caller,
    ):
        caller.request(b"POST", b"/openai/v1/x", EXPECT, (b"Content-Length", b"5"))
        answer = caller.answer()

        assert (answer.status, answer.interim) == (401, [])
        assert caller.ending() == "fin"  # the body that will not come cannot be waited for


def test_no_100_for_an_old_caller(upstream, gateway):
    upstream.script = says_target
    with RawCaller(gateway.port) as caller:
        caller.send(
            b"POST /openai/v1/x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        )
        time.sleep(0.1)
        caller.send(b"x")

        assert caller.answer().interim == []


# -- early answers and large uploads ---------------------------------------------------------------


def test_an_answer_that_comes_before_the_upload_is_over_arrives(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.send(sized(b"too large", (b"Connection", b"close"), status=413))
        for _ in visit.request.pieces():
            pass

    upstream.script = script
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", b"/openai/v1/files", (b"Content-Length", b"10000000"))
        caller.send(b"x" * 10_000)
        answer = caller.answer()

    assert (answer.status, answer.body, answer.is_complete) == (413, b"too large", True)


def test_an_early_answer_survives_a_caller_that_goes_on_sending(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.send(sized(b"too large", (b"Connection", b"close"), status=413))
        visit.fin()

    upstream.script = script
    for _ in range(10):
        with RawCaller(gateway.port) as caller:
            caller.request(b"POST", b"/openai/v1/files", (b"Content-Length", b"3000000"))
            try:
                for _ in range(30):
                    caller.send(b"x" * 100_000)
            except ConnectionError:
                pass
            answer = caller.answer()
        assert (answer.status, answer.body, answer.is_complete) == (413, b"too large", True)


def test_both_directions_run_at_once(upstream, caller):
    def echo(visit: Visit) -> None:
        visit.send(head(200, CHUNKED))
        for piece in visit.request.pieces():
            visit.send(chunk(piece))
        visit.send(chunk(b""))

    upstream.script = echo
    caller.request(b"POST", b"/openai/v1/x", (b"Content-Length", b"30"))
    caller.send(b"0123456789")
    assert caller.answer_head().status == 200
    pieces = (piece for _, piece in caller.wire.chunks() if piece)
    assert next(pieces) == b"0123456789"
    for _ in range(2):
        caller.send(b"0123456789")
        assert next(pieces) == b"0123456789"


def test_a_large_upload_costs_no_memory(sizes: Sizes):
    seen = 0

    def counts(visit: Visit) -> None:
        nonlocal seen
        seen = sum(map(len, visit.request.pieces()))
        visit.send(sized(b"thanks"))

    piece = b"x" * 1_000_000
    with (
        ScriptedUpstream(counts, keeps_bodies=False) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}) as gateway,
        RawCaller(gateway.port) as caller,
    ):
        caller.request(b"GET", b"/openai/v1/x")
        caller.answer()
        memory = gateway.memory_bytes()
        caller.request(b"POST", b"/openai/v1/x", (b"Content-Length", b"%d" % sizes.upload_bytes))
        for _ in range(sizes.upload_bytes // len(piece)):
            caller.send(piece)
        answer = caller.answer()
        grown = gateway.memory_peak_bytes() - memory

    assert (answer.body, seen) == (b"thanks", sizes.upload_bytes)
    assert grown < 8_000_000


def test_a_slow_upstream_slows_its_caller_and_costs_no_memory():
    go = threading.Event()

    def waits(visit: Visit) -> None:
        visit.wait(go)
        visit.read()
        visit.send(sized(b"thanks"))

    with (
        ScriptedUpstream(waits, keeps_bodies=False) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}) as gateway,
        RawCaller(gateway.port) as caller,
    ):
        memory = gateway.memory_bytes()
        size = 50_000_000
        caller.request(b"POST", b"/openai/v1/x", (b"Content-Length", b"%d" % size))
        caller.sock.settimeout(0.3)
        sent = 0
        try:
            while sent < size:
                sent += caller.sock.send(b"x" * min(1_000_000, size - sent))
        except TimeoutError:
            pass
        assert sent < size
        assert gateway.memory_peak_bytes() - memory < 8_000_000
        go.set()
        caller.sock.settimeout(10)
        caller.send(b"x" * (size - sent))

        assert caller.answer().body == b"thanks"
