"""A counter is the sum of what was reserved and spent, whatever came in between."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from plugins.budget.counters import Store, Tally
from plugins.budget.holds import Hold
from plugins.budget.rules import Limit, Rule
from plugins.budget.windows import HOUR_MS, MINUTE_MS, Calendar, Rolling, Window

START_MS = 500_000 * HOUR_MS + 12_345
LIMIT = Limit(Rule(name="r", scope="team", limit="1000 tokens/minute"))


def window_of(kind: str) -> Window:
    return Rolling("minute") if kind == "rolling" else Calendar("minute", UTC)


class Counting(RuleBasedStateMachine):
    """Requests reserve, hold more, settle and release, while time goes on and back a little.

    The model is a list of all requests with when they began. What a counter says is the sum of
    those whose span is the present one, or whose step still lies in the window.
    """

    @initialize(kind=st.sampled_from(["calendar", "rolling"]))
    def begin(self, kind: str) -> None:
        self.now = START_MS
        self.store = Store(1000, lambda: self.now)
        self.tally: Tally = self.store.tally((kind,), lambda: window_of(kind))
        self.requests: list[dict[str, Any]] = []

    @rule(amount=st.integers(0, 500), subject=st.sampled_from("ab"))
    def reserve(self, amount: int, subject: str) -> None:
        self.tally.turn(self.now)
        counter = self.store.counter(self.tally, subject)
        assert counter is not None
        hold = Hold(LIMIT, self.tally, counter, counter.epoch, amount)
        counter.add(hold.epoch, amount, 0)
        self.requests.append(
            {"hold": hold, "epoch": counter.epoch, "of": subject, "held": amount, "spent": 0}
        )

    @precondition(lambda self: any(each["hold"] for each in self.requests))
    @rule(data=st.data(), spent=st.integers(0, 700))
    def settle(self, data: st.DataObject, spent: int) -> None:
        request = data.draw(st.sampled_from([each for each in self.requests if each["hold"]]))
        hold = request["hold"]
        hold.counter.add(hold.epoch, -hold.amount, spent)
        request.update(hold=None, held=0, spent=spent)

    @precondition(lambda self: any(each["hold"] for each in self.requests))
    @rule(data=st.data(), more=st.integers(0, 50))
    def grow(self, data: st.DataObject, more: int) -> None:
        request = data.draw(st.sampled_from([each for each in self.requests if each["hold"]]))
        request["hold"].grow(more)
        request["held"] += more

    @rule(ms=st.sampled_from([-500, 1, 999, 5_000, 30_000, MINUTE_MS, 3 * MINUTE_MS]))
    def wait(self, ms: int) -> None:
        self.now += ms

    @invariant()
    def it_is_the_sum(self) -> None:
        if not hasattr(self, "tally"):
            return
        self.tally.turn(self.now)
        window = self.tally.window
        oldest = window.epoch - window.steps if isinstance(window, Rolling) else window.epoch
        for subject, counter in self.tally.counters.items():
            counter.turn(window)
            mine = [r for r in self.requests if r["of"] == subject and r["epoch"] >= oldest]
            assert counter.reserved == sum(each["held"] for each in mine)
            assert counter.spent == sum(each["spent"] for each in mine)


def test_any_interleaving():
    run_state_machine_as_test(Counting, settings=settings(stateful_step_count=60, deadline=None))


@pytest.mark.parametrize("kind", ["calendar", "rolling"])
def test_counters_that_hold_nothing_make_room_and_others_do_not(kind):
    now = START_MS
    store = Store(2, lambda: now)
    tally = store.tally(("x",), lambda: window_of(kind))
    first, second = store.counter(tally, "a"), store.counter(tally, "b")
    assert first is not None
    assert second is not None
    first.add(first.epoch, 0, 5)
    second.add(second.epoch, 5, 0)
    assert store.counter(tally, "c") is None
    second.add(second.epoch, -5, 0)
    now += 2_000  # a search in vain is not repeated at once
    assert store.counter(tally, "c") is not None
    assert set(tally.counters) == {"a", "c"}
    assert store.count == 2
    now += 3 * MINUTE_MS  # what it holds is over
    assert store.counter(tally, "d") is not None
    assert store.counter(tally, "e") is not None
    assert store.count == 2


def test_a_counter_that_is_about_to_be_used_is_not_let_go():
    store = Store(1, lambda: START_MS)
    tally = store.tally(("x",), lambda: window_of("calendar"))
    other = store.tally(("y",), lambda: window_of("calendar"))
    first = store.counter(tally, "a")
    assert first is not None
    assert store.counter(other, "a", [first]) is None
    assert tally.counters == {"a": first}


def test_tallies_without_a_rule_go():
    store = Store(10, lambda: START_MS)
    for key in ("x", "y"):
        store.counter(store.tally((key,), lambda: window_of("calendar")), "a")
    store.keep([("y",)])
    assert store.count == 1
    assert store.tally(("x",), lambda: window_of("calendar")).counters == {}


def test_room_comes_when_enough_has_left_a_rolling_window():
    now = START_MS
    store = Store(10, lambda: now)
    tally = store.tally(("x",), lambda: window_of("rolling"))
    window = tally.window
    assert isinstance(window, Rolling)
    first = window.epoch
    counter = store.counter(tally, "a")
    assert counter is not None
    for _ in range(3):
        tally.turn(now)
        counter.turn(window)
        counter.add(counter.epoch, 0, 300)
        now += 10_000
    assert counter.resets_ms(window) == window.leaves_ms(first)
    assert counter.room_at(window, 1000, 150) == window.leaves_ms(first)
    assert counter.room_at(window, 1000, 500) == window.leaves_ms(first + 10)
    assert counter.room_at(window, 1000, 1001) is None
