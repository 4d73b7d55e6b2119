"""What the core offers plugins, seen from both ends: stop, gate, detach, replies, attempts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    Visit,
    answers,
    chunk,
    head,
    running_gateway,
    sized,
    streams,
)

ONE, TWO, DONE = b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"
STREAM = head(200, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))

# Each request says in a field of ours what is to be done with it; a page tells how each one ended.
PLUGIN = """
import asyncio
import sys
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from gateway import Again, Endpoint, Reply, hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


async def late(reply=None, error=None):
    await asyncio.sleep(0.1)
    if error:
        raise error
    return reply


async def words(exchange, plugin):
    try:
        for word in (b"one ", b"two ", b"three"):
            yield word
            await asyncio.sleep(0.02)
            if exchange.control(b"do") == b"raise-in-reply":
                raise LookupError("on purpose")
        if exchange.control(b"do") == b"endless-reply":
            await asyncio.sleep(60)
    finally:
        plugin.ended.append("reply closed")


class Plugin:
    def __init__(self, config):
        self.ended = []

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway):
        self.gateway = gateway
        yield
        sys.stderr.write("lifespan closed\\n")

    @hookimpl
    def endpoints(self, gateway):
        return [Endpoint("GET", "/offers/ended", self.page, listener="callers", token=False)]

    async def page(self, request):
        return web.Response(text="|".join(self.ended))

    @hookimpl
    async def authenticate(self, exchange):
        match exchange.control(b"do"):
            case b"stop-before-the-head":
                asyncio.get_running_loop().call_later(0.1, exchange.stop)
            case b"gate-passes":
                exchange.gate(late())
            case b"gate-replies":
                exchange.gate(late(Reply(451, b"not this")))
            case b"gate-raises":
                exchange.gate(late(error=LookupError("on purpose")))
            case b"detach":
                exchange.detach(1_000_000, 5)
            case b"detach-few-bytes":
                exchange.detach(20, 5)
            case b"detach-briefly":
                exchange.detach(1_000_000, 0.3)
            case b"reply":
                return Reply(200, b"ours", outcome="complete")
            case b"stream-reply" | b"raise-in-reply" | b"endless-reply":
                return Reply(200, stream=words(exchange, self), outcome="complete")

    @hookimpl
    def judge(self, exchange, attempt):
        if exchange.control(b"do") == b"again" and (attempt.failure or attempt.status >= 500):
            return Again(1_000_000)

    @hookimpl
    def tap(self, exchange, side):
        do = exchange.control(b"do")
        if side == "upstream" and do in (b"stop", b"stop-with-tail"):

            def watch(data):
                if b"data: 2" in data:
                    exchange.stop(tail=b"data: [DONE]\\n\\n" if do == b"stop-with-tail" else b"")

            return watch

    @hookimpl
    def account(self, exchange):
        self.ended.append(f"{(exchange.control(b'do') or b'').decode()} {exchange.outcome}")
