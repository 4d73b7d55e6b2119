"""A caller that stops reading costs little and slows nobody but its own upstream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    head,
    running_gateway,
)
from tests.sizes import Sizes

STREAM = head(200, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
PIECE = b"x" * 50_000
PACE_S = 0.02
SLOW_READER_BYTES_MAX = 1_000_000


class Sending:
    """An upstream that counts what it could send of each large body, and paces small ones."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.sent: list[int] = []
        self.lock = threading.Lock()

    def __call__(self, visit: Visit) -> None:
        visit.read()
        if b"large" in visit.request.target:
            self.large(visit)
        else:
            visit.send(STREAM)
            while visit.connection.gone_ns is None:
                visit.send(chunk(b"data: %d\n\n" % time.monotonic_ns()))
                visit.pause(PACE_S)

    def wait_until_stuck(self, count: int) -> None:
        """Wait until all large bodies have begun and none of them moves."""
        last: list[int] = []
        while len(last) < count or last != self.sent:
            last = list(self.sent)
            time.sleep(0.3)

    def large(self, visit: Visit) -> None:
        with self.lock:
            number = len(self.sent)
            self.sent.append(0)
        visit.send(head(200, (b"Content-Length", b"%d" % self.sizes.slow_bytes)))
        while self.sent[number] < self.sizes.slow_bytes:
            visit.send(PIECE)
            self.sent[number] += len(PIECE)


@pytest.fixture
def sending(sizes: Sizes) -> Sending:
    return Sending(sizes)


@pytest.fixture
def gateway(sending: Sending) -> Iterator[RunningGateway]:
    # The upstream's patience is longer than the peak: a blocked send is what the story is about.
    with (
        ScriptedUpstream(sending, patience_s=120) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}) as gateway,
    ):
        yield gateway


class Healthy(threading.Thread):
    """Reads a paced stream for some time and keeps how long each event was on its way."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self.caller = RawCaller(port)
        self.until = time.monotonic() + seconds
        self.delays_ms: list[float] = []

    def run(self) -> None:
        with self.caller as caller:
            caller.request(b"GET", b"/openai/v1/chat/completions")
            caller.answer_head()
            rest = b""
            for _, piece in caller.wire.chunks():
                *events, rest = (rest + piece).split(b"\n\n")
                for event in events:
                    sent_ns = int(event.removeprefix(b"data: "))
                    self.delays_ms.append((time.monotonic_ns() - sent_ns) / 1e6)
                if time.monotonic() > self.until:
                    break


def p99_ms(port: int, sizes: Sizes) -> float:
    """Run the healthy streams and give the 99th percentile of their events' delays."""
    streams = [Healthy(port, sizes.slow_s) for _ in range(sizes.healthy_streams)]
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.join()
    delays_ms = sorted(delay for stream in streams for delay in stream.delays_ms)
    assert len(delays_ms) > sizes.healthy_streams * sizes.slow_s / PACE_S / 2
    return delays_ms[int(len(delays_ms) * 0.99)]


@pytest.mark.timeout(300)
def test_stalled_readers_cost_little_and_slow_nobody_else(gateway, sending, sizes: Sizes):
    baseline_ms = p99_ms(gateway.port, sizes)
    memory = gateway.memory_bytes()
    with ExitStack() as slow:
        for _ in range(sizes.slow_readers):
            caller = slow.enter_context(RawCaller(gateway.port, receive_bytes=4096))
            caller.request(b"GET", b"/openai/v1/large")
        sending.wait_until_stuck(sizes.slow_readers)
        healthy_ms = p99_ms(gateway.port, sizes)
        grown = gateway.memory_peak_bytes() - memory
        stuck = list(sending.sent)
        time.sleep(0.2)
        later = list(sending.sent)

    assert len(stuck) == sizes.slow_readers
    assert stuck == later  # the upstream is held back ...
    assert max(stuck) < sizes.slow_bytes  # ... long before it is done
    assert grown < sizes.slow_readers * SLOW_READER_BYTES_MAX
    assert healthy_ms < baseline_ms + sizes.healthy_gap_ms


def test_a_reader_that_wakes_up_gets_everything(gateway, sizes: Sizes):
    with RawCaller(gateway.port, receive_bytes=4096) as caller:
        caller.request(b"GET", b"/openai/v1/large")
        time.sleep(0.3)
        answer = caller.answer()

    assert (len(answer.body), answer.is_complete) == (sizes.slow_bytes, True)


def test_a_caller_that_never_reads_again_is_cut(sending):
    with (
        ScriptedUpstream(sending) as upstream,
        running_gateway(
            {
                "providers": {"openai": upstream.provider()},
                "limits": {"stall_timeout": "1s"},
            }
        ) as gateway,
        RawCaller(gateway.port, receive_bytes=4096) as caller,
    ):
        caller.request(b"GET", b"/openai/v1/large")
        asked_ns = time.monotonic_ns()
        gone_ns = upstream.wait_for_requests(1)[0].connection.wait_gone()
        answer = caller.answer()

    assert 0.9 < (gone_ns - asked_ns) / 1e9 < 3
    assert not answer.is_complete


def test_the_upstreams_idle_timer_rests_while_we_hold_it_back(sending, sizes: Sizes):
    with (
        ScriptedUpstream(sending) as upstream,
        running_gateway(
            {"providers": {"openai": upstream.provider(idle_timeout="500ms")}}
        ) as gateway,
        RawCaller(gateway.port, receive_bytes=4096) as caller,
    ):
        caller.request(b"GET", b"/openai/v1/large")
        time.sleep(2)
        answer = caller.answer()

    assert (len(answer.body), answer.is_complete) == (sizes.slow_bytes, True)
