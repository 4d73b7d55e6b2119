"""A plan is decided once: hooks in order, and nothing where there is no plugin."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway import hooks
from gateway.plan import ON_THE_LINE
from gateway.testing import ScriptedUpstream, answers, exchange, plan_of, run
from tests.gateway.made import plugin, raising

MS = 1_000_000


def all_hooks(name: str):
    """Make a plugin with every hook of the line."""
    bodies = {hook: getattr(raising(hook), hook) for hook in ON_THE_LINE}
    return plugin(name, **bodies)


def test_the_empty_plan_is_all_empty_tuples():
    plan = plan_of()

    assert {name: getattr(plan, name) for name in ON_THE_LINE} == dict.fromkeys(ON_THE_LINE, ())
    assert (plan.reads, plan.watches, plan.measures, plan.plugins) == (None, False, False, ())


def test_the_hooks_of_the_line_are_all_but_the_two_of_the_process():
    assert set(hooks.NAMES) - set(ON_THE_LINE) == {"lifespan", "endpoints"}


@pytest.mark.parametrize("name", ON_THE_LINE)
def test_hooks_stand_in_the_order_of_enabled_and_pairs_unwind(name):
    plan = plan_of(all_hooks("a"), all_hooks("b"), all_hooks("c"))
    owners = [hook.plugin for hook in getattr(plan, name)]

    assert owners == (["c", "b", "a"] if name in ("answer", "rewrite") else ["a", "b", "c"])


def test_a_hook_that_a_plugin_lacks_has_no_entry():
    async def limit(exchange): ...

    one = plugin("one", limit=limit)
    plan = plan_of(one)
    (hook,) = plan.limit

    assert (hook.call, hook.plugin, hook.phase, hook.waits) == (one.limit, "one", "limit", True)
    assert [name for name in ON_THE_LINE if getattr(plan, name)] == ["limit"]


def test_hooks_are_bound_once_and_called_as_they_are():
    one = all_hooks("one")

    assert plan_of(one).pick[0].call is one.pick


@pytest.mark.parametrize(
    ("wanted", "reads"),
    [
        ((), None),
        ((None, None), None),
        ((None, "json"), "json"),
        (("json", "all", None), "all"),
    ],
)
def test_the_body_is_read_for_the_one_who_reads_most(wanted, reads):
    plugins = [plugin(f"p{number}", having={"reads": kind}) for number, kind in enumerate(wanted)]

    assert plan_of(*plugins).reads == reads


def test_only_plugins_that_say_so_fail_open():
    plan = plan_of(
        plugin("a"), plugin("b", having={"fails": "open"}), plugin("c", having={"fails": "closed"})
    )

    assert plan.fails_open == frozenset({"b"})


@pytest.mark.parametrize("hook", ["rewrite", "tap", "settle", "account", "answer", "judge"])
def test_a_body_is_watched_only_where_a_hook_looks_at_it(hook):
    assert plan_of(raising(hook)).watches is (hook in ("rewrite", "tap", "settle"))


def test_a_bare_plan_edits_and_watches_nothing_but_settles_and_accounts():
    plan = plan_of(all_hooks("one"))
    bare = plan.bare()

    assert (bare.answer, bare.rewrite, bare.tap) == ((), (), ())
    for name in ("settle", "account"):
        (hook,), (same,) = getattr(bare, name), getattr(plan, name)
        assert (hook.call, hook.place) == (same.call, same.place)
    assert bare.settings == plan.settings
    assert plan.answer != ()


def test_a_plan_is_frozen_in_its_shape():
    with pytest.raises(AttributeError):
        plan_of().another = ()  # type: ignore[attr-defined]


def test_the_time_of_each_plugin_is_measured_where_one_asks_for_it():
    async def slow(exchange):
        await asyncio.sleep(0.02)

    def busy(exchange):
        until = time.monotonic_ns() + 10 * MS
        while time.monotonic_ns() < until:
            pass

    asks = plugin("asks", having={"measures": True}, account=lambda exchange: None)
    plan = plan_of(plugin("slow", prepare=slow, limit=slow), plugin("busy", pick=busy), asks)
    with ScriptedUpstream(answers()) as upstream:
        spent = run(plan, exchange(), upstream).exchange.spent

    assert spent is not None
    assert spent["slow"] >= 40 * MS
    assert 10 * MS <= spent["busy"] < 40 * MS
    assert 0 <= spent["asks"] < 10 * MS
    assert [hook.plugin for hook in (*plan.prepare, *plan.pick)] == ["slow", "busy"]


def test_the_time_of_a_plugin_that_raises_is_measured_too(logged):
    plan = plan_of(raising("pick"), plugin("asks", having={"measures": True}))
    spent = run(plan, exchange()).exchange.spent

    assert spent is not None
    assert "broken" in spent
    assert [line["plugin"] for line in logged if line["event"] == "plugin_failed"] == ["broken"]


def test_nothing_is_measured_where_nobody_asks():
    one = all_hooks("one")

    assert plan_of(one).measures is False
    assert exchange(plan=plan_of(one)).spent is None
