"""Processes share counters in Redis, and each counts for itself while that is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import exchange
from plugins.rate_limit.holds import Note, Ready
from plugins.rate_limit.memory import Memory, Refused
from plugins.rate_limit.reporting import Report
from plugins.rate_limit.rules import Limit, Rule
from plugins.rate_limit.shared import OWED_MAX, Shared, Unknown
from tests.redis_server import RedisServer

PATIENCE_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


class Node:
    """One process: its store, and the limits that are asked, shared by `nodes` of them."""

    def __init__(
        self,
        server: RedisServer,
        *limits: dict[str, Any],
        nodes: int = 2,
        refuses: bool = False,
        deadline_s: float = 0.05,
    ) -> None:
        self.limits = []
        for place, keys in enumerate(limits):
            rule = Rule(**{"name": f"r{place}", "scope": "key", "limit": "6/hour", **keys})
            self.limits.append(Limit(rule))
            self.limits[-1].local = Limit(rule, nodes)
        report = Report()
        self.memory = Memory(100, report.over)
        self.shared = Shared(
            server.url,
            self.memory,
            report,
            user="",
            password=None,
            deadline_s=deadline_s,
            refuses=refuses,
        )
        self.shared.renew_s = 0.2
        self.notes: list[Note] = []

    async def ask(self, key: str = "k") -> bool:
        made = exchange(body=b'{"max_tokens": 4}')
        made.known().key_id = key
        note = Note(Ready())
        try:
            await self.shared.take(made, note, self.limits, None)
        except Refused:
            return False
        self.notes.append(note)
        return True

    async def let_in(self, count: int) -> int:
        return sum([await self.ask() for _ in range(count)])

    def end(self, note: Note, back: int = 1) -> None:
        """Give back so much of everything."""
        for hold in note.holds:
            if hold.counter is not None:
                self.memory.give(hold, back)
        held = [(hold, back) for hold in note.holds if hold.counter is None]
        self.shared.give(note, held)


def told(story: Callable[..., Any], *nodes: Node) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.shared.running())
            await story(*nodes)

    asyncio.run(run())


async def until(true: Callable[[], Any]) -> None:
    patient_until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < patient_until
        await asyncio.sleep(0.02)


def test_two_nodes_share_a_limit(server):
    async def story(one: Node, other: Node) -> None:
        assert [await one.let_in(4), await other.let_in(4)] == [4, 2]

    told(story, Node(server, {}), Node(server, {}))


def test_what_is_given_back_is_back_before_the_next_one_asks(server):
    async def story(one: Node) -> None:
        for _ in range(200):
            assert await one.ask()
            one.end(one.notes.pop())

    told(story, Node(server, {"limit": "1 concurrent"}, {"limit": "1/day"}))


def test_debt_is_everybodys(server):
    async def story(one: Node, other: Node) -> None:
        assert await one.ask()
        one.end(one.notes.pop(), -500)
        assert await one.let_in(1) == 0
        assert await other.let_in(1) == 0

    rule = {"limit": "100 tokens/hour"}
    told(story, Node(server, rule), Node(server, rule))


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_while_the_store_is_away_a_node_lets_its_share_through(server, how):
    async def story(one: Node) -> None:
        assert await one.let_in(1) == 1
        getattr(server, how)()
        began = time.monotonic()
        assert await one.let_in(10) == 3
        assert time.monotonic() - began < 1
        assert one.notes[-1].is_degraded
        server.thaw() if how == "freeze" else server.start()
        await until(lambda: one.shared.link.is_up)
        assert await one.let_in(10) >= (5 if how == "kill" else 1)
        assert not one.notes[-1].is_degraded

    told(story, Node(server, {}))


def test_where_rules_say_so_nobody_passes_without_the_store(server):
    async def story(one: Node) -> None:
        server.kill()
        await until(lambda: not one.shared.link.is_up)
        with pytest.raises(Unknown):
            await one.ask()

    told(story, Node(server, {}, refuses=True))


def test_what_was_taken_too_late_is_given_back(server):
    """The server wakes up and takes what nobody waits for any more."""

    async def story(one: Node) -> None:
        server.freeze()
        assert await one.ask()  # by its share
        task = asyncio.ensure_future(one.ask())
        await asyncio.sleep(0)
        task.cancel()
        server.thaw()
        await until(lambda: one.shared.link.is_up)
        await until(lambda: server.ask("KEYS", "*") == "*0\r\n")
        assert await one.let_in(10) == 2

    told(story, Node(server, {"limit": "2 concurrent"}, {"limit": "50/hour"}))


def test_what_is_given_back_while_the_store_is_away_comes_in_later(server):
    async def story(one: Node) -> None:
        assert await one.let_in(2) == 2
        server.freeze()
        await one.let_in(5)
        for note in one.notes:
            one.end(note)
        server.thaw()
        await until(lambda: one.shared.link.is_up and not one.shared._owed)
        assert await one.let_in(3) == 2
        assert one.shared._leases.keys() == {note.key for note in one.notes[-2:]}

    told(story, Node(server, {"limit": "2 concurrent"}))


def test_what_waits_for_the_store_is_bounded(server):
    async def story(one: Node) -> None:
        assert await one.ask()
        server.kill()
        await until(lambda: not one.shared.link.is_up)
        for _ in range(OWED_MAX + 5):
            one.end(one.notes[0])
        assert len(one.shared._owed) == OWED_MAX

    told(story, Node(server, {}))


def test_slots_of_a_node_that_is_gone_expire_and_live_ones_are_renewed(server):
    """With leases of a moment, which `shared` has for a quarter of a minute."""

    async def story(one: Node, other: Node) -> None:
        for node in (one, other):
            node.shared.lease_s = 0.6
        assert await one.ask()
        assert not await other.ask()
        await asyncio.sleep(1.2)
        assert not await other.ask(), "a slot that is held has expired"
        one.shared._leases.clear()  # as if it were gone
        await asyncio.sleep(1.2)
        assert await other.ask()

    told(story, *(Node(server, {"limit": "1 concurrent"}) for _ in range(2)))


def test_a_flush_takes_no_slot_from_who_holds_it(server):
    async def story(one: Node) -> None:
        one.shared.lease_s = 0.6
        assert await one.ask()
        server.ask("FLUSHALL")
        await until(lambda: server.ask("KEYS", "*") != "*0\r\n")
        assert not await one.ask()

    told(story, Node(server, {"limit": "1 concurrent"}))


def test_what_is_given_back_at_the_very_end_arrives(server):
    async def story(one: Node) -> None:
        assert await one.ask()
        one.end(one.notes[0])

    told(story, Node(server, {"limit": "1 concurrent"}))
    assert server.ask("KEYS", "*") == "*0\r\n"


def test_who_leaves_in_the_very_moment_of_the_reply_holds_nothing(server):
    async def story(one: Node) -> None:
        for turns in range(100):
            task = asyncio.ensure_future(one.ask())
            await asyncio.sleep(0)
            while one.shared.link._unsent or one.shared.link._calls:
                await asyncio.sleep(0)
            for _ in range(turns % 3):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                assert task.result(), "a slot was not given back"
                one.end(one.notes.pop())

    told(story, Node(server, {"limit": "1 concurrent"}))
    assert server.ask("KEYS", "*") == "*0\r\n"
