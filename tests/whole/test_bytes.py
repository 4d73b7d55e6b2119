"""The first promise: a body that nobody asked to change is the upstream's bytes, at once."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Tls,
    Visit,
    answers,
    chunk,
    chunked,
    head,
    running_gateway,
)
from tests.sizes import Sizes
from tests.whole.bodies import body_of, send_body

EVENT = b'\xef\xbb\xbfdata: {"a":"\xf0\x9f\x8c\x8a"}\r\ndata: \xe2\x80\xa8\r: c\n\ndata: [DONE]\n\n'


# Stands in the way of every slice, and asks for events too; whoever only looks changes nothing.
PLUGIN = """
import msgspec

from gateway import hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Events:
    def event(self, event):
        assert event.raw


class Plugin:
    def __init__(self, config):
        pass

    @hookimpl
    def tap(self, exchange, side):
        return len if side == "caller" else Events()

    @hookimpl
    def settle(self, exchange):
        pass
"""


def numbered(visit: Visit) -> None:
    """Answer with the body of the number at the end of the target."""
    visit.read()
    send_body(visit, body_of(int(visit.request.target.rpartition(b"/")[2])))


@pytest.fixture(scope="module", params=["plain", "tls", "unix", "watched"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def upstream(way: str, tls: Tls) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(
        numbered, tls=tls if way == "tls" else None, unix=way == "unix"
    ) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(way: str, upstream: ScriptedUpstream, tmp_path_factory) -> Iterator[RunningGateway]:
    plugin = tmp_path_factory.mktemp("plugins") / "watching.py"
    plugin.write_text(PLUGIN)
    with running_gateway(
        {"providers": {"openai": upstream.provider()}},
        plugins=[plugin] if way == "watched" else [],
    ) as gateway:
        yield gateway
        assert "failed" not in gateway.stderr


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_generated_bodies_come_down_unchanged(upstream, gateway, sizes: Sizes):
    upstream.script = numbered
    wrong = []
    with RawCaller(gateway.port) as caller:
        for number in range(sizes.bodies):
            caller.request(b"GET", b"/openai/v1/files/%d" % number)
            answer = caller.answer()
            wanted = body_of(number)
            if not answer.is_complete or digest(answer.body) != digest(wanted.content):
                wrong.append((number, wanted.framing, answer.ending))

    assert wrong == []


def test_generated_bodies_go_up_unchanged(upstream, gateway, sizes: Sizes):
    upstream.script = answers()
    upstream.forget()
    with RawCaller(gateway.port) as caller:
        for number in range(sizes.bodies):
            body = body_of(number)
            start = b"POST /openai/v1/files/%d HTTP/1.1\r\nHost: localhost\r\n" % number
            if body.framing == "chunked":
                caller.send(start + b"Transfer-Encoding: chunked\r\n\r\n")
                for piece in body.pieces:
                    caller.send(chunk(piece))
                caller.send(chunk(b""))
            else:
                caller.send(start + b"Content-Length: %d\r\n\r\n" % len(body.content))
                for piece in body.pieces:
                    caller.send(piece)
            assert caller.answer().status == 200
    wrong = [
        number
        for number, request in enumerate(upstream.requests)
        if not request.is_whole or digest(request.body) != digest(body_of(number).content)
    ]

    assert (len(upstream.requests), wrong) == (sizes.bodies, [])


@pytest.mark.parametrize("framing", ["sized", "chunked", "closed"])
def test_an_answer_split_at_every_point_is_the_same(upstream, gateway, framing):
    events = (b"Content-Type", b"text/event-stream")
    raw = {
        "sized": head(200, events, (b"Content-Length", b"%d" % len(EVENT))) + EVENT,
        "chunked": head(200, events, (b"Transfer-Encoding", b"chunked"))
        + chunked(EVENT[:9], EVENT[9:]),
        "closed": head(200, events, (b"Connection", b"close")) + EVENT,
    }[framing]

    def split(visit: Visit) -> None:
        visit.read()
        point = int(visit.request.target.rpartition(b"/")[2])
        visit.send(raw[:point])
        time.sleep(0.001)  # two packets; without it the kernel may join them
        visit.send(raw[point:])
        if framing == "closed":
            visit.close_notify()

    upstream.script = split
    wrong = []
    with RawCaller(gateway.port) as caller:
        for point in range(1, len(raw)):
            caller.request(b"GET", b"/openai/v1/chat/completions/%d" % point)
            answer = caller.answer()
            if not answer.is_complete or answer.body != EVENT:
                wrong.append((point, answer.ending, answer.body))

    assert wrong == []


def test_a_lone_event_is_forwarded_at_once(upstream, gateway, sizes: Sizes):
    sent_ns: list[int] = []
    next_one = threading.Semaphore(0)

    def one_by_one(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Transfer-Encoding", b"chunked")))
        for number in range(sizes.lone_events):
            assert next_one.acquire(timeout=10)
            sent_ns.append(time.monotonic_ns())
            visit.send(chunk(b"data: %d\n\n" % number))
        visit.send(chunk(b""))

    upstream.script = one_by_one
    delays_ms = []
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/chat/completions")
        assert caller.answer_head().status == 200
        pairs = caller.wire.chunks()
        for number in range(sizes.lone_events):
            time.sleep(0.003)  # nothing is on its way: this event is alone
            next_one.release()
            piece = next(piece for _, piece in pairs if piece)
            delays_ms.append((time.monotonic_ns() - sent_ns[-1]) / 1e6)
            assert piece == b"data: %d\n\n" % number

    delays_ms.sort()
    assert delays_ms[int(len(delays_ms) * 0.99)] < sizes.lone_ms