"""


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory) -> Iterator[RunningGateway]:
    plugin = tmp_path_factory.mktemp("plugins") / "offers.py"
    plugin.write_text(PLUGIN)
    with running_gateway(
        {"providers": {"openai": upstream.provider()}}, plugins=[plugin]
    ) as gateway:
        yield gateway


def ask(caller: RawCaller, do: bytes) -> None:
    caller.request(b"POST", b"/openai/v1/chat/completions", (b"weir-do", do), body=b"{}")


def answer_to(gateway: RunningGateway, do: bytes) -> RawAnswer:
    with RawCaller(gateway.port) as caller:
        ask(caller, do)
        return caller.answer()


def ended(gateway: RunningGateway) -> list[str]:
    """Give how each exchange ended, from the plugin's page on the callers' port."""
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/offers/ended")
        return caller.answer().body.decode().split("|")


def wait_for_end(gateway: RunningGateway, wanted: str) -> None:
    patient_until = time.monotonic() + 3
    while wanted not in ended(gateway):
        assert time.monotonic() < patient_until, ended(gateway)
        time.sleep(0.02)


def endless(visit: Visit) -> None:
    visit.read()
    visit.send(STREAM + chunk(ONE))
    while visit.connection.gone_ns is None:
        visit.pause(0.02)
        visit.send(chunk(TWO))


# -- stop ------------------------------------------------------------------------------------------


def test_a_stop_with_an_ending_of_the_dialect_is_whole_and_ends_the_upstream(upstream, gateway):
    upstream.script = endless
    upstream.forget()
    answer = answer_to(gateway, b"stop-with-tail")

    assert (answer.status, answer.is_complete) == (200, True)
    assert answer.body in (ONE + DONE, ONE + TWO + DONE)
    assert upstream.requests[0].connection.wait_gone(1)
    wait_for_end(gateway, "stop-with-tail stopped")


def test_a_stop_without_an_ending_is_a_cut(upstream, gateway):
    upstream.script = endless
    upstream.forget()
    answer = answer_to(gateway, b"stop")

    assert (answer.status, answer.is_complete) == (200, False)
    assert upstream.requests[0].connection.wait_gone(1)
    wait_for_end(gateway, "stop stopped")


def test_a_stop_of_a_body_whose_length_was_promised_is_a_cut(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Length", b"1000")) + ONE)
        visit.pause(0.02)
        visit.send(TWO)
        visit.wait_gone()

    upstream.script = script
    answer = answer_to(gateway, b"stop-with-tail")

    assert (answer.status, answer.is_complete) == (200, False)
    assert DONE not in answer.body


def test_a_stop_before_the_head_is_told(upstream, gateway):
    upstream.script = lambda visit: visit.wait_gone()
    upstream.forget()
    answer = answer_to(gateway, b"stop-before-the-head")

    assert (answer.status, answer.is_complete) == (403, True)
    assert upstream.requests[0].connection.wait_gone(1)


# -- gate ------------------------------------------------------------------------------------------


def test_the_head_waits_for_a_gate(upstream, gateway):
    upstream.script = streams([ONE, DONE])
    began = time.monotonic()
    answer = answer_to(gateway, b"gate-passes")

    assert (answer.body, answer.is_complete) == (ONE + DONE, True)
    assert time.monotonic() - began > 0.09


def test_a_gate_may_replace_the_answer(upstream, gateway):
    upstream.script = endless
    upstream.forget()
    answer = answer_to(gateway, b"gate-replies")

    assert (answer.status, answer.body, answer.is_complete) == (451, b"not this", True)
    assert upstream.requests[0].connection.wait_gone(1)


def test_a_gate_that_raises_is_a_500(upstream, gateway):
    upstream.script = endless
    upstream.forget()
    answer = answer_to(gateway, b"gate-raises")

    assert (answer.status, answer.is_complete) == (500, True)
    assert b"on purpose" not in answer.body
    assert upstream.requests[0].connection.wait_gone(1)


# -- detach ----------------------------------------------------------------------------------------


def leave_in_mid_stream(gateway: RunningGateway, do: bytes) -> None:
    with RawCaller(gateway.port) as caller:
        ask(caller, do)
        assert caller.answer_head().status == 200
        next(caller.wire.sized(1))


def test_a_detached_exchange_goes_on_to_its_end(upstream, gateway):
    upstream.script = streams([ONE] * 10 + [DONE], pause_s=0.03)
    upstream.forget()
    leave_in_mid_stream(gateway, b"detach")

    wait_for_end(gateway, "detach complete")
    assert upstream.requests[0].connection.gone_ns is None


@pytest.mark.parametrize("do", ["detach-few-bytes", "detach-briefly"])
def test_a_detached_exchange_has_its_bounds(upstream, gateway, do):
    upstream.script = endless
    upstream.forget()
    leave_in_mid_stream(gateway, do.encode())

    assert upstream.requests[0].connection.wait_gone(1)
    wait_for_end(gateway, f"{do} client_abort")


# -- replies ---------------------------------------------------------------------------------------


def test_a_reply_needs_no_upstream(upstream, gateway):
    upstream.forget()
    answer = answer_to(gateway, b"reply")

    assert (answer.status, answer.body, answer.is_complete) == (200, b"ours", True)
    assert upstream.requests == []


def test_a_reply_may_come_as_it_is_made(gateway):
    answer = answer_to(gateway, b"stream-reply")

    assert (answer.body, answer.is_complete) == (b"one two three", True)
    assert len(answer.pieces) == 3


def test_a_reply_that_raises_is_cut(gateway):
    answer = answer_to(gateway, b"raise-in-reply")

    assert (answer.body, answer.is_complete) == (b"one ", False)


def test_a_reply_is_closed_when_its_caller_leaves(gateway):
    before = ended(gateway).count("reply closed")
    leave_in_mid_stream(gateway, b"endless-reply")
    patient_until = time.monotonic() + 2
    while ended(gateway).count("reply closed") == before:
        assert time.monotonic() < patient_until
        time.sleep(0.02)

    wait_for_end(gateway, "endless-reply client_abort")


# -- attempts --------------------------------------------------------------------------------------


def test_another_attempt_is_made_while_nothing_has_gone_out(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.read()
        match len(upstream.requests):
            case 1:
                visit.send(sized(b"overloaded", status=503))
            case 2:
                visit.reset()
            case _:
                visit.send(sized(b"well"))

    upstream.script = script
    upstream.forget()
    answer = answer_to(gateway, b"again")

    assert (answer.status, answer.body) == (200, b"well")
    assert [request.body for request in upstream.requests] == [b"{}"] * 3


def test_no_other_attempt_is_made_once_a_byte_has_gone_out(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(STREAM + chunk(ONE))
        visit.pause(0.03)
        visit.reset()

    upstream.script = script
    upstream.forget()
    answer = answer_to(gateway, b"again")

    assert (answer.body, answer.is_complete) == (ONE, False)
    assert len(upstream.requests) == 1


def test_attempts_are_bounded(upstream, gateway):
    upstream.script = answers(b"overloaded", status=503)
    upstream.forget()
    answer = answer_to(gateway, b"again")

    assert (answer.status, answer.body) == (503, b"overloaded")
    assert len(upstream.requests) == 10


def test_a_plugins_life_ends_with_the_process(upstream, tmp_path):
    (tmp_path / "offers.py").write_text(PLUGIN)
    with running_gateway(plugins=[tmp_path / "offers.py"]) as gateway:
        assert gateway.stop() == 0
        assert "lifespan closed" in gateway.stderr
