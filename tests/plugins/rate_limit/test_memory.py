"""All of a request's rules are taken or none, and what is idle costs no memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from gateway import Exchange, Subject
from gateway.testing import exchange
from plugins.rate_limit.holds import Note, Ready
from plugins.rate_limit.memory import STEP, Crowded, Memory, Refused, monotonic_us
from plugins.rate_limit.rules import Limit, Rule
from plugins.rate_limit.shapes import SECOND_US


class House:
    """A memory whose clock is set, and the limits that are asked."""

    def __init__(self, *limits: dict[str, Any], counters_max: int = 100_000) -> None:
        defaults = {"scope": "key", "limit": "5/min"}
        self.limits = [
            Limit(Rule(**{"name": f"r{place}", **defaults, **keys}))
            for place, keys in enumerate(limits)
        ]
        self.now_us = 10 * SECOND_US
        self.over: list[tuple[str, Subject]] = []
        self.memory = Memory(
            counters_max, lambda limit, subject: self.over.append((limit.name, subject)), self.clock
        )

    def clock(self) -> int:
        return self.now_us

    def ask(self, key: str = "k", **facts: Any) -> Note:
        note = Note(Ready())
        self.memory.take(self.made(key, **facts), note, self.limits, "openai")
        return note

    def made(self, key: str, *, team: str | None = None, depth: int = 0) -> Exchange:
        made = exchange(body=b"{}")
        made.known().key_id = key
        made.known().team = team
        made.depth = depth
        return made

    def let_in(self, count: int, **facts: Any) -> int:
        passed = 0
        for _ in range(count):
            try:
                self.ask(**facts)
                passed += 1
            except Refused:
                pass
        return passed

    def swept(self) -> int:
        while self.memory.sweep():
            pass
        while self.memory.sweep():
            pass
        return self.memory.count


def test_all_rules_are_taken_or_none():
    house = House({}, {"limit": "3/min", "scope": "team"})
    assert house.let_in(10, key="a", team="t") == 3
    assert house.let_in(10, key="b", team="t") == 0
    assert house.let_in(10, key="b") == 5
    assert house.let_in(10, key="a") == 2


def test_a_refusal_names_the_rule_and_the_time():
    house = House({}, {"limit": "3/min", "scope": "team"})
    house.let_in(3, team="t")
    with pytest.raises(Refused) as caught:
        house.ask(team="t")
    assert caught.value.wish.limit.name == "r1"
    assert (caught.value.room, caught.value.wait_us) == (0, 20 * SECOND_US)
    assert caught.value.reset_us == 60 * SECOND_US


def test_what_is_more_than_a_whole_limit_never_fits():
    house = House({"limit": "100 tokens/min", "output_default": 0})
    made = exchange(body=b'{"max_tokens": 500}')
    made.known().key_id = "k"
    with pytest.raises(Refused) as caught:
        house.memory.take(made, Note(Ready()), house.limits, None)
    assert caught.value.wait_us is None


def test_a_rule_in_shadow_mode_only_tells():
    house = House({"mode": "shadow", "limit": "2/min"}, {"limit": "4/min"})
    assert house.let_in(10) == 4
    assert house.over == [("r0", "k")] * 8
    house.now_us += 60 * SECOND_US
    assert house.let_in(1) == 1
    assert len(house.over) == 8


def test_a_request_without_a_subject_is_not_under_the_rule():
    house = House({"scope": "team", "limit": "1/min"})
    assert house.let_in(5) == 5
    assert house.memory.count == 0


def test_a_child_uses_its_parents_slot():
    house = House({"limit": "1 concurrent"})
    assert house.let_in(2) == 1
    assert house.let_in(2, depth=1) == 2


def test_what_is_held_says_what_is_left():
    house = House({}, {"limit": "100 tokens/min", "output_default": 10})
    note = house.ask()
    assert note.requests is not None
    assert note.tokens is not None
    assert (note.requests.left, note.tokens.left) == (4, 89)
    assert note.requests.counter is not None
    assert note.requests.limit.reset_us(note.requests.counter) == 12 * SECOND_US


def test_an_idle_subject_costs_nothing_after_its_window():
    house = House({}, {"shape": "fixed"}, {"shape": "sliding"}, {"limit": "5 concurrent"})
    count = 2 * STEP
    held = [house.ask(f"k{number}") for number in range(count)]
    assert house.swept() == 4 * count
    for note in held[1:]:
        house.memory.give(note.holds[3], 1)
    house.now_us += 60 * SECOND_US
    assert house.swept() == count + 1  # a sliding window counts for one more
    house.now_us += 60 * SECOND_US
    assert house.swept() == 1
    house.memory.give(held[0].holds[3], 1)
    assert house.swept() == 0
    assert all(not limit.counters for limit in house.limits)


def test_memory_is_given_back():
    house = House({})
    tracemalloc.start()
    try:
        for number in range(3000):
            house.ask(f"k{number}")
        full = tracemalloc.get_traced_memory()[0]
        house.now_us += 60 * SECOND_US
        house.swept()
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert left < full / 2


def test_the_number_of_counters_is_bounded():
    house = House({"limit": "1/min"}, counters_max=3)
    for number in range(3):
        house.ask(f"k{number}")
    with pytest.raises(Crowded):
        house.ask("k3")
    house.now_us += 60 * SECOND_US
    house.ask("k3")
    assert house.memory.count == 1


def test_a_rule_that_only_reports_counts_nobody_where_there_is_no_room():
    house = House({"mode": "shadow"}, counters_max=1)
    house.ask("a")
    assert house.ask("b").holds == []


def test_debt_is_not_forgotten_with_an_idle_counter():
    house = House({"limit": "100 tokens/min", "output_default": 0})
    note = house.ask()
    house.now_us += 60 * SECOND_US
    assert house.swept() == 0
    house.memory.give(note.holds[0], -150)
    assert house.memory.count == 1
    with pytest.raises(Refused):
        house.ask()
    again = house.memory
    house.now_us += 91 * SECOND_US
    house.ask()
    assert again.count == 1


def test_debt_goes_to_the_counter_that_is_there_now():
    house = House({"limit": "100 tokens/min", "output_default": 0})
    note = house.ask()
    house.now_us += 60 * SECOND_US
    house.swept()
    house.ask()
    house.memory.give(note.holds[0], -150)
    assert house.memory.count == 1
    with pytest.raises(Refused):
        house.ask()


def test_the_clock_does_not_jump():
    assert monotonic_us() <= monotonic_us()
