"""What lives as long as the process: lent capabilities, owned tasks, counters."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from gateway import Endpoint, Gateway, Request, Route, StartError, hookimpl
from gateway.config import Config
from gateway.testing import (
    RawCaller,
    ScriptedUpstream,
    answers,
    exchange,
    plan_of,
    run,
    running_gateway,
)
from tests.gateway.made import plugin, raising


class Alive:
    """Does something in its lifespan."""

    def __init__(self, work, after=None):
        self.work = work
        self.after = after

    @hookimpl
    @contextlib.asynccontextmanager
    async def lifespan(self, gateway: Gateway):
        found = self.work(gateway)
        if asyncio.iscoroutine(found):
            await found
        yield
        if self.after is not None:
            self.after(gateway)


def live(*works, config=None) -> None:
    """Run a gateway for a moment, with a plugin for each of these."""
    plugins = [work if isinstance(work, Alive) else Alive(work) for work in works]
    lifespans = [plugin.lifespan for plugin in plugins]
    run(plan_of(), exchange(), config=config or Config(enabled=()), lifespans=lifespans)


pytestmark = pytest.mark.usefixtures("logged")


# -- capabilities ----------------------------------------------------------------------------------


def test_a_capability_goes_from_one_plugin_to_a_later_one():
    prices = {"m": 1}
    got = []
    live(
        lambda gateway: gateway.provide("prices", prices),
        lambda gateway: got.append(gateway.require("prices")),
    )

    assert got[0] is prices


def test_a_capability_may_be_false():
    got = []
    live(
        lambda gateway: gateway.provide("x", None), lambda gateway: got.append(gateway.require("x"))
    )

    assert got == [None]


def test_a_capability_that_nobody_provides_stops_the_start_and_names_what_there_is():
    with pytest.raises(StartError) as none:
        live(lambda gateway: gateway.require("prices"))
    assert str(none.value) == (
        'nobody provides the capability "prices" (there is: none); '
        "enable a plugin that does, before this one in `enabled`"
    )

    def both(gateway):
        gateway.provide("store", 1)
        gateway.provide("clock", 2)

    with pytest.raises(StartError, match=r'"prices" \(there is: clock, store\)'):
        live(both, lambda gateway: gateway.require("prices"))


def test_a_capability_provided_twice_stops_the_start():
    with pytest.raises(StartError, match='the capability "store" is provided twice'):
        live(*[lambda gateway: gateway.provide("store", 1)] * 2)


# -- tasks -----------------------------------------------------------------------------------------


def test_a_task_runs_in_the_background_and_the_stop_cancels_it():
    order = []

    async def work():
        order.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            order.append("cancelled")

    async def start(gateway):
        order.append(gateway.task(work(), "worker").get_name())
        await asyncio.sleep(0)

    live(Alive(start, after=lambda gateway: order.append("lifespan over")))

    assert order == ["worker", "begun", "cancelled", "lifespan over"]


def test_a_task_that_fails_is_logged_by_its_name(logged):
    async def work():
        raise LookupError("broken")

    async def start(gateway):
        with contextlib.suppress(LookupError):
            await gateway.task(work(), "worker")

    live(start)

    assert [
        (line["log_level"], line["task"], line["error"])
        for line in logged
        if line["event"] == "task_failed"
    ] == [("error", "worker", "LookupError('broken')")]


def test_a_task_that_is_done_or_cancelled_is_no_failure(logged):
    async def start(gateway):
        assert await gateway.task(asyncio.sleep(0, "result"), "quick") == "result"
        gateway.task(asyncio.sleep(60), "slow").cancel()
        await asyncio.sleep(0)

    live(start)

    assert "task_failed" not in [line["event"] for line in logged]


# -- being bare ------------------------------------------------------------------------------------


class Reads:
    reads = "all"


@pytest.mark.parametrize(
    ("made", "is_bare"),
    [
        ([], True),
        ([Reads()], True),
        ([Alive(lambda gateway: None)], True),
        ([plugin(account=lambda exchange: None)], False),
        ([Reads(), plugin(settle=lambda exchange: None)], False),
        ([raising("limit")], False),
    ],
)
def test_a_gateway_is_bare_where_no_plugin_has_part_in_a_line(made, is_bare):
    found: list[bool] = []
    start = Alive(lambda gateway: found.append(gateway.is_bare))
    run(plan_of(*made), exchange(), lifespans=[start.lifespan])

    assert found == [is_bare]


WAKES_UP = """
import asyncio
import msgspec
from gateway import hookimpl

