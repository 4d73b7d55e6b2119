"""Calls that plugins make: a child exchange through the same line, bounded, and gone with its
parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from contextvars import ContextVar

import anyio
import pytest

from gateway import (
    Answered,
    CallerFault,
    GatewayError,
    Reply,
    Request,
    Size,
    UpstreamFault,
    hookimpl,
)
from gateway.config import Config, GatewayConfig, Limits
from gateway.testing import (
    ScriptedUpstream,
    answers,
    chunk,
    exchange,
    head,
    plan_of,
    run,
    sized,
    streams,
)

JSON = (b"Content-Type", b"application/json")
CHILD = Request(b"/openai/v1/embeddings", b'{"model":"child"}', headers=(JSON,))
CHUNKED = (b"Transfer-Encoding", b"chunked")

pytestmark = pytest.mark.usefixtures("logged")


class Asks:
    """Makes calls in `prepare` of the parent, and notes what becomes of all exchanges."""

    reads = "json"

    def __init__(self, *requests: Request, depth: int = 0) -> None:
        self.requests = requests or (CHILD,)
        self.depth = depth  # how deep to go on asking
        self.answered: list[Answered] = []
        self.errors: list[GatewayError] = []
        self.authenticated: list[int] = []
        self.accounted: list[tuple[int, str | None]] = []

    @hookimpl
    @contextlib.asynccontextmanager
    async def lifespan(self, gateway):
        self.gateway = gateway
        yield

    @hookimpl
    async def authenticate(self, exchange):
        self.authenticated.append(exchange.depth)
        exchange.known().key_id = "key-1"

    @hookimpl
    async def prepare(self, exchange):
        if exchange.depth > self.depth:
            return
        for request in self.requests:
            try:
                self.answered.append(await self.gateway.call(exchange, request))
            except GatewayError as error:
                self.errors.append(error)

    @hookimpl
    def account(self, exchange):
        self.accounted.append((exchange.depth, exchange.outcome))


def asked(asks: Asks, script=None, *, others=(), **limits):
    """Run a parent whose plugin calls; give what came of it and what the upstream got."""
    config = Config(enabled=(), limits=Limits(**limits))
    with ScriptedUpstream(script or answers(b'{"a":1}', (b"X-A", b"1"))) as upstream:
        made = exchange(headers=[(b"Authorization", b"Bearer k")], body=b'{"model":"parent"}')
        ran = run(plan_of(asks, *others), made, upstream, config=config, lifespans=[asks.lifespan])
    return ran, upstream.requests


def test_a_call_gives_the_whole_answer():
    asks = Asks()
    _, requests = asked(asks)

    (answer,) = asks.answered
    assert (answer.status, answer.body, answer.headers.get(b"x-a")) == (200, b'{"a":1}', b"1")
    assert [request.target for request in requests] == [b"/v1/embeddings", b"/v1/chat/completions"]
    assert requests[0].body == CHILD.body


def test_a_call_is_an_exchange_of_its_own_that_knows_its_parent():
    asks = Asks()
    ran, _ = asked(asks)
    parent, child = ran.exchange, asks.answered[0].exchange

    assert (child.parent_id, child.depth, child.model) == (parent.id, 1, "child")
    assert child.id != parent.id
    assert child.identity is parent.identity
    assert parent.calls == 1
    assert parent.parent_id is None


def test_a_call_enters_the_line_at_prepare_and_has_rows_of_its_own():
    asks = Asks()
    asked(asks)

    assert asks.authenticated == [0]
    assert asks.accounted == [(1, "complete"), (0, "complete")]


def test_a_call_brings_its_own_fields_and_none_of_its_parents():
    fields = ((b"X-Mine", b"1"), (b"Host", b"evil"), (b"Connection", b"close"), (b"Expect", b"x"))
    request = Request(b"/openai/v1/models", method=b"GET", headers=fields)
    _, requests = asked(Asks(request))

    assert requests[0].method == b"GET"
    assert [name for name, _ in requests[0].fields] == [b"Host", b"X-Mine"]
    assert requests[0].get(b"host") != b"evil"


def test_a_streamed_answer_is_collected_without_its_framing():
    asks = Asks()
    asked(asks, streams([b"data: 1\n\n", b"data: 2\n\n"]))

    assert asks.answered[0].body == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("status", [400, 429, 503])
def test_an_error_of_the_provider_is_an_answer(status):
    asks = Asks()
    ran, _ = asked(asks, answers(b"{}", status=status))

    assert (asks.answered[0].status, asks.errors) == (status, [])
    assert ran.status == status


def test_a_refusal_on_the_way_is_an_answer_too():
    class Refuses:
        @hookimpl
        async def limit(self, exchange):
            return Reply(429, b"slow down") if exchange.depth else None

    asks = Asks()
    ran, requests = asked(asks, others=[Refuses()])

    assert [(answer.status, answer.body) for answer in asks.answered] == [(429, b"slow down")]
    assert (ran.status, len(requests)) == (200, 1)


def test_a_target_that_leads_nowhere_is_a_404():
    asks = Asks(Request(b"/nobody/x"))
    asked(asks)

    assert [answer.status for answer in asks.answered] == [404]


def cut(visit):
    visit.read()
    if visit.request.target == b"/v1/embeddings":
        visit.send(head(200, CHUNKED) + chunk(b"ab"))
        visit.fin()
    else:
        visit.send(sized(b"{}"))


def test_a_cut_answer_is_an_error_and_never_half_an_answer():
    asks = Asks()
    ran, _ = asked(asks, cut)

    assert asks.answered == []
    (error,) = asks.errors
    assert isinstance(error, UpstreamFault)
    assert (error.code, error.detail) == ("call_failed", "cut")
    assert (ran.status, asks.accounted) == (200, [(1, "truncated"), (0, "complete")])


def test_an_answer_larger_than_may_be_read_is_an_error():
    asks = Asks()
    asked(asks, answers(b"x" * 100), read_bytes_max=Size(99))

    assert [error.detail for error in asks.errors] == ["larger than read_bytes_max"]


@pytest.mark.parametrize(("depth_max", "made"), [(0, 0), (1, 1), (2, 2)])
def test_calls_are_bounded_in_depth(depth_max, made):
    asks = Asks(depth=99)
    asked(asks, call_depth_max=depth_max)

    assert len(asks.answered) == made
    (error,) = asks.errors
    assert isinstance(error, CallerFault)
    assert (error.status, error.code, error.detail) == (508, "call_depth", "call_depth_max")


@pytest.mark.parametrize("count_max", [0, 2])
def test_calls_are_bounded_in_count(count_max):
    asks = Asks(CHILD, CHILD, CHILD)
    ran, requests = asked(asks, call_count_max=count_max)

    assert (len(asks.answered), len(requests)) == (count_max, count_max + 1)
    assert {(error.status, error.code) for error in asks.errors} == {(508, "call_count")}
    assert ran.exchange.calls == count_max


def test_calls_may_run_side_by_side():
    both = threading.Barrier(2, timeout=5)

    def meets(visit):
        visit.read()
        if visit.request.target == b"/v1/embeddings":
            both.wait()
        visit.send(sized(b"{}"))

    class Two(Asks):
        @hookimpl
        async def prepare(self, exchange):
            if not exchange.depth:
                calls = (self.gateway.call(exchange, CHILD) for _ in range(2))
                self.answered += await asyncio.gather(*calls)

    two = Two()
    asked(two, meets)

    assert [answer.status for answer in two.answered] == [200, 200]


word: ContextVar[str] = ContextVar("word", default="none")


def test_a_call_has_a_current_task_and_context_variables_of_its_own():
    tasks, words = [], []

    class Binds(Asks):
        @hookimpl
        async def prepare(self, exchange):
            task = asyncio.current_task()
            words.append((exchange.depth, word.get()))
            word.set(f"of {exchange.depth}")
            if not exchange.depth:
                calls = (self.gateway.call(exchange, CHILD) for _ in range(2))
                self.answered += await asyncio.gather(*calls)
                self.answered.append(await self.gateway.call(exchange, CHILD))
            assert asyncio.current_task() is task
            words.append((exchange.depth, word.get()))
            tasks.append(task)

    binds = Binds()
    asked(binds)

    assert [answer.status for answer in binds.answered] == [200] * 3
    assert len(set(tasks)) == 4
    assert sorted(words) == sorted(
        [(0, "none"), (0, "of 0"), *[(1, "of 0")] * 3, *[(1, "of 1")] * 3]
    )


@pytest.mark.parametrize("how", ["timeout", "scope", "cancel"])
def test_a_call_that_its_plugin_gives_up_is_aborted_and_its_parent_goes_on(how):
    class GivesUp(Asks):
        @hookimpl
        async def prepare(self, exchange):
            if exchange.depth:
                return
            if how == "scope":
                with anyio.move_on_after(0.02):
                    await self.gateway.call(exchange, CHILD)
            elif how == "timeout":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self.gateway.call(exchange, CHILD)
            else:
                task = asyncio.ensure_future(self.gateway.call(exchange, CHILD))
                await asyncio.sleep(0.5)
                task.cancel()
                await asyncio.wait([task])

    def holds(visit):
        visit.read()
        if visit.request.target == b"/v1/embeddings":
            visit.wait_gone()
        else:
            visit.send(sized(b"{}"))

    gives_up = GivesUp()
    ran, requests = asked(gives_up, holds)

    assert (ran.status, ran.exchange.outcome) == (200, "complete")
    assert gives_up.accounted == [(1, "client_abort"), (0, "complete")]
    assert [request.target for request in requests] == [b"/v1/embeddings", b"/v1/chat/completions"]


def test_the_parents_leaving_aborts_the_call():
    def holds_all(visit):
        visit.read()
        if visit.request.target != b"/v1/embeddings":
            visit.send(head(200, CHUNKED) + chunk(b"ab"))
        visit.wait_gone()

    class Beside(Asks):
        """Calls while the parent's answer is on its way."""

        @hookimpl
        @contextlib.asynccontextmanager
        async def lifespan(self, gateway):
            self.gateway = gateway
            yield
            await asyncio.sleep(0.2)  # the process lives on: only the call's own end is seen

        @hookimpl
        async def limit(self, exchange):
            if not exchange.depth:
                task = asyncio.ensure_future(self.gateway.call(exchange, CHILD))
                exchange.gate(self.wait(task))

        async def wait(self, task):
            await asyncio.sleep(0.05)
            self.left_ns = time.monotonic_ns()
            asyncio.get_running_loop().call_soon(self.line.leave)
            await task

        @hookimpl
        async def prepare(self, exchange):
            if not exchange.depth:
                self.line = exchange.line

    beside = Beside()
    with ScriptedUpstream(holds_all) as upstream:
        ran = run(plan_of(beside), exchange(), upstream, lifespans=[beside.lifespan])
        (child,) = [one for one in upstream.requests if one.target == b"/v1/embeddings"]
        gone_ns = child.connection.wait_gone()

    assert ran.exchange.outcome == "client_abort"
    assert (1, "client_abort") in beside.accounted
    assert 0 <= gone_ns - beside.left_ns < 100_000_000


