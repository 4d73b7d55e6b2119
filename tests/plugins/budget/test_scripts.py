"""Redis counts as the memory of one process does, number by number, and forgets what is over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import Script
from plugins.budget.scripts import LIST, RENEW, STALE, UNREAD
from plugins.budget.windows import HOUR_MS, MINUTE_MS
from tests.plugins.budget.pairs import LEASE_MS, NAME, START_MS, Pair, clocked
from tests.redis_server import RedisServer

RULES = st.lists(
    st.fixed_dictionaries(
        {
            "limit": st.builds(
                "{} tokens/{}".format, st.integers(0, 300), st.sampled_from(["minute", "hour"])
            ),
            "window": st.sampled_from(["calendar", "rolling"]),
            "hard": st.booleans(),
            "zone": st.sampled_from(["UTC", "Asia/Kolkata"]),
        }
    ),
    min_size=1,
    max_size=3,
)
WAITS = st.one_of(st.integers(0, 5), st.integers(0, 90_000), st.integers(0, 2 * HOUR_MS))
# A request of so much; or the end of an open one, that used so much.
STEPS = st.lists(
    st.tuples(
        WAITS, st.one_of(st.integers(0, 120), st.tuples(st.integers(0), st.integers(0, 200)))
    ),
    max_size=25,
)
many = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def client(redis_store: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=redis_store.port) as client:
        yield client


@many
@given(rules=RULES, steps=STEPS)
def test_redis_counts_as_memory_does(client, rules, steps):
    """Of several rules all are held or none, spans and steps go, and alerts are told alike."""
    pair = Pair(client, *rules)
    open_: list = []
    for number, (wait, step) in enumerate(steps):
        pair.now_ms += wait
        if isinstance(step, int):
            here, there, holds = pair.take(step, f"n{number}")
            assert here == there
            if not here:
                open_.append((f"n{number}", holds))
        elif open_:
            name, holds = open_.pop(step[0] % len(open_))
            pair.here()  # memory turns a window where somebody asks
            pair.give(name, holds, step[1])
        assert pair.here() == pair.there()
    assert pair.told[0] == pair.told[1]


def test_what_is_held_already_is_held_anew_with_more_or_less(client):
    pair = Pair(client, {"limit": "100 tokens/hour"})
    pair.take(60, "a")
    assert pair.asked("a", [90])[0] == 0
    assert pair.there() == [(0, 90)]
    assert pair.asked("a", [101])[0] == 1
    assert pair.asked("a", [20])[0] == 0
    pair.take(80, "b")
    assert pair.there() == [(0, 100)]


def test_what_is_held_of_a_span_that_is_over_asks_for_nothing(client):
    pair = Pair(client, {"limit": "100 tokens/minute"})
    pair.take(60, "a")
    of = b"%d" % pair.entries[0][1].window.epoch
    pair.now_ms += MINUTE_MS
    assert pair.asked("a", [500], of)[0] == 0
    assert pair.there() == [(0, 0)]


def test_a_span_is_that_of_the_servers_clock(client):
    """Who asks with an older one gets the next, and is told where it is neither."""
    pair = Pair(client, {"limit": "100 tokens/minute"})
    spans = pair.spans()
    pair.spans = lambda: spans  # type: ignore[method-assign]
    pair.now_ms += MINUTE_MS
    first = int(spans[0][2])
    assert pair.asked("a", [30])[2][2] == first
    pair.now_ms += MINUTE_MS
    assert pair.asked("b", [30])[0] == STALE
    pair.now_ms = START_MS - HOUR_MS
    assert pair.asked("b", [30])[0] == STALE


def test_leases_end_and_are_renewed(client):
    pair = Pair(client, {"limit": "100 tokens/hour"}, {"limit": "100 tokens/day"})
    pair.take(60, "a")
    pair.take(30, "b")
    epochs = [tally.window.epoch for _, tally in pair.entries]

    def renew(name: str, amount: int) -> None:
        arguments: list = [LEASE_MS]
        for span, epoch in zip(pair.spans(), epochs, strict=True):
            arguments += [*span, epoch, amount, name, NAME]
        pair.run(RENEW, arguments)

    pair.now_ms = START_MS + 600_000
    renew("b", 30)
    assert pair.there() == [(0, 90), (0, 90)]
    pair.client.zadd(pair.places[0].keys(NAME)[2], {"a": START_MS})
    pair.client.zadd(pair.places[1].keys(NAME)[2], {"a": START_MS})
    assert pair.there() == [(0, 30), (0, 30)]
    renew("a", 60)
    assert pair.there() == [(0, 90), (0, 90)]
    renew("a", 60)
    assert pair.there() == [(0, 90), (0, 90)]
    client.flushdb()
    pair.take(10, "c")
    renew("b", 30)
    assert pair.there() == [(0, 40), (0, 40)]


def test_a_call_that_is_said_twice_is_done_once(client):
    pair = Pair(client, {"limit": "100 tokens/hour"})
    pair.take(60, "a")
    assert len(pair.give("a", [], 40, number=1)) == 2
    assert len(pair.give("a", [], 40, number=1)) == 1
    assert pair.there() == [(40, 0)]


@pytest.mark.parametrize(
    ("calls", "counted"),
    [
        ([(b"d", 40), (b"dr", 40)], 40),
        ([(b"dr", 40), (b"d", 40)], 40),
        ([(b"d", 40), (b"d", 40), (b"dr", 40)], 80),
        ([(b"e", 40), (b"er", 90), (b"dr", 55), (b"dr", 60)], 55),
        ([(b"n", 40), (b"nr", 60), (b"dr", 30), (b"er", 5)], 30),
    ],
)
def test_an_answer_that_is_asked_for_again_is_counted_once(client, calls, counted):
    pair = Pair(client, {"limit": "100 tokens/hour"}, {"limit": "1k tokens/day"})
    for known, used in calls:
        pair.give("", [], used, answer=known, key=b"{weir}:a")
    assert pair.there() == [(counted, 0), (counted, 0)]


def test_nobody_counts_before_it_has_been_read_what_was_spent(client):
    pair = Pair(client, {"limit": "100 tokens/hour"}, reads=True)
    assert pair.asked("a", [30])[0] == UNREAD
    pair.give("", [], 30, ended_us=1)
    marker = pair.places[0].marker
    client.set(marker, f"r 7 {START_MS * 1000} token")
    assert pair.asked("a", [30])[0] == UNREAD
    pair.give("", [], 20, ended_us=START_MS * 1000 - 1)
    pair.give("", [], 5, ended_us=START_MS * 1000)
    client.set(marker, f"d 7 {START_MS * 1000}")
    assert pair.there() == [(5, 0)]
    client.set(marker, f"d 8 {START_MS * 1000}")
    assert pair.there() == [(0, 0)], "counters of another generation are void"
    pair.give("", [], 7, ended_us=START_MS * 1000)
    assert pair.there() == [(7, 0)]


def test_keys_expire_with_the_window_and_the_index_lists_what_counts(client):
    pair = Pair(client, {"limit": "1 USD/hour"}, {"limit": "1 USD/hour", "window": "rolling"})
    pair.take(60, "a")
    ends = [pair.entries[0][1].window.until_ms, pair.entries[1][1].window.until_ms + HOUR_MS]
    for place, end in zip(pair.places, ends, strict=True):
        for key in (*place.keys(NAME)[:3], place.index):
            assert abs(time.time() * 1000 + client.pttl(key) - end) < MINUTE_MS
        assert listed(pair, place.index, LIST) == [NAME]
        pair.now_ms = end
        assert listed(pair, place.index, LIST) == []


def listed(pair: Pair, index: bytes, script: Script) -> list[bytes]:
    clock = {"{weir}:s": pair.now_ms // 1000, "{weir}:us": pair.now_ms % 1000 * 1000}
    pair.client.mset(clock)
    found: list[bytes] = pair.client.eval(clocked(script), 1, index, 10)
    return found


def test_all_keys_of_a_script_are_in_one_place_of_a_cluster(tmp_path):
    with RedisServer(tmp_path, "--cluster-enabled", "yes") as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(16384))
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                pass
            pair = Pair(client, {"limit": "9 tokens/day"}, {"limit": "9 tokens/hour"})
            pair.take(5, "a")
            pair.give("a", [], 4, answer=b"d", key=b"{weir}:a")
            assert pair.there() == [(4, 0), (4, 0)]