class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at_work: bool = False

class Plugin:
    def __init__(self, config):
        pass

    def idle(self, config):
        return () if config.at_work else ("prepare", "answer")

    @hookimpl
    async def prepare(self, exchange):
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)

    @hookimpl
    def answer(self, exchange, head):
        head.headers.add(b"X-Task", b"%d" % (asyncio.current_task() is not None))
"""


def test_a_gateway_that_a_reload_gives_something_to_do_is_bare_no_more(tmp_path):
    (tmp_path / "wakes_up.py").write_text(WAKES_UP)
    with ScriptedUpstream(answers(b"ok")) as upstream:
        config = {
            "enabled": [str(tmp_path / "wakes_up.py")],
            "providers": {"openai": upstream.provider()},
        }
        with running_gateway(config) as gateway, RawCaller(gateway.port) as caller:
            caller.request(b"GET", b"/openai/v1/models")
            answer = caller.answer()
            assert (answer.status, answer.get(b"x-task")) == (200, None)
            gateway.write_config({**config, "plugins": {"wakes_up": {"at_work": True}}})
            gateway.signal(signal.SIGHUP)
            gateway.wait_for_log("reloaded")
            caller.request(b"GET", b"/openai/v1/models")
            answer = caller.answer()
            assert (answer.status, answer.get(b"x-task")) == (200, b"1")


# -- the rest --------------------------------------------------------------------------------------


def test_counters_count():
    counts = []

    def count(gateway):
        for name in ("a", "b", "a"):
            gateway.count(name)
        counts.append(gateway.counts)

    live(count)

    assert counts[0]["a"] == 2
    assert counts[0]["b"] == 1


def test_the_state_directory_is_that_of_the_configuration():
    found = []
    config = Config(enabled=(), state_dir="~/states")
    live(lambda gateway: found.append(gateway.state_path), config=config)

    assert found == [Path.home() / "states"]


def test_providers_and_configuration_are_at_hand():
    found = []
    live(lambda gateway: found.append((gateway.providers["openai"].name, gateway.config.enabled)))

    assert found == [("openai", ())]


def test_a_call_without_a_parent_needs_no_exchange():
    answered = []

    async def ask(gateway):
        answered.append(await gateway.call(None, Request(b"/openai/v1/models", method=b"GET")))

    live(ask)

    # No upstream can be reached here, which is an answer as well.
    assert [(answer.status, answer.exchange.method) for answer in answered] == [(502, b"GET")]


async def page(request):
    raise NotImplementedError


def test_an_endpoint_is_the_operators_and_asks_for_the_token_unless_it_says_otherwise():
    plain = Endpoint("GET", "/x", page)
    other = Endpoint("POST", "/y", page, listener="callers", token=False)

    assert (plain.method, plain.path, plain.handler) == ("GET", "/x", page)
    assert (plain.listener, plain.token) == ("admin", True)
    assert (other.listener, other.token) == ("callers", False)


def test_a_route_has_no_dialect_and_a_plain_surface_unless_it_says_so():
    plain = Route("/v1/models")
    other = Route("/v1/chat/completions", "openai", "openai")

    assert (plain.pattern, plain.dialect, plain.surface) == ("/v1/models", None, "plain")
    assert (other.dialect, other.surface) == ("openai", "openai")


def test_a_request_is_a_post_without_fields_or_body_unless_it_says_so():
    request = Request(b"/openai/v1/models")

    assert (request.method, request.target) == (b"POST", b"/openai/v1/models")
    assert (request.headers, request.body) == ((), b"")
