"""Mutated requests and answers: no crash, no hang, nothing smuggled, nothing made up, nothing of
ours shown, and memory as it was.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import h11
import pytest

from gateway.testing import (
    BrokenOff,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunked,
    head,
    running_gateway,
    sized,
)
from tests.sizes import Sizes

HOST = b"Host: localhost\r\n"
REQUESTS = (
    b"GET /openai/v1/a?b=c HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /openai/v1/a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /openai/v1/a HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + chunked(b"hello", b"world"),
    b"POST /openai/v1/a HTTP/1.1\r\n"
    + HOST
    + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /openai/v1/a HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST /openai/v1/a HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
)
ANSWERS = (
    sized(b"hello"),
    head(200, (b"Transfer-Encoding", b"chunked")) + chunked(b"hello", b"world"),
    head(200, (b"Connection", b"close")) + b"hello",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + sized(b"hello"),
    head(204),
    b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
)
TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"\x7f",
    b"\xff",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: content-length\r\n",
    b"HTTP/1.1",
    b"HTTP/0.9",
    b"GET /openai/v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
)
SHORT = {"header_timeout": "500ms", "keepalive_timeout": "500ms", "body_rate_grace": "500ms"}
TIMES = {"first_byte_timeout": "500ms", "idle_timeout": "500ms"}
# With deadlines of half a second a connection that is open after this one hangs.
HANG_S = 6.0
# Many mutants leave the gateway waiting until a deadline, so many have to wait at once.
CALLERS = 128
# Then all are waited for, and the upstream's record is forgotten: it would fill our own memory.
BLOCK = 10_000
# What the gateway may have grown by since the first tenth was answered.
GROWTH_BYTES_MAX = 10_000_000
# How a traceback begins, and how each of its lines does.
TRACES = (b"Traceback", b'File "')

T = TypeVar("T")


def mutated(dice: random.Random, message: bytes) -> bytes:
    """Cut something out, put something in, or double something; once or a few times."""
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(message) + 1)
        to = min(len(message), at + dice.choice((0, 1, 1, 2, 5, 20)))
        match dice.randrange(4):
            case 0:
                message = message[:at] + message[to:]
            case 1:
                message = message[:at] + dice.choice(TOKENS) + message[at:]
            case 2:
                message = message[:at] + dice.choice(TOKENS) + message[to:]
            case 3:
                message = message[:to] + message[at:]
    return message


class Counting:
    """An upstream that counts what it was asked, as a whole and correctly."""

    def __init__(self) -> None:
        self.whole = 0
        self.lock = threading.Lock()

    def __call__(self, visit: Visit) -> None:
        visit.read()
        with self.lock:
            self.whole += 1
        visit.send(sized(b"ok"))


def played_through(
    gateway: RunningGateway, upstream: ScriptedUpstream, play: Callable[[int], T], count: int
) -> list[T]:
    """Play that many mutants, and see what became of the gateway."""
    played: list[T] = []
    memory_bytes: list[int] = []
    warm = count // 10
    edges = [0, warm, *range(warm + BLOCK, count, BLOCK), count]
    with ThreadPoolExecutor(CALLERS) as pool:
        for first, end in pairwise(edges):
            played += pool.map(play, range(first, end))
            memory_bytes.append(gateway.memory_bytes())
            upstream.requests.clear()
    print("resident:", ", ".join(f"{size / 1e6:.1f} MB" for size in memory_bytes))
    assert gateway.process.poll() is None
    assert gateway.crashes == []
    assert [line for line in gateway.stderr.splitlines() if not line.startswith("{")] == []
    assert [line for line in gateway.log if line["level"] not in ("debug", "info", "warning")] == []
    assert memory_bytes[-1] <= memory_bytes[0] + GROWTH_BYTES_MAX
    return played


def assert_bare(raw: bytes, sent: object) -> None:
    """See that nothing of our own code is in an answer."""
    assert not any(trace in raw for trace in TRACES), (sent, raw)


def answers_to(gateway: RunningGateway, dice: random.Random, raw: bytes) -> list[int]:
    """Send it in pieces and give the statuses of all that is answered, until the end."""
    statuses: list[int] = []
    end = ("", b"")
    with RawCaller(gateway.port, timeout_s=HANG_S) as caller:
        cut = dice.randrange(len(raw) + 1)
        try:
            for piece in filter(None, (raw[:cut], raw[cut:])):
                caller.send(piece)
        except ConnectionError:
            pass  # answered and closed before we were done
        while True:
            try:
                answer = caller.answer()
            except BrokenOff as broken:
                end = (broken.ending, broken.raw)
                break
            assert answer.is_complete, raw
            assert_bare(bytes(answer.raw), raw)
            statuses.append(answer.status)
    assert end in (("fin", b""), ("reset", b"")), raw
    return statuses


def test_mutated_requests_are_refused_or_mean_the_same_to_both_sides(sizes: Sizes):
    counting = Counting()

    def play(number: int) -> list[int]:
        dice = random.Random(number)
        one, two = dice.choice(REQUESTS), dice.choice(REQUESTS)
        return answers_to(gateway, dice, mutated(dice, one) + two)

    with (
        ScriptedUpstream(counting) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}, "limits": SHORT}) as gateway,
    ):
        played = played_through(gateway, upstream, play, sizes.mutated_requests)

    statuses = [status for one in played for status in one]
    assert statuses.count(200) == counting.whole
    assert set(statuses) <= {200, 400, 403, 404, 405, 408, 413, 414, 417, 431, 501, 505}
    mutants = sizes.mutated_requests
    assert mutants / 4 < counting.whole < mutants * 2  # some pass, some do not


@pytest.fixture
def odd() -> Iterator[ScriptedUpstream]:
    """Give an upstream that answers with the mutated answer of the number in the target."""

    def script(visit: Visit) -> None:
        visit.read()
        number = int(visit.request.target.rpartition(b"/")[2])
        dice = random.Random(number)
        visit.send(mutated(dice, dice.choice(ANSWERS)))
        visit.pause(0.01)
        visit.close_notify()

    with ScriptedUpstream(script) as upstream:
        yield upstream


def oracle(raw: bytes) -> bytes | None:
    """Give the body that another parser reads from these bytes and a FIN, None if it cannot.

    It need not judge what means nothing: interim answers, and empty lines before an answer.
    """
    while (raw := raw.lstrip(b"\r\n")).startswith(b"HTTP/1.1 103"):
        raw = raw.partition(b"\r\n\r\n")[2]
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    client.send(h11.EndOfMessage())
    body = b""
    try:
        client.receive_data(raw)
        client.receive_data(b"")
        while True:
            event = client.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None


def test_mutated_answers_are_refused_or_mean_the_same_to_both_sides(odd, sizes: Sizes):
    def play(number: int) -> tuple[int, bool, bytes]:
        with RawCaller(gateway.port, timeout_s=HANG_S) as caller:
            caller.request(b"GET", b"/openai/v1/%d" % number)
            answer = caller.answer()
        assert answer.ending != "silence", number
        assert_bare(bytes(answer.raw), number)
        return answer.status, answer.is_complete, answer.body

    with running_gateway({"providers": {"openai": odd.provider(**TIMES)}}) as gateway:
        played = played_through(gateway, odd, play, sizes.mutated_answers)

    made_up = []
    for number, (status, is_complete, body) in enumerate(played):
        dice = random.Random(number)
        raw = mutated(dice, dice.choice(ANSWERS))
        if is_complete and status not in (502, 504) and oracle(raw) != body:
            made_up.append((raw, status, body, oracle(raw)))
    assert made_up == []
    assert 0 < sum(status == 200 for status, _, _ in played) < sizes.mutated_answers
