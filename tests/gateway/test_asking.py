"""What a plugin says is checked, and what it does wrong is told with its name and its hook."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import CallerFault, Reply, UpstreamFault
from gateway.testing import exchange, plan_of, run
from tests.gateway.made import plugin, raising

ASKED = ("authenticate", "prepare", "lookup", "limit", "pick", "send", "judge")
WATCHING = ("answer", "rewrite", "tap", "settle", "account")


def told(logged) -> list[tuple[str, str]]:
    """Give the plugins that failed, each with the hook, once."""
    lines = [line for line in logged if line["event"] == "plugin_failed"]
    assert {line["log_level"] for line in lines} <= {"error"}
    return list(dict.fromkeys((line["plugin"], line["hook"]) for line in lines))


@pytest.mark.parametrize("hook", ASKED + WATCHING)
def test_a_fault_is_told_with_plugin_and_hook(upstream, logged, hook):
    run(plan_of(plugin("good"), raising(hook, "bad")), exchange(), upstream)

    assert told(logged) == [("bad", hook)]


@pytest.mark.parametrize("hook", ASKED)
def test_a_fault_is_told_with_plugin_and_hook_where_plugins_are_measured(upstream, logged, hook):
    measuring = plugin("measuring", having={"measures": True})
    run(plan_of(measuring, raising(hook, "bad")), exchange(), upstream)

    assert told(logged) == [("bad", hook)]


@pytest.mark.parametrize("hook", ["pick", "limit", "judge"])
def test_a_gate_that_fails_is_told_with_the_plugin_that_made_it(upstream, logged, hook):
    async def fails():
        raise LookupError("its own words")

    async def goes_on(exchange):
        pass

    async def limit(exchange):
        exchange.gate(fails())

    bodies: dict[str, Any] = {
        "limit": limit,
        "pick": lambda exchange: exchange.gate(fails()),
        "judge": lambda exchange, attempt: exchange.gate(fails()),
    }
    makes = plugin("makes", prepare=goes_on, **{hook: bodies[hook]})
    other = plugin("other", prepare=goes_on, limit=goes_on)
    ran = run(plan_of(makes, other), exchange(), upstream)

    assert (ran.status, told(logged)) == (500, [("makes", "gate")])


@pytest.mark.parametrize("hook", ["authenticate", "prepare", "limit", "send"])
@pytest.mark.parametrize(
    ("fault", "status", "outcome"),
    [
        (CallerFault("No.", status=418), 418, "refused"),
        (UpstreamFault("No.", status=599), 599, "provider_error"),
    ],
)
def test_a_fault_raised_on_purpose_is_an_answer_and_no_failure(
    upstream, logged, hook, fault, status, outcome
):
    async def raises(exchange):
        raise fault

    async def raises_sending(exchange, attempt):
        raise fault

    body = raises_sending if hook == "send" else raises
    ran = run(plan_of(plugin(having={"fails": "open"}, **{hook: body})), exchange(), upstream)

    assert (ran.status, ran.exchange.outcome, told(logged)) == (status, outcome, [])


def test_a_lookup_goes_on_whatever_it_raises(upstream, logged):
    async def lookup(exchange):
        raise CallerFault("No.")

    ran = run(plan_of(plugin(lookup=lookup)), exchange(), upstream)

    assert (ran.status, told(logged)) == (200, [("plain", "lookup")])


def test_a_departure_while_a_plugin_is_asked_is_no_fault_of_it(logged):
    async def prepare(exchange):
        asyncio.get_running_loop().call_soon(exchange.line.leave)
        await asyncio.sleep(5)

    async def late(exchange):
        return Reply(500)

    ran = run(plan_of(plugin(prepare=prepare, lookup=late)), exchange())

    assert (ran.exchange.outcome, ran.writes, told(logged)) == ("client_abort", [], [])


@pytest.mark.parametrize("hook", ["authenticate", "prepare", "lookup"])
def test_a_plain_hook_may_wait_for_one_request(upstream, logged, hook):
    async def later(exchange):
        await asyncio.sleep(0.01)
        if b"x-refused" in exchange.headers:
            raise CallerFault("No.", status=403)
        exchange.notes["later"] = asyncio.current_task() is not None

    def sometimes(exchange):
        return later(exchange) if b"x-later" in exchange.headers else None

    hooks: dict[str, Any] = {hook: sometimes}
    plan = plan_of(plugin(**hooks))
    assert not plan.waits
    for fields, status in (
        ([], 200),
        ([(b"x-later", b"1")], 200),
        ([(b"x-later", b"1"), (b"x-refused", b"1")], 403 if hook != "lookup" else 200),
    ):
        ran = run(plan, exchange(headers=fields), upstream)
        assert ran.status == status
        assert ("later" in ran.exchange.notes) is (len(fields) == 1)
