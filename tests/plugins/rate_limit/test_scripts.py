"""Redis decides as the shapes in memory do, number by number, and forgets what says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway import Script
from plugins.rate_limit.scripts import GIVE, RENEW, TAKE
from plugins.rate_limit.shapes import COUNTERS, SECOND_US, Counter, Shape, loaded
from tests.redis_server import RedisServer

KINDS = ["bucket", "fixed", "sliding"]
# A day off the server's own time, so that nothing expires while the test moves its clock.
START_US = 1_800_000_000 * SECOND_US
WAITS = st.one_of(st.integers(0, 3), st.integers(0, 2 * SECOND_US), st.integers(0, 90 * SECOND_US))
COSTS = st.one_of(st.just(1), st.integers(0, 5), st.integers(0, 200))
# All that is left, and one more than that, is asked for too.
ALL, ONE_MORE = -1, -2
GIVES = st.one_of(st.none(), st.integers(-900, 200))
STEPS = st.lists(
    st.tuples(WAITS, st.one_of(COSTS, st.sampled_from([ALL, ONE_MORE])), GIVES), max_size=25
)
RULES = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(1, 120), st.sampled_from([60, 90, 3600])),
    min_size=1,
    max_size=3,
)
many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def clocked(script: Script) -> str:
    """The script with a clock that the test sets."""
    time = b"{redis.call('GET', '{weir}:s'), redis.call('GET', '{weir}:us')}"
    assert script.text.count(b"redis.call('TIME')") == 1
    return script.text.replace(b"redis.call('TIME')", time).decode()


@pytest.fixture(scope="module")
def client(redis_store: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_store.port) as client:
        yield client


def numbers(shape: Shape, amount: int, last: int) -> list[Any]:
    rate = (shape.amount, shape.tick_us, shape.window, shape.unit, shape.drain)
    return [shape.kind, *rate, amount, last]


class Pair:
    """The same counters in memory and in Redis."""

    def __init__(self, client: redis.Redis, rules: list[tuple[str, int, int]]) -> None:
        self.client = client
        client.flushdb()
        self.shapes = [Shape(*rule) for rule in rules]
        self.counters: list[Counter] = [COUNTERS[shape.kind]() for shape in self.shapes]
        self.keys = [f"{{weir}}:{place}" for place in range(len(rules))]
        self.now_us = START_US
        self.epochs = [0 for _ in rules]  # of what was taken last

    def run(self, script: Script, arguments: list[Any]) -> list[int]:
        clock = {"{weir}:s": self.now_us // SECOND_US, "{weir}:us": self.now_us % SECOND_US}
        self.client.mset(clock)
        reply: Any = self.client.eval(clocked(script), len(self.keys), *self.keys, *arguments)
        return [int(word) for word in reply.split()] if reply else []

    def rooms(self) -> list[int]:
        return [
            counter.room(shape, self.now_us // shape.tick_us)
            for shape, counter in zip(self.shapes, self.counters, strict=True)
        ]

    def take(self, cost: int) -> tuple[int, int]:
        """Who refuses, here and there; 0 for nobody."""
        rooms = self.rooms()
        refusing = next((place + 1 for place, room in enumerate(rooms) if cost > room), 0)
        if not refusing:
            pairs = zip(self.shapes, self.counters, strict=True)
            self.epochs = [counter.take(shape, cost) for shape, counter in pairs]
        arguments = [each for shape in self.shapes for each in numbers(shape, cost, 1)]
        return refusing, self.run(TAKE, ["id", 15 * SECOND_US, *arguments])[0]

    def give(self, back: int) -> None:
        self.rooms()
        arguments = []
        for shape, counter, epoch in zip(self.shapes, self.counters, self.epochs, strict=True):
            counter.give(shape, back, epoch)
            arguments += numbers(shape, back, epoch)
        self.run(GIVE, ["id", "", *arguments])

    def theirs(self) -> list[int]:
        """The rooms that Redis sees."""
        arguments = [each for shape in self.shapes for each in numbers(shape, 0, 0)]
        reply = self.run(TAKE, ["id", 15 * SECOND_US, *arguments])
        found = []
        for place, shape in enumerate(self.shapes):
            counter = loaded(shape.kind, reply[2 + 4 * place : 5 + 4 * place])
            found.append(counter.room(shape, self.now_us // shape.tick_us))
        return found


@many
@given(rules=RULES, steps=STEPS)
@example(rules=[("sliding", 10, 60)], steps=[(0, ALL, None), (75 * SECOND_US, ONE_MORE, None)])
def test_redis_decides_as_memory_does(client, rules, steps):
    """Of several rules all are taken or none; what is given back and debt are in it, too."""
    pair = Pair(client, rules)
    for wait, cost, back in steps:
        pair.now_us += wait
        if cost < 0:
            cost = max(min(pair.rooms()) + ALL - cost, 0)  # noqa: PLW2901 - it is known only now
        here, there = pair.take(cost)
        assert here == there
        if back is not None:
            pair.give(back)
        assert pair.rooms() == pair.theirs()


def test_a_rule_that_only_reports_refuses_nothing_and_takes_what_fits(client):
    pair = Pair(client, [("bucket", 10, 60), ("fixed", 2, 60)])
    shadow = [*numbers(pair.shapes[0], 1, 1), *numbers(pair.shapes[1], 1, 0)]
    replies = [pair.run(TAKE, ["id", 15 * SECOND_US, *shadow]) for _ in range(4)]
    assert [reply[0] for reply in replies] == [0, 0, 0, 0]
    assert [reply[9] for reply in replies] == [1, 1, 0, 0]
    assert pair.theirs()[0] == 6


def test_a_key_expires_once_it_says_nothing(client):
    pair = Pair(client, [("bucket", 10, 60), ("fixed", 10, 60), ("sliding", 10, 60)])
    pair.take(5)
    assert [round(client.pttl(key), -3) for key in pair.keys] == [30_000, 60_000, 120_000]
    pair.give(5)
    assert [client.exists(key) for key in pair.keys] == [0, 0, 0]
    pair.give(-25)
    assert [round(client.pttl(key), -3) for key in pair.keys] == [150_000, 180_000, 240_000]


def test_slots_are_leases_that_end(client):
    client.flushdb()
    slots = Shape("slots", 2, 0)

    def take(name: str) -> int:
        arguments = [name, 200_000, *numbers(slots, 1, 1)]
        return int(client.eval(TAKE.text.decode(), 1, "{weir}:c", *arguments).split()[0])

    assert [take("a"), take("b"), take("c")] == [0, 0, 1]
    client.eval(GIVE.text.decode(), 1, "{weir}:c", "a", "", *numbers(slots, 1, 0))
    assert [take("c"), take("d")] == [0, 1]
    client.eval(RENEW.text.decode(), 1, "{weir}:c", 60 * SECOND_US, "b")
    until = client.pttl("{weir}:c")
    assert until > 50_000
    while take("e"):  # once c's lease is over
        pass
    assert take("f") == 1
    assert client.zrange("{weir}:c", 0, -1) == [b"e", b"b"]


def test_all_keys_of_a_script_are_in_one_place_of_a_cluster(tmp_path):
    with RedisServer(tmp_path, "--cluster-enabled", "yes") as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(16384))
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                pass
            shape = Shape("bucket", 5, 60)
            keys = ["{weir}:a:1:x", "{weir}:b:1:y"]
            arguments = ["id", 1, *numbers(shape, 1, 1), *numbers(shape, 1, 1)]
            assert client.eval(TAKE.text.decode(), 2, *keys, *arguments).startswith(b"0 ")
