"""Disks fill up, databases freeze, workers die: what the ledger promised holds all the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gateway.testing import RunningGateway, running_gateway
from tests.whole.ledgers import (
    BEGUN,
    BROKEN,
    ENDED,
    REFUSED,
    Callers,
    Upstream,
    compared,
    configured,
    read,
    recover,
    witnessing,
)
from tests.whole.lives import until

IN_FLIGHT = 10
MEMORY_BYTES_MAX = 30_000_000
SHIPPED_WITHIN_S = 60.0


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with witnessing(tmp_path) as found:
        yield found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def readiness(gateway: RunningGateway) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(gateway.admin_url + "/readyz", timeout=5) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def files_end_at(gateway: RunningGateway, size: int) -> None:
    """Let no file of the gateway grow beyond so many bytes, as on a disk that is full."""
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def ask_for(callers: Callers, gateway: RunningGateway, seconds: float) -> None:
    asyncio.run(callers.ask_until(gateway.port, IN_FLIGHT, lambda: asyncio.sleep(seconds)))


def hear_out(callers: Callers, gateway: RunningGateway, count: int = 1) -> list[str]:
    """Ask so often, at once, and hear each to its end."""

    async def ask() -> list[str]:
        return await asyncio.gather(*(callers.ask(gateway.port) for _ in range(count)))

    return asyncio.run(ask())


def test_while_the_journal_fails_new_requests_are_refused_and_nothing_is_lost(upstream, state):
    callers = Callers()

    async def story(gateway: RunningGateway) -> None:
        in_flight = [asyncio.ensure_future(callers.ask(gateway.port)) for _ in range(5)]
        while len(callers.those(BEGUN)) < 5:
            await asyncio.sleep(0.01)
        files_end_at(gateway, 1)
        assert await callers.ask(gateway.port) == REFUSED
        status, text = await asyncio.to_thread(readiness, gateway)
        assert (status, text.startswith("ledger: the journal cannot be written")) == (503, True)
        assert await asyncio.gather(*in_flight) == [ENDED] * 5
        files_end_at(gateway, resource.RLIM_INFINITY)
        assert await asyncio.to_thread(until, lambda: readiness(gateway)[0] == 200)
        assert await callers.ask(gateway.port) == ENDED

    with running_gateway(configured(upstream.port, state)) as gateway:
        asyncio.run(story(gateway))
        assert gateway.stop() == 0
    assert len(upstream.seen) == 6  # the refused one never went up
    assert compared(callers, upstream.seen, read(state)) == []
    assert list((state / "journal").glob("*.journal")) == []


def test_a_refusal_for_want_of_a_journal_says_when_to_come_again(upstream, state):
    with running_gateway(configured(upstream.port, state)) as gateway:
        files_end_at(gateway, 1)
        asked = urllib.request.Request(
            f"{gateway.url}/openai/v1/chat/completions", b"{}", {"x-n": "1", "x-kind": "whole"}
        )
        with pytest.raises(urllib.error.HTTPError) as fault:
            urllib.request.urlopen(asked, timeout=5)
        with fault.value as answer:
            assert (answer.code, answer.headers["Retry-After"]) == (503, "5")
            assert b"ledger_unavailable" in answer.read()
        files_end_at(gateway, resource.RLIM_INFINITY)


def test_a_store_without_room_waits_and_nothing_is_lost(upstream, state):
    callers = Callers()
    with running_gateway(configured(upstream.port, state)) as gateway:
        hear_out(callers, gateway)
        files_end_at(gateway, 100_000)  # the journal is far from there
        for _ in range(2):
            assert set(hear_out(callers, gateway, 20)) == {ENDED}
        gateway.wait_for_log("ledger_store_away")
        assert readiness(gateway)[0] == 200
        files_end_at(gateway, resource.RLIM_INFINITY)
        gateway.wait_for_log("ledger_store_back", timeout_s=20)
        assert gateway.stop() == 0
    assert compared(callers, upstream.seen, read(state)) == []
    assert len(read(state).rows) == 41


def test_a_store_that_another_process_locks_waits_and_nothing_is_lost(upstream, state, sizes):
    callers = Callers()
    with running_gateway(configured(upstream.port, state)) as gateway:
        hear_out(callers, gateway)
        with contextlib.closing(sqlite3.connect(state / "ledger.db", timeout=20)) as other:
            other.execute("BEGIN IMMEDIATE")
            ask_for(callers, gateway, min(sizes.store_away_s, 10))
            before = len(read(state).rows)
            other.execute("ROLLBACK")
        assert before <= 1
        assert readiness(gateway)[0] == 200
        assert gateway.stop() == 0
    assert compared(callers, upstream.seen, read(state)) == []
    assert len(read(state).rows) > 10


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_a_database_that_is_away_loses_nothing_and_costs_no_memory(
    how, upstream, state, sizes, postgres, capsys
):
    address = postgres.database()
    callers = Callers()
    away_s = sizes.store_away_s if how == "killed" else sizes.store_away_s / 5
    with running_gateway(configured(upstream.port, state, address)) as gateway:
        hear_out(callers, gateway, 20)
        ask_for(callers, gateway, 1)
        before = gateway.memory_bytes()
        (postgres.freeze if how == "frozen" else postgres.kill)()
        try:
            ask_for(callers, gateway, away_s)
            grown = gateway.memory_bytes() - before
            assert readiness(gateway)[0] == 200
        finally:
            (postgres.thaw if how == "frozen" else postgres.start)()
        back = time.monotonic()
        wanted = len(set(upstream.seen))
        assert until(lambda: len(read(state, address).rows) >= wanted, SHIPPED_WITHIN_S)
        took = time.monotonic() - back
        assert gateway.stop() == 0
    with capsys.disabled():
        print(
            f"\n{how} for {away_s} s: {wanted} rows {took:.1f} s later, {grown / 1e6:.1f} MB more"
        )
    assert compared(callers, upstream.seen, read(state, address)) == []
    assert grown < MEMORY_BYTES_MAX


def test_a_stop_while_the_database_is_frozen_leaves_the_rest_to_the_next_start(
    upstream, state, postgres
):
    address = postgres.database()
    callers = Callers()
    with running_gateway(configured(upstream.port, state, address)) as gateway:
        hear_out(callers, gateway)
        postgres.freeze()
        try:
            ask_for(callers, gateway, 0.5)
            assert gateway.stop(30) == 0
        finally:
            postgres.thaw()
    recover(state, address)
    assert compared(callers, upstream.seen, read(state, address)) == []
    assert [row for row in read(state, address).rows if row["outcome"] == "orphaned"] == []


def stop(gateway: RunningGateway) -> None:
    gateway.signal(signal.SIGTERM)


def stop_at_once(gateway: RunningGateway) -> None:
    gateway.signal(signal.SIGTERM)
    gateway.signal(signal.SIGTERM)


def reload_and_stop(gateway: RunningGateway) -> None:
    for _ in range(3):
        gateway.signal(signal.SIGHUP)
        time.sleep(0.02)
    gateway.signal(signal.SIGTERM)


@pytest.mark.parametrize("how", [stop, stop_at_once, reload_and_stop])
def test_a_stop_at_any_moment_loses_nothing_and_orphans_nobody(how, upstream, state, sizes):
    callers = Callers()
    random_ = random.Random(how.__name__)
    for n in range(max(1, sizes.kills // 10)):

        async def story(gateway: RunningGateway, end: Callable[[RunningGateway], None]) -> None:
            async def work() -> None:
                await asyncio.sleep(random_.uniform(0.2, 0.7))
                await asyncio.to_thread(end, gateway)
                await asyncio.to_thread(gateway.wait, 30)

            await callers.ask_until(gateway.port, IN_FLIGHT, work)

        with running_gateway(
            configured(upstream.port, state, server={"workers": 1 + n % 2})
        ) as gateway:
            asyncio.run(story(gateway, how))
            assert gateway.process.returncode == 0
    found = read(state)  # nobody had to recover anything
    assert compared(callers, upstream.seen, found) == []
    assert [row["outcome"] for row in found.rows if row["outcome"] == "orphaned"] == []
    assert list((state / "journal").glob("*.journal")) == []


def test_a_worker_that_is_killed_orphans_its_own_and_no_row_of_the_living(upstream, state, sizes):
    callers = Callers()
    config = configured(upstream.port, state, server={"workers": 2})
    kills = max(2, sizes.kills // 20)
    with running_gateway(config) as gateway:

        async def work() -> None:
            for n in range(kills):
                await asyncio.sleep(0.4)
                # One that dies before it is ready never says that it is.
                await asyncio.to_thread(gateway.wait_for_log, "worker_ready", 2 + n, 30)
                workers = psutil.Process(gateway.pid).children()
                random.choice(workers).kill()
            await asyncio.sleep(0.8)

        async def story() -> None:
            async def again() -> None:
                while True:
                    await callers.ask(gateway.port)

            asking = [asyncio.ensure_future(again()) for _ in range(IN_FLIGHT)]
            await work()
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            for number in callers.in_flight:
                callers.states[number] = BROKEN

        asyncio.run(story())
        # Who died was seen to while the others went on.
        gateway.wait_for_log("worker_ready", 2 + kills, timeout_s=30)
        assert until(lambda: len(list((state / "journal").glob("*.journal"))) <= 2, 30)
        assert gateway.stop() == 0
    found = read(state)
    assert compared(callers, upstream.seen, found) == []
    assert len(callers.those(ENDED)) > 10
