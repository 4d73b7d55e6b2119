"""A kept connection that the upstream closes just as it is used again: once, and to the right one."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    running_gateway,
    sized,
)
from tests.sizes import Sizes

# The upstream closes an idle connection after this long, give or take; the callers wait as long.
IDLE_S = 0.02
JITTER_S = 0.002
CALLERS = 8


def jittered() -> float:
    return IDLE_S + random.uniform(-JITTER_S, JITTER_S)


class Executing:
    """An upstream that counts what it did for each nonce, and says it back."""

    def __init__(self) -> None:
        self.done: Counter[bytes] = Counter()
        self.lock = threading.Lock()

    def __call__(self, visit: Visit) -> None:
        nonce = visit.read()
        with self.lock:
            self.done[nonce] += 1
        visit.send(sized(nonce))


@pytest.fixture
def executing() -> Executing:
    return Executing()


@pytest.fixture
def upstream(executing) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(executing, idle=jittered) as upstream:
        yield upstream


@pytest.fixture
def gateway(upstream) -> Iterator[RunningGateway]:
    with running_gateway({"providers": {"openai": upstream.provider()}}) as gateway:
        yield gateway


class Posting(threading.Thread):
    """One caller that posts again about when its upstream connection is being closed."""

    def __init__(self, port: int, name: int, count: int) -> None:
        super().__init__(daemon=True)
        self.caller = RawCaller(port)
        self.nonces = [b"%d-%d" % (name, number) for number in range(count)]
        self.answers: dict[bytes, tuple[int, bytes]] = {}

    def run(self) -> None:
        with self.caller as caller:
            for nonce in self.nonces:
                caller.request(b"POST", b"/openai/v1/responses", body=nonce)
                answer = caller.answer()
                self.answers[nonce] = (answer.status, answer.body)
                time.sleep(jittered())


def test_nothing_is_lost_nothing_done_twice_and_no_answer_goes_astray(
    upstream, executing, gateway, sizes: Sizes
):
    callers = [Posting(gateway.port, n, sizes.stale_posts // CALLERS) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    answers = {nonce: got for caller in callers for nonce, got in caller.answers.items()}

    foreign = {nonce: got for nonce, got in answers.items() if got[0] == 200 and got[1] != nonce}
    failed = {nonce: got for nonce, got in answers.items() if got[0] != 200}
    # A request that the upstream's kernel had taken when it hung up may have been seen: a 502.
    taken = sum(connection.unread > 0 for connection in upstream.connections)
    assert len(answers) == sizes.stale_posts // CALLERS * CALLERS
    assert foreign == {}
    assert [nonce for nonce, times in executing.done.items() if times > 1] == []
    assert {status for status, _ in failed.values()} <= {502}
    assert len(failed) <= taken
    assert not failed.keys() & executing.done.keys()
    # The race was run: connections were closed as they idled, and others were used again.
    assert CALLERS < len(upstream.connections) < len(answers)
