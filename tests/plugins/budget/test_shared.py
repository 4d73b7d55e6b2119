"""Processes share counters in Redis, each lets in its share while that is away, nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import CallerFault, Exchange, GatewayError, OwnFault, RedisLink, Splitter, Usage
from gateway.testing import exchange
from gateway.testing.exchanges import attempt_of
from plugins.budget.book import Book
from plugins.budget.counters import Store
from plugins.budget.demand import demand_of
from plugins.budget.foreseeing import Foreseeing
from plugins.budget.holds import Note
from plugins.budget.marking import CLAIM
from plugins.budget.owing import OWED_MAX
from plugins.budget.places import held_of
from plugins.budget.rules import Limit, Rule
from plugins.budget.scripts import GIVE, LIST, RENEW, TAKE
from plugins.budget.shared import SharedDesk
from plugins.budget.shares import Shares
from plugins.budget.showing import shown
from plugins.budget.windows import window_of, zone_of
from tests.redis_server import RedisServer

PATIENCE_S = 20.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


class Node:
    """One process of `nodes`, under some rules."""

    def __init__(
        self,
        server: RedisServer,
        *rules: dict[str, Any],
        nodes: int = 2,
        refuses: bool = False,
        deadline_s: float = 5.0,
    ) -> None:
        self.link = RedisLink(
            server.url,
            (TAKE, GIVE, RENEW, LIST, CLAIM),
            deadline_s=deadline_s,
            on_up=self.up,
        )
        self.book = Book(Shares(nodes, 100))
        store = Store(100, self.book.clock)
        self.told: list[float] = []
        self.desk = SharedDesk(store, self.tell, self.link, self.book, refuses=refuses)
        entries = []
        for number, keys in enumerate(rules):
            rule = Rule(**{"name": f"r{number}", "scope": "gateway", **keys})
            limit = Limit(rule)
            make = partial(window_of, limit.period, rule.window, zone_of(rule.zone))
            entries.append((limit, store.tally(limit.key, make)))
        self.entries = tuple(entries)

    def up(self) -> None:
        self.desk.settling.owing.pay()
        self.book.renew_now.set()

    def tell(self, limit: Limit, _: Any, counter: Any) -> None:
        self.told.append(limit.shares[counter.told - 1])

    async def ask(self, cost: int = 10) -> tuple[Exchange, Note]:
        """Hold so much; give the exchange and its note."""
        made = exchange(body=b'{"max_tokens": %d, "model": "m"}' % cost)
        demand = demand_of(made)
        assert demand is not None
        demand.input = 0
        note = Note(demand, self.entries)
        await self.desk.ask(made, note, "openai")
        return made, note

    async def passed(self, count: int, cost: int = 10) -> int:
        found = 0
        for _ in range(count):
            try:
                await self.ask(cost)
            except CallerFault:
                continue
            found += 1
        return found

    def end(self, made: Exchange, note: Note, used: int) -> None:
        attempt_of(made).usage = of(used)
        self.desk.settle(made, note)

    async def standing(self) -> list[tuple[int, int]]:
        """Spent and reserved under each rule."""
        report = await shown(self.link, self.book, self.entries)
        some = [each.subjects for each in report.rules]
        return [(each[0].spent, each[0].reserved) if each else (0, 0) for each in some]


def of(tokens: int) -> Usage:
    usage = Usage()
    usage.output_text = tokens
    return usage


def run(story: Callable[..., Awaitable[None]], *nodes: Node) -> None:
    async def whole() -> None:
        async with AsyncExitStack() as stack:
            for node in nodes:
                await stack.enter_async_context(node.link.running())
            keeping = [asyncio.create_task(node.desk.leases.keep()) for node in nodes]
            try:
                await story(*nodes)
            finally:
                for task in keeping:
                    task.cancel()

    asyncio.run(whole())


async def until(true: Callable[[], Any]) -> None:
    patient_until = time.monotonic() + PATIENCE_S
    while True:
        found = true()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < patient_until
        await asyncio.sleep(0.02)


def test_two_processes_share_a_budget_and_what_is_settled_makes_room(server):
    async def story(one: Node, other: Node) -> None:
        asked = [await node.ask(40) for node in (one, other)]
        with pytest.raises(CallerFault, match="has 20 tokens of 100 tokens/day left, and this"):
            await other.ask(40)
        one.end(*asked[0], 15)
        await until(lambda: standing(one, [(15, 40)]))
        assert await other.passed(2, 40) == 1

    rule = {"limit": "100 tokens/day"}
    run(story, Node(server, rule), Node(server, rule))


async def standing(node: Node, wanted: list[tuple[int, int]]) -> bool:
    return await node.standing() == wanted


def test_of_several_rules_all_are_held_or_none(server):
    async def story(one: Node) -> None:
        assert await one.passed(5, 30) == 2
        assert await one.standing() == [(0, 60), (0, 60), (0, 60)]

    rules = ({"limit": "1k tokens/day"}, {"limit": "70 tokens/day", "window": "rolling"})
    run(story, Node(server, *rules, {"limit": "1 tokens/day", "hard": False}))


def test_an_alert_is_told_once_among_all(server):
    async def story(one: Node, other: Node) -> None:
        for node in (one, other, one, other):
            node.end(*await node.ask(20), 20)
            await until(lambda: not len(one.desk.settling.owing))
            await until(lambda: not len(other.desk.settling.owing))
        assert sorted(one.told + other.told) == [0.5, 0.8]

    rule = {"limit": "100 tokens/day"}
    run(story, Node(server, rule), Node(server, rule))


def test_leases_of_a_process_that_is_gone_end_and_live_ones_are_renewed(server):
    """With leases of a moment, which are of a quarter of a minute."""

    async def story(one: Node, other: Node) -> None:
        for node in (one, other):
            node.desk.leases.lease_s, node.desk.leases.renew_s = 0.6, 0.1
            node.book.renew_now.set()
        await one.ask(90)
        await asyncio.sleep(1.5)
        assert await other.passed(1, 20) == 0, "what a live one holds has ended"
        one.desk.leases.live.clear()  # as if it were gone
        await until(lambda: other.passed(1, 20))

    rule = {"limit": "100 tokens/day"}
    run(story, Node(server, rule), Node(server, rule))


def test_a_store_that_forgot_all_is_told_what_lives(server):
    async def story(one: Node) -> None:
        await one.ask(90)
        server.ask("FLUSHALL")
        await one.ask(1)
        await until(lambda: standing(one, [(0, 91)]))

    run(story, Node(server, {"limit": "100 tokens/day"}))


def test_a_clock_that_is_wrong_by_years_counts_in_the_servers_span(server):
    async def story(one: Node, other: Node) -> None:
        other.book.hear_clock(0)
        assert [await one.passed(1, 60), await other.passed(1, 60)] == [1, 0]
        assert abs(other.book.clock() - one.book.clock()) < 60_000

    rule = {"limit": "100 tokens/day"}
    run(story, Node(server, rule), Node(server, rule))


def test_who_leaves_while_it_is_asked_gives_back_what_was_held_late(server):
    async def story(one: Node) -> None:
        await one.ask(10)
        server.freeze()
        made = exchange(body=b'{"max_tokens": 50}')
        demand = demand_of(made)
        assert demand is not None
        note = Note(demand, one.entries)
        task = asyncio.ensure_future(one.desk.ask(made, note, "openai"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        one.desk.settle(made, note)
        server.thaw()
        await until(lambda: one.link.is_up)
        await until(lambda: not len(one.desk.settling.owing))
        assert await one.standing() == [(0, 10)]

    run(story, Node(server, {"limit": "100 tokens/day"}))


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_while_the_store_is_away_a_process_lets_in_its_share_of_what_was_left(server, how):
    async def story(one: Node) -> None:
        made, note = await one.ask(40)
        getattr(server, how)()
        assert await one.passed(10) == 3
        assert not note.is_degraded
        one.end(made, note, 40)
        assert await one.passed(10) == 0
        server.thaw() if how == "freeze" else server.start()
        await until(lambda: one.link.is_up)
        _, back = await one.ask(10)
        assert not back.is_degraded

    run(story, Node(server, {"limit": "100 tokens/day"}, deadline_s=0.1))


def test_where_rules_say_so_nobody_passes_without_the_store(server):
    async def story(one: Node) -> None:
        server.kill()
        await until(lambda: not one.link.is_up)
        with pytest.raises(OwnFault) as fault:
            await one.ask()
        assert (fault.value.status, fault.value.code) == (503, "budget_unavailable")

    run(story, Node(server, {"limit": "100 tokens/day"}, refuses=True))


def test_what_is_spent_is_counted_once_though_connections_break(server):
    async def story(one: Node) -> None:
        total = 0
        for number in range(60):
            made, note = await one.ask(10)
            if number % 20 == 10:  # it is not done any more what is said now
                server.ask("CLIENT", "PAUSE", "300", "WRITE")
            one.end(made, note, number)
            total += number
            if number % 20 == 10:
                await asyncio.sleep(0.05)
                server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await until(lambda: one.link.is_up)
        await until(lambda: one.link.is_up and not len(one.desk.settling.owing))
        assert await one.standing() == [(total, 0)]

    run(story, Node(server, {"limit": "10M tokens/day", "alerts": []}, deadline_s=1.0))


def test_what_waits_for_the_store_is_bounded(server):
    async def story(one: Node) -> None:
        await one.ask()
        server.kill()
        await until(lambda: not one.link.is_up)
        made, note = await one.ask()
        held = held_of(note.holds[0])
        for _ in range(OWED_MAX + 5):
            one.desk.settling.give(made, b"k", [held])
        assert len(one.desk.settling.owing) == OWED_MAX

    run(story, Node(server, {"limit": "100 tokens/day"}))


def test_nobody_is_let_in_before_it_has_been_read_what_was_spent(server):
    async def story(one: Node) -> None:
        one.book.reads = True
        asked: list[int] = []
        one.desk.unread = lambda: asked.append(1)
        with pytest.raises(GatewayError, match="still reading what was spent before"):
            await one.ask()
        assert asked

    run(story, Node(server, {"limit": "100 tokens/day"}))


# -- while it runs ---------------------------------------------------------------------------------


def events(count: int) -> Iterator[bytes]:
    """Each of about two tokens."""
    for number in range(count):
        delta = {"content": f" word{number:03d}"}
        document = {"id": "c", "choices": [{"index": 0, "delta": delta}]}
        yield b"data: " + orjson.dumps(document) + b"\n\n"


def test_a_stream_asks_for_more_ahead_and_ends_where_the_budget_does(server):
    stops: list[Any] = []

    class Line:
        def stop(self, outcome: str, tail: bytes) -> None:
            stops.append(tail)

    async def story(one: Node, other: Node) -> None:
        made, note = await one.ask(16)
        made.line = Line()  # type: ignore[assignment]
        ceiling = Foreseeing(one.desk, made, note, 16, Splitter())
        sent = 0
        for event in events(3000):
            sent += bool(ceiling.feed(event))
            await asyncio.sleep(0)
            if ceiling.is_over:
                break
            while ceiling._asking is not None and not ceiling._asking.done():
                await asyncio.sleep(0)
        assert stops
        assert 1024 < ceiling.held <= 2000
        assert ceiling.tokens - 4 <= ceiling.held
        assert await other.passed(1, 2000 - ceiling.held + 1) == 0

    rule = {"limit": "2k tokens/day", "stop_in_flight": True}
    run(story, Node(server, rule), Node(server, rule))


def test_a_session_is_ended_where_another_process_has_left_no_room(server):
    async def story(one: Node, other: Node) -> None:
        ended: list[str] = []
        made, note = await one.ask(10)
        demand = note.demand
        one.desk.renew(made, note, of(30), demand, lambda it: ended.append(it.name))
        await until(lambda: standing(one, [(0, 40)]))
        assert await other.passed(1, 60) == 1
        one.desk.renew(made, note, of(31), demand, lambda it: ended.append(it.name))
        await until(lambda: ended)
        assert ended == ["r0"]
        assert await one.standing() == [(0, 100)]

    rule = {"limit": "100 tokens/day"}
    run(story, Node(server, rule), Node(server, rule))
