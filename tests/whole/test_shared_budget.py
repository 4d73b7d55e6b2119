"""Budgets hold for all processes of one Redis, while that is away, and once it has forgotten."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.testing import (
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    Visit,
    running_gateway,
)
from tests.gateway.answers import CHAT
from tests.redis_server import RedisServer
from tests.sizes import Sizes
from tests.whole.test_budget import (
    ANSWER,
    BODY,
    BUDGET,
    CALLS,
    ENABLED,
    Callers,
    asked,
    budgets,
    config,
    gives,
    rule,
    settled,
    told,
)

PATIENCE_S = 20.0
USD = 10**9


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def shared(
    upstream: ScriptedUpstream, server: RedisServer, *rules: dict[str, Any], **keys: Any
) -> dict[str, Any]:
    """Rules over a store. Its patience is long: a store that is late is another story."""
    given = config(upstream, *rules)
    given["plugins"]["budget"] |= {
        "store": server.url,
        "store_timeout": "5s",
        "nodes": 2,
        **keys,
    }
    return given


def until(true: Callable[[], Any]) -> None:
    patient_until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < patient_until
        time.sleep(0.02)


def holds(visit: Visit) -> None:
    visit.read()
    visit.wait_gone()


def test_of_many_calls_at_two_gateways_exactly_as_many_pass_as_the_budget_has(
    server: RedisServer, sizes: Sizes
):
    rules = (rule(), rule(name="soft", hard=False, window="rolling", limit="1 USD/day"))
    with ScriptedUpstream(gives(ANSWER), keeps_bodies=False) as upstream, ExitStack() as stack:
        given = shared(upstream, server, *rules)
        gateways = [stack.enter_context(running_gateway(given)) for _ in range(2)]

        async def story() -> None:
            async with Callers(gateways[0].port) as here, Callers(gateways[1].port) as there:
                for number in range(sizes.budget_rounds):
                    some = [each.ask(CALLS // 2, f"r{number}") for each in (here, there)]
                    statuses = [*itertools.chain(*await asyncio.gather(*some))]
                    assert statuses.count(200) == BUDGET
                    assert statuses.count(429) == CALLS - BUDGET
                    assert len(upstream.requests) == BUDGET
                    upstream.forget()

        asyncio.run(story())
        for gateway in gateways:
            assert settled(gateway, "round", "r0") == BUDGET
            assert settled(gateway, "soft", "r0") == BUDGET
            assert not gateway.crashes


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_keys_own_budget_holds_wherever_counters_are(server: RedisServer, store: str):
    keys = [
        {"name": name, "hash": sha256(name.encode()).hexdigest(), "budgets": ["60 tokens/day"]}
        for name in ("anna", "ben")
    ]
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        given = shared(upstream, server) if store == "redis" else config(upstream)
        given["enabled"] = ["api_keys", *given["enabled"]]
        given["plugins"]["api_keys"] = {"store": "none", "keys": keys}
        with running_gateway(given) as gateway:

            def ask(key: str) -> int:
                fields = {"Authorization": f"Bearer {key}"}
                body = {**BODY, "max_tokens": 10}
                url = f"{gateway.url}/openai/{CHAT.decode()}"
                return httpx.post(url, json=body, headers=fields, timeout=30).status_code

            statuses = [ask("anna") for _ in range(20)]
            passed = statuses.count(200)
            assert 0 < passed < 20
            assert statuses == [200] * passed + [429] * (20 - passed)
            assert ask("ben") == 200
            assert ask("clara") == 401
            assert len(upstream.requests) == passed + 1
            assert not gateway.crashes


def test_several_workers_need_a_shared_store():
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        given = config(upstream, rule(), server={"workers": 2})
        with pytest.raises(StartFailed) as caught:
            with running_gateway(given):
                pass
        assert 'set server.workers = 1, or plugins.budget.store = "redis://..."' in str(
            caught.value
        )


def test_a_killed_process_gives_back_what_it_held_and_a_live_one_keeps_it(server: RedisServer):
    """Once its leases end, which here they do at once."""
    with ScriptedUpstream(holds, keeps_bodies=False) as upstream, ExitStack() as stack:
        given = shared(upstream, server, rule(limit="20 USD/year"))
        killed, live = [stack.enter_context(running_gateway(given)) for _ in range(2)]

        async def story() -> None:
            async with Callers(killed.port) as one, Callers(live.port) as other:
                await one.ask(15, "a", leave=True)
                await other.ask(5, "a", leave=True)
                await asyncio.to_thread(upstream.wait_for_requests, 20)
                assert await asked(live, 1) == [429]
                killed.kill()
                upstream.script = gives(ANSWER)
                await asyncio.to_thread(end_leases, server, 15)
                patient_until = time.monotonic() + 60
                passed = 0
                while passed < 15:
                    assert time.monotonic() < patient_until
                    passed += (await asked(live, 15)).count(200)
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.5)
                assert await asked(live, 5) == [429] * 5
                assert passed == 15
                other.go()  # what is abandoned is back at once
                patient_until = time.monotonic() + PATIENCE_S
                while passed < 20:
                    assert time.monotonic() < patient_until
                    passed += (await asked(live, 5)).count(200)
                assert await asked(live, 5) == [429] * 5
                assert passed == 20

        asyncio.run(story())


def end_leases(server: RedisServer, count: int) -> None:
    """Let the leases end of a process that has so many; the names of one begin alike."""
    (key,) = [each for each in keys_of(server) if each.endswith('"]l')]
    members = lines(server.ask("ZRANGE", quoted(key), "0", "-1"))
    for member in members:
        if sum(each[:16] == member[:16] for each in members) == count:
            server.ask("ZADD", quoted(key), "1", member)


def keys_of(server: RedisServer) -> list[str]:
    return lines(server.ask("KEYS", "*"))


def lines(answer: str) -> list[str]:
    return answer.split("\r\n")[2::2]


def quoted(key: str) -> str:
    return '"' + key.replace('"', '\\"') + '"'


# -- a store that is away --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["frozen", "dead"])
def test_while_the_store_is_away_each_process_spends_its_share_of_what_was_left(
    server: RedisServer, how: str
):
    with ScriptedUpstream(gives(ANSWER), keeps_bodies=False) as upstream:
        given = shared(upstream, server, rule(limit="20 USD/year"), store_timeout="50ms")
        with running_gateway(given) as gateway:
            url = f"http://127.0.0.1:{gateway.port}/openai/{CHAT.decode()}"
            fields = {"authorization": "Bearer k", "weir-metadata": '{"round": "a"}'}
            with httpx.Client(headers=fields, timeout=10) as client:
                every = []

                def ask() -> httpx.Response:
                    every.append(client.post(url, json=BODY))
                    return every[-1]

                until(lambda: "weir-budget-degraded" not in ask().headers)
                spent = settled(gateway, "round", "a")
                server.freeze() if how == "frozen" else server.kill()
                began = time.monotonic()
                found = [ask() for _ in range(20)]
                assert time.monotonic() - began < 5
                assert found[-1].status_code == 429
                passed = [each for each in found if each.status_code == 200]
                assert 0 < len(passed) <= (20 - spent) // 2 + 1
                assert found[-1].headers["weir-budget-degraded"] == "true"
                assert httpx.get(f"{gateway.admin_url}/livez").status_code == 200
                server.thaw() if how == "frozen" else server.start()
                back = time.monotonic()
                until(lambda: "weir-budget-degraded" not in ask().headers)
                assert time.monotonic() - back < 10
                if how == "frozen":  # what was spent meanwhile is counted there
                    until(lambda: spent_in(gateway) == [e.status_code for e in every].count(200))
                assert not gateway.crashes


def spent_in(gateway: RunningGateway) -> int:
    fields = {"Authorization": f"Bearer {gateway.admin_token}"}
    answer = httpx.get(f"{gateway.admin_url}/api/budgets", headers=fields)
    if answer.status_code == 503:
        assert answer.json()["error"].startswith("The store of budgets is away: ")
        return 0
    return int(budgets(gateway)["round", "a"]["spent"] // USD)


# -- what was spent before -------------------------------------------------------------------------


def with_ledger(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {**given, "enabled": [*ENABLED, "ledger"], "state_dir": str(folder / "state")}


def test_a_store_that_was_flushed_is_filled_from_the_ledger_and_nothing_counts_twice(
    server: RedisServer, tmp_path: Path
):
    """While calls come and go: what all were told is what is counted in the end."""
    rules = (rule(limit="1k USD/year"), rule(name="day", limit="1k USD/day", window="rolling"))
    with ScriptedUpstream(gives(ANSWER), keeps_bodies=False) as upstream:
        given = with_ledger(shared(upstream, server, *rules), tmp_path)
        with running_gateway(given) as gateway:
            gateway.wait_for_log("budgets_read", timeout_s=PATIENCE_S)
            passed = asyncio.run(asked(gateway, 7)).count(200)
            assert passed == 7
            server.ask("FLUSHALL")
            patient_until = time.monotonic() + 5
            while time.monotonic() < patient_until:
                passed += asyncio.run(asked(gateway, 3)).count(200)
                time.sleep(0.02)
            gateway.wait_for_log("budgets_read", 2, timeout_s=PATIENCE_S)
            passed += asyncio.run(asked(gateway, 3)).count(200)
            until(
                lambda: (
                    {key: each["spent"] for key, each in told(gateway, tmp_path).items()}
                    == {("round", "a"): passed * USD, ("day", "a"): passed * USD}
                )
            )
            assert not gateway.crashes


def test_one_of_several_reads_what_was_spent_before(server: RedisServer, tmp_path: Path):
    with ScriptedUpstream(gives(ANSWER)) as upstream:
        tables = config(upstream, rule(), state_dir=str(tmp_path / "state"))
        tables["enabled"] = [*ENABLED, "ledger"]
        with running_gateway(tables) as gateway:
            assert asyncio.run(asked(gateway, 12)) == [200] * 12
        given = with_ledger(shared(upstream, server, rule()), tmp_path)
        with running_gateway({**given, "server": {"workers": 2}}) as gateway:
            assert told(gateway, tmp_path)["round", "a"]["spent"] == 12 * USD
            assert asyncio.run(asked(gateway, CALLS)).count(200) == BUDGET - 12
        with running_gateway(given) as gateway:  # it is there already
            assert told(gateway, tmp_path)["round", "a"]["spent"] == BUDGET * USD
