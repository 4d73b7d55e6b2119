"""No answer ever reaches another caller, however many leave at any moment."""

from __future__ import annotations

import random
import threading
import time

from gateway.testing import (
    RawCaller,
    ScriptedUpstream,
    Visit,
    chunk,
    head,
    running_gateway,
    sized,
)
from tests.sizes import Sizes

CALLERS = 16


def answers_in_its_own_way(visit: Visit) -> None:
    """Say the nonce back: whole, in pieces, late, or with the connection's end, as it decides."""
    nonce = visit.read()
    dice = random.Random(nonce)
    visit.pause(dice.choice((0, 0, 0.001, 0.005)))
    match dice.randrange(3):
        case 0:
            visit.send(sized(nonce))
        case 1:
            visit.send(head(200, (b"Transfer-Encoding", b"chunked")))
            for byte in nonce:
                visit.send(chunk(bytes((byte,))))
            visit.send(chunk(b""))
        case 2:
            visit.send(sized(nonce, (b"Connection", b"close")))
            visit.fin()


class Asking(threading.Thread):
    """A caller that keeps its connection, and now and then leaves in the middle of something."""

    def __init__(self, port: int, name: int, count: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.dice = random.Random(name)
        self.nonces = [b"nonce-%d-%d" % (name, number) for number in range(count)]
        self.wrong: list[tuple[bytes, int, bytes]] = []
        self.right = 0

    def run(self) -> None:
        caller = RawCaller(self.port)
        for nonce in self.nonces:
            caller.request(b"POST", b"/openai/v1/responses", body=nonce)
            if self.dice.random() < 0.3:
                time.sleep(self.dice.uniform(0, 0.004))
                self.dice.choice((caller.leave, caller.reset))()
                caller = RawCaller(self.port)
                continue
            answer = caller.answer()
            if (answer.status, answer.body) == (200, nonce):
                self.right += 1
            else:
                self.wrong.append((nonce, answer.status, answer.body))
        caller.leave()


def test_each_caller_gets_its_own_answer_while_others_leave(sizes: Sizes):
    with (
        ScriptedUpstream(answers_in_its_own_way) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}) as gateway,
    ):
        callers = [Asking(gateway.port, n, sizes.strange_posts // CALLERS) for n in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert gateway.crashes == []

    assert [wrong for caller in callers for wrong in caller.wrong] == []
    assert sum(caller.right for caller in callers) > sizes.strange_posts // 2
    # Whoever was cut off in the middle left nothing behind that a later request could be given.
    assert len({request.body for request in upstream.requests if request.is_whole}) == sum(
        request.is_whole for request in upstream.requests
    )