def test_a_call_without_a_parent_has_no_identity():
    class Alone(Asks):
        @hookimpl
        async def prepare(self, exchange):
            if exchange.depth == 0 and exchange.peer != "call":
                self.answered.append(await self.gateway.call(None, CHILD))

    alone = Alone()
    asked(alone)

    child = alone.answered[0].exchange
    assert (alone.answered[0].status, child.parent_id, child.depth) == (200, None, 0)
    assert child.identity is None


def test_a_call_stays_in_its_parents_gateway():
    asks = Asks()
    config = Config(enabled=(), gateways={"staging": GatewayConfig()})
    with ScriptedUpstream(answers()) as upstream:
        made = exchange(headers=[(b"weir-gateway", b"staging")], body=b"{}")
        ran = run(plan_of(asks), made, upstream, config=config, lifespans=[asks.lifespan])

    assert (ran.exchange.gateway, asks.answered[0].exchange.gateway) == ("staging", "staging")


def test_a_calls_own_controls_are_read_and_do_not_go_up():
    asks = Asks(Request(CHILD.target, CHILD.body, headers=((b"weir-metadata", b"{}"),)))
    _, requests = asked(asks)

    assert asks.answered[0].exchange.control(b"metadata") == b"{}"
    assert requests[0].get(b"weir-metadata") is None
