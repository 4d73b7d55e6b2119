"""The record that flows: what it knows, and what it can ask of its line."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from gateway import (
    REFUSED,
    STOPPED,
    Attempt,
    CallerFault,
    Exchange,
    Headers,
    Reply,
    Usage,
    hookimpl,
)
from gateway.shapes import Passed
from gateway.testing import (
    ScriptedUpstream,
    answers,
    attempt_of,
    chunk,
    exchange,
    head,
    plan_of,
    run,
    streams,
)
from tests.gateway.made import plugin

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ONE, TWO = b"data: 1\n\n", b"data: 2\n\n"
CHUNKED = (b"Transfer-Encoding", b"chunked")
EVENTS = (b"Content-Type", b"text/event-stream")

pytestmark = pytest.mark.usefixtures("logged")


def bare() -> Exchange:
    return Exchange(b"GET", b"/x", "1.1", Headers(), "unix")


# -- what it knows ---------------------------------------------------------------------------------


def test_what_is_not_known_yet_is_none():
    made = bare()
    later = ("provider", "identity", "body", "model", "streaming", "status", "answered_ns",
             "end_marker_seen", "outcome", "error", "usage", "ended_ns", "attempt",
             "dialect", "document", "parent_id", "account_id")  # fmt: skip

    assert {name: getattr(made, name) for name in later} == dict.fromkeys(later)
    assert (made.gateway, made.surface, made.path) == ("default", "plain", b"/x")


def test_an_exchange_takes_no_field_of_somebody_elses():
    with pytest.raises(AttributeError):
        bare().cost = 1  # type: ignore[attr-defined]


def test_an_id_is_made_when_first_asked_for_and_stays():
    made = bare()

    assert UUID7.fullmatch(made.id)
    assert made.id is made.id


def test_a_document_is_decoded_once_and_only_if_asked_for():
    made = exchange(body=b'{"a": [1]}')

    assert made.document == {"a": [1]}
    assert made.document is made.document


def test_a_text_that_was_cut_in_an_emoji_leaves_the_rest_to_be_read():
    made = exchange(body=b'{"model":"m","messages":[{"content":"Hi \\ud83d"}]}')

    assert made.document["model"] == "m"


@pytest.mark.parametrize("body", [None, b"", b"{", b"\xff", b"null"])
def test_what_is_no_json_has_no_document(body):
    made = bare()
    made.body = body

    assert made.document is None


def test_settings_are_those_of_the_plan():
    plan = plan_of(settings={"one": 1})

    assert exchange(plan=plan).settings == {"one": 1}


def test_the_latest_attempt_is_the_attempt():
    made = exchange()
    first, second = attempt_of(made), attempt_of(made)

    assert made.attempt is second
    assert made.attempts == [first, second]


def test_an_attempt_has_its_providers_deadlines_until_a_hook_changes_them():
    made = exchange()
    attempt = attempt_of(made)

    assert made.provider is not None
    assert attempt.connect_timeout_ns == made.provider.connect_timeout == 5_000_000_000
    assert attempt.first_byte_timeout_ns == made.provider.first_byte_timeout
    assert attempt.idle_timeout_ns == made.provider.idle_timeout
    assert isinstance(attempt, Attempt)
    assert (attempt.status, attempt.failure, attempt.sent_ns, attempt.preview) == (None,) * 4


def test_an_attempts_fields_are_made_of_those_that_came_when_first_asked_for():
    made = exchange(headers=[(b"X-A", b"1"), (b"x-a", b"2"), (b"Connection", b"close")])
    first, second = attempt_of(made), attempt_of(made)

    assert first.edited is None
    assert first.headers.items == first.came.fields == [(b"X-A", b"1"), (b"x-a", b"2")]
    assert first.headers is first.headers is first.edited
    first.headers.add(b"X-B", b"4")
    first.headers.set(b"X-A", b"3")
    assert first.headers.items == [(b"X-A", b"3"), (b"X-B", b"4")]
    assert first.came.fields == second.headers.items == [(b"X-A", b"1"), (b"x-a", b"2")]
    assert made.headers.all(b"x-a") == [b"1", b"2"]


def test_an_attempt_may_be_given_other_fields():
    attempt = attempt_of(exchange())
    others = Headers([(b"X-B", b"1")])
    attempt.headers = others

    assert attempt.headers is others is attempt.edited


def test_an_attempt_knows_the_fields_of_its_answer_and_they_are_its_own():
    attempt = attempt_of(exchange())
    passed = Passed.only([(b"X-A", b"1")])
    assert attempt.response is None
    attempt.answered(201, passed)

    fields: Headers | None = attempt.response
    assert fields is not None
    assert (attempt.status, fields.items) == (201, [(b"X-A", b"1")])
    fields.add(b"X-B", b"2")
    assert attempt.response is fields
    assert passed.fields == [(b"X-A", b"1")]


@pytest.mark.parametrize("edits", [True, False])
def test_the_fields_of_an_answer_are_the_upstreams_whatever_hooks_make_of_them(edits):
    heard = []

    def judge(exchange, attempt):
        heard.append((attempt.status, attempt.response.items.copy()))

    def answer(exchange, head):
        head.headers.set(b"X-A", b"2")

    fields = [(b"X-A", b"1"), (b"Date", b"1"), (b"x-a", b"3")]
    script = answers(b"ok", *fields, (b"Connection", b"keep-alive"), status=201)
    bodies: dict[str, Any] = {"judge": judge, **({"answer": answer} if edits else {})}
    with ScriptedUpstream(script) as upstream:
        ran = run(plan_of(plugin(**bodies)), exchange(), upstream)

    assert heard == [(201, fields)]
    assert ran.exchange.attempts[0].response == Headers(fields)
    assert ran.get(b"x-a") == (b"2" if edits else b"1")


def test_an_identity_is_made_when_first_needed_and_knows_nothing():
    made = bare()
    identity = made.known()

    assert made.known() is identity is made.identity
    assert (identity.key_id, identity.team, identity.user, identity.metadata) == (None,) * 3 + ({},)
    assert identity.metadata is not bare().known().metadata


def test_usage_is_the_sum_of_what_attempts_are_known_to_have_used():
    made = exchange()
    assert made.usage is None

    first, second, third = (attempt_of(made) for _ in range(3))
    assert made.usage is None

    first.usage, third.usage = Usage(), Usage()
    first.usage.fresh_input, third.usage.fresh_input = 3, 4
    assert made.usage is not None
    assert (made.usage.fresh_input, made.usage.output_text) == (7, None)
    assert second.usage is None


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ([], None),
        ([(b"weir-gate", b"1")], b"1"),
        ([(b"CF-AIG-Gate", b"1")], b"1"),
        ([(b"cf-aig-gate", b"2"), (b"Weir-Gate", b"1")], b"1"),
        ([(b"weir-gate", b"1"), (b"weir-gate", b"2")], b"1"),
        ([(b"x-weir-gate", b"1"), (b"weir-gates", b"1"), (b"gate", b"1")], None),
    ],
)
def test_a_control_is_read_with_any_prefix(fields, value):
    assert exchange(headers=fields).control(b"gate") == value


def test_without_a_line_there_is_nothing_to_stop_or_detach():
    made = exchange()
    made.stop()
    made.detach(1, 1)

    assert made.outcome is None


def test_without_a_line_a_gate_is_a_mistake():
    async def gate() -> None: ...

    waiting = gate()
    with pytest.raises(RuntimeError, match="running exchange"):
        exchange().gate(waiting)
    waiting.close()


def test_the_line_is_gone_when_the_exchange_is_over():
    with ScriptedUpstream(answers()) as upstream:
        assert run(plan_of(), exchange(), upstream).exchange.line is None


# -- stop ------------------------------------------------------------------------------------------


def one_then(*fields: tuple[bytes, bytes], first: bytes):
    """Send a head and a first piece, then wait for the gateway to leave."""

    def script(visit):
        visit.read()
        visit.send(head(200, *fields) + first)
        visit.wait_gone()

    return script


class Stops:
    """Stops the answer at its first slice."""

    def __init__(self, *arguments, later=False):
        self.arguments = arguments
        self.later = later

    @hookimpl
    def tap(self, exchange, side):
        def tap(data):
            if self.later:
                asyncio.get_running_loop().call_later(0.02, exchange.stop, *self.arguments)
            else:
                exchange.stop(*self.arguments)

        return tap if side == "upstream" else None


@pytest.mark.parametrize("later", [False, True])
def test_a_stop_with_a_tail_ends_a_chunked_answer_properly(later):
    with ScriptedUpstream(one_then(EVENTS, CHUNKED, first=chunk(ONE))) as upstream:
        ran = run(plan_of(Stops(STOPPED, TWO, later=later)), exchange(), upstream)
        upstream.connections[0].wait_gone()

    assert (ran.status, ran.is_complete) == (200, True)
    assert ran.body == (ONE + TWO if later else TWO)
    assert ran.exchange.outcome == "stopped"


@pytest.mark.parametrize(
    ("fields", "first", "tail"),
    [
        ((EVENTS, CHUNKED), chunk(ONE), b""),
        (((b"Content-Length", b"90"),), ONE, TWO),
    ],
    ids=["chunked_without_a_tail", "sized"],
)
def test_a_stop_that_cannot_end_the_answer_cuts_it(fields, first, tail):
    with ScriptedUpstream(one_then(*fields, first=first)) as upstream:
        ran = run(plan_of(Stops(STOPPED, tail, later=True)), exchange(), upstream)
        upstream.connections[0].wait_gone()

    assert (ran.status, ran.body, ran.ending) == (200, ONE, "cut")
    assert ran.exchange.outcome == "stopped"


@pytest.mark.parametrize(
    ("script", "tail"),
    [(answers(b"held"), b""), (answers(b"held"), TWO), (streams([ONE, ONE]), b"")],
)
def test_a_stop_from_a_tap_holds_the_slice_back(script, tail):
    with ScriptedUpstream(script) as upstream:
        ran = run(plan_of(Stops(STOPPED, tail)), exchange(), upstream)

    assert (ran.status, ran.body, ran.ending) == (200, b"", "cut")


@pytest.mark.parametrize(("tail", "ending"), [(TWO, "complete"), (b"", "cut")])
def test_a_stop_from_a_rewriter_sends_nothing_more_of_it(tail, ending):
    class Stopping:
        def __init__(self, exchange):
            self.exchange = exchange

        def event(self, event):
            self.exchange.stop(STOPPED, tail)
            return (event,)

        def end(self):
            return b"never"

    with ScriptedUpstream(streams([ONE, ONE])) as upstream:
        ran = run(plan_of(plugin(rewrite=Stopping)), exchange(), upstream)

    assert (ran.body, ran.ending, ran.exchange.outcome) == (tail, ending, "stopped")


def test_a_stop_counts_as_what_it_says():
    with ScriptedUpstream(one_then(EVENTS, CHUNKED, first=chunk(ONE))) as upstream:
        ran = run(plan_of(Stops(REFUSED, TWO, later=True)), exchange(), upstream)

    assert (ran.exchange.outcome, ran.is_complete) == ("refused", True)


def test_a_stop_before_the_head_is_a_403():
    def never(visit):
        visit.read()
        visit.wait_gone()

    async def send(exchange, attempt):
        asyncio.get_running_loop().call_later(0.02, exchange.stop)

    with ScriptedUpstream(never) as upstream:
        ran = run(plan_of(plugin(send=send)), exchange(), upstream)
        upstream.connections[0].wait_gone()

    assert (ran.status, ran.is_complete, ran.exchange.outcome) == (403, True, "stopped")


@pytest.mark.parametrize("hook", ["authenticate", "prepare", "lookup", "limit", "pick", "send"])
def test_a_stop_from_a_hook_before_the_head_is_a_403_and_nobody_is_asked(hook):
    async def stops(exchange):
        exchange.stop()

    async def stops_sending(exchange, attempt):
        exchange.stop()

    bodies: dict[str, Any] = {hook: stops}
    if hook == "send":
        bodies = {hook: stops_sending}
    elif hook == "pick":
        bodies = {hook: lambda exchange: exchange.stop()}
    with ScriptedUpstream(answers()) as upstream:
        ran = run(plan_of(plugin(**bodies)), exchange(), upstream)

    assert (ran.status, ran.exchange.outcome) == (403, "stopped")
    assert upstream.requests == []


@pytest.mark.parametrize("hook", ["authenticate", "prepare", "lookup", "limit", "send"])
def test_a_hook_that_stops_its_own_exchange_goes_on_to_its_end(hook):
    order = []

    async def stops(exchange):
        exchange.stop()
        await asyncio.sleep(0.001)
        order.append("went on")

    async def stops_sending(exchange, attempt):
        await stops(exchange)

    bodies: dict[str, Any] = {hook: stops_sending if hook == "send" else stops}
    ran = run(plan_of(plugin(**bodies)), exchange())

    assert order == ["went on"]
    assert (ran.status, ran.exchange.outcome) == (403, "stopped")


def test_a_stop_from_judge_is_a_403():
    def judge(exchange, attempt):
        exchange.stop()

    with ScriptedUpstream(answers(b"held")) as upstream:
        ran = run(plan_of(plugin(judge=judge)), exchange(), upstream)

    assert (ran.status, ran.exchange.outcome) == (403, "stopped")


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("script", [answers(b"held"), streams([ONE, ONE])])
def test_a_stop_from_answer_is_a_403(script, waits):
    def answer(exchange, head):
        if head.status == 200:
            exchange.stop()

    async def limit(exchange):
        await asyncio.sleep(0)

    bodies: dict[str, Any] = {"answer": answer, **({"limit": limit} if waits else {})}
    with ScriptedUpstream(script) as upstream:
        ran = run(plan_of(plugin(**bodies)), exchange(), upstream)

    assert (ran.status, ran.is_complete, ran.exchange.outcome) == (403, True, "stopped")


def test_a_stop_beside_a_reply_stops_all_the_same():
    async def lookup(exchange):
        exchange.stop()
        return Reply(200, b"kept", outcome="cached")

    ran = run(plan_of(plugin(lookup=lookup)), exchange())

    assert (ran.status, ran.exchange.outcome) == (403, "stopped")


def test_a_stop_after_the_end_changes_nothing():
    kept = []

    def account(exchange):
        exchange.stop()
        kept.append(exchange)

    with ScriptedUpstream(answers(b"whole")) as upstream:
        ran = run(plan_of(plugin(account=account)), exchange(), upstream)
    kept[0].stop()

    assert (ran.body, ran.is_complete, ran.exchange.outcome) == (b"whole", True, "complete")


# -- gate ------------------------------------------------------------------------------------------


def gating(work):
    """Make a plugin that lets the head wait for `work(exchange)`."""

    async def limit(exchange):
        exchange.gate(work(exchange))

    return plan_of(plugin(limit=limit))


def test_the_head_waits_for_a_gate_while_the_upstream_works():
    order = []

    async def work(exchange):
        await asyncio.sleep(0.05)
        order.append((len(upstream.requests), exchange.status, exchange.bytes_sent))

    with ScriptedUpstream(streams([ONE, TWO])) as upstream:
        ran = run(gating(work), exchange(), upstream)

    assert (order, ran.body, ran.is_complete) == ([(1, None, 0)], ONE + TWO, True)


def test_a_reply_of_a_gate_takes_the_answers_place():
    async def work(exchange):
        return Reply(451, b"not this")

    with ScriptedUpstream(one_then(EVENTS, CHUNKED, first=chunk(ONE))) as upstream:
        ran = run(gating(work), exchange(), upstream)
        upstream.connections[0].wait_gone()

    assert (ran.status, ran.body, ran.exchange.outcome) == (451, b"not this", "refused")


def test_a_gate_that_raises_is_a_500(logged):
    async def work(exchange):
        raise LookupError("its own words")

    with ScriptedUpstream(one_then(EVENTS, CHUNKED, first=chunk(ONE))) as upstream:
        ran = run(gating(work), exchange(), upstream)
        upstream.connections[0].wait_gone()

    assert (ran.status, ran.exchange.outcome) == (500, "failed")
    assert b"own words" not in ran.raw
    assert [line["plugin"] for line in logged if line["event"] == "plugin_failed"] == ["plain"]


def test_a_gate_that_others_cancel_is_a_500():
    """Its exchange is not cancelled with it: the caller is there and waits."""

    async def send(exchange, attempt):
        task = asyncio.ensure_future(asyncio.sleep(60))
        exchange.gate(task)
        asyncio.get_running_loop().call_later(0.01, task.cancel)

    with ScriptedUpstream(answers(b"held")) as upstream:
        ran = run(plan_of(plugin(send=send)), exchange(), upstream)

    assert ran.ending == "complete"
    assert (ran.status, ran.exchange.outcome) == (500, "failed")


def test_a_fault_that_a_gate_raises_on_purpose_is_the_answer():
    async def work(exchange):
        raise CallerFault("Not this.", status=451)

    with ScriptedUpstream(answers()) as upstream:
        assert run(gating(work), exchange(), upstream).status == 451


def test_every_gate_is_waited_for_and_a_reply_is_held_too():
    order = []

    async def work(exchange):
        await asyncio.sleep(0.02)
        order.append("done")

    async def twice(exchange):
        exchange.gate(work(exchange))
        exchange.gate(asyncio.ensure_future(work(exchange)))
        return Reply(200, b"kept", outcome="cached")

    ran = run(plan_of(plugin(lookup=twice)), exchange())

    assert (order, ran.body) == (["done", "done"], b"kept")


def test_a_gate_may_be_a_task_and_an_unused_one_is_cancelled():
    tasks = []

    async def forever(exchange):
        await asyncio.sleep(60)

    async def gates(exchange):
        tasks.append(asyncio.ensure_future(forever(exchange)))
        exchange.gate(tasks[0])
        raise CallerFault("No.", status=400)

    ran = run(plan_of(plugin(prepare=gates)), exchange())

    assert (ran.status, tasks[0].cancelled()) == (400, True)


def test_a_gate_ends_when_the_caller_leaves():
    ended = []

    async def forever():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    async def prepare(exchange):
        exchange.gate(asyncio.ensure_future(forever()))
        asyncio.get_running_loop().call_later(0.02, exchange.line.leave)

    with ScriptedUpstream(answers()) as upstream:
        ran = run(plan_of(plugin(prepare=prepare)), exchange(), upstream)

    assert (ran.writes, ended, ran.exchange.outcome) == ([], ["cancelled"], "client_abort")


# -- detach ----------------------------------------------------------------------------------------


def detaching(bytes_max: int, seconds: float):
    async def prepare(exchange):
        exchange.detach(bytes_max, seconds)

    return plugin(prepare=prepare)


def slowly(visit):
    visit.read()
    visit.send(head(200, EVENTS, CHUNKED) + chunk(ONE))
    visit.pause(0.05)
    visit.send(chunk(TWO), chunk(b""))


def test_a_detached_exchange_goes_on_without_its_caller():
    seen: list[bytes] = []
    tap = plugin("taps", tap=lambda exchange, side: seen.append if side == "upstream" else None)
    with ScriptedUpstream(slowly) as upstream:
        ran = run(plan_of(detaching(1000, 5), tap), exchange(), upstream, leaves_after=1)

    assert (ran.ending, ran.body) == ("left", ONE)
    assert (b"".join(seen), ran.exchange.outcome) == (ONE + TWO, "complete")


def test_a_detached_exchange_goes_on_when_its_caller_leaves_before_the_head():
    async def prepare(exchange):
        exchange.detach(1000, 5)
        asyncio.get_running_loop().call_later(0.02, exchange.line.leave)

    seen: list[bytes] = []
    tap = plugin("taps", tap=lambda exchange, side: seen.append if side == "upstream" else None)

    def late(visit):
        visit.read()
        visit.pause(0.06)
        slowly(visit)

    with ScriptedUpstream(late) as upstream:
        ran = run(plan_of(plugin(prepare=prepare), tap), exchange(), upstream)

    assert (ran.writes, b"".join(seen), ran.exchange.outcome) == ([], ONE + TWO, "complete")


def test_a_detached_exchange_that_nobody_leaves_is_as_any_other():
    with ScriptedUpstream(slowly) as upstream:
        ran = run(plan_of(detaching(0, 0)), exchange(), upstream)

    assert (ran.body, ran.is_complete, ran.exchange.outcome) == (ONE + TWO, True, "complete")


@pytest.mark.parametrize(("bytes_max", "seconds"), [(20, 5), (10**9, 0.05)])
def test_a_detached_exchange_ends_at_its_bound(bytes_max, seconds):
    def endless(visit):
        visit.read()
        visit.send(head(200, EVENTS, CHUNKED))
        while visit.connection.gone_ns is None:
            visit.send(chunk(ONE))
            visit.pause(0.005)

    with ScriptedUpstream(endless) as upstream:
        plan = plan_of(detaching(bytes_max, seconds))
        ran = run(plan, exchange(), upstream, leaves_after=1)
        upstream.connections[0].wait_gone()

    assert (ran.ending, ran.exchange.outcome) == ("left", "client_abort")
