"""Bounds on connections, and that a caller is told which side is full."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack

from gateway.testing import RawCaller, ScriptedUpstream, Visit, answers, running_gateway


def test_one_connection_too_many_is_told_and_closed():
    with (
        ScriptedUpstream(answers()) as upstream,
        running_gateway(
            {"providers": {"openai": upstream.provider()}, "limits": {"connections_max": 3}}
        ) as gateway,
        ExitStack() as stack,
    ):
        callers = [stack.enter_context(RawCaller(gateway.port)) for _ in range(3)]
        for caller in callers:
            caller.request(b"GET", b"/openai/v1/x")
            assert caller.answer().status == 200
        with RawCaller(gateway.port) as surplus:
            surplus.request(b"GET", b"/openai/v1/x")
            answer = surplus.answer()
            assert answer.status == 503
            assert json.loads(answer.body)["error"]["message"]
            assert surplus.ending() == "fin"
        callers[0].leave()
        time.sleep(0.1)

        with RawCaller(gateway.port) as next_one:
            next_one.request(b"GET", b"/openai/v1/x")
            assert next_one.answer().status == 200


def test_an_upstream_at_its_limit_is_told_at_once_and_recovers():
    go = threading.Event()

    def waits(visit: Visit) -> None:
        visit.wait(go)
        answers(b"well")(visit)

    with (
        ScriptedUpstream(waits) as upstream,
        running_gateway({"providers": {"openai": upstream.provider(connections_max=2)}}) as gateway,
        ExitStack() as stack,
    ):
        callers = [stack.enter_context(RawCaller(gateway.port)) for _ in range(3)]
        for caller in callers[:2]:
            caller.request(b"GET", b"/openai/v1/x")
        upstream.wait_for_requests(2)
        callers[2].request(b"GET", b"/openai/v1/x")
        answer = callers[2].answer()
        assert (answer.status, answer.get(b"retry-after")) == (503, b"1")
        go.set()
        assert [caller.answer().body for caller in callers[:2]] == [b"well", b"well"]
        callers[2].request(b"GET", b"/openai/v1/x")

        assert callers[2].answer().body == b"well"
        assert len(upstream.connections) == 2


def test_a_gateway_that_has_just_started_is_small():
    with running_gateway() as gateway:
        assert gateway.memory_bytes() < 60_000_000
