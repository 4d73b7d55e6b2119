"""Each shape lets through exactly what a slow model does, and debt is paid before anything else."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.rate_limit.shapes import (
    COUNTERS,
    DEBT_WINDOWS_MAX,
    SECOND_US,
    Counter,
    Shape,
    Sliding,
    Slots,
)
from tests.plugins.rate_limit.model import MODELS, fits

KINDS = sorted(MODELS)
# Waits and amounts: mostly small ones, where limits are met.
WAITS = st.one_of(st.integers(0, 3), st.integers(0, 2 * SECOND_US), st.integers(0, 90 * SECOND_US))
COSTS = st.one_of(st.just(1), st.integers(0, 5), st.integers(0, 200))
ASKED = st.lists(st.tuples(WAITS, COSTS), max_size=40)


class Subject:
    """A counter with its clock."""

    def __init__(self, kind: str, amount: int, window_s: int = 60) -> None:
        self.shape = Shape(kind, amount, window_s)
        self.counter: Counter = COUNTERS[kind]()
        self.now = 0
        self.epoch = 0  # of what was taken last

    def at(self, seconds: float) -> Subject:
        self.now = int(seconds * SECOND_US)
        return self

    def room(self) -> int:
        return self.counter.room(self.shape, self.now // self.shape.tick_us)

    def ask(self, cost: int = 1) -> bool:
        if cost > self.room():
            return False
        self.epoch = self.counter.take(self.shape, cost)
        return True

    def give(self, amount: int, epoch: int = 0) -> None:
        self.room()
        self.counter.give(self.shape, amount, epoch)

    def wait_s(self, cost: int = 1) -> Fraction:
        self.room()
        ticks = self.counter.wait(self.shape, cost)
        return Fraction(ticks * self.shape.tick_us, SECOND_US)


@pytest.mark.parametrize("kind", KINDS)
@given(asked=ASKED, amount=st.integers(1, 120), window_s=st.sampled_from([1, 7, 60]), start=WAITS)
def test_a_shape_lets_through_what_its_model_does(kind, asked, amount, window_s, start):
    subject = Subject(kind, amount, window_s)
    subject.now = start
    log: list[tuple[int, int]] = []
    for wait, cost in asked:
        subject.now += wait
        expected = fits(kind, amount, window_s * SECOND_US, log, subject.now, cost)
        assert subject.ask(cost) == expected
        if expected and cost:
            log.append((subject.now, cost))


@pytest.mark.parametrize("kind", KINDS)
@given(asked=ASKED, amount=st.integers(1, 120), debt=st.integers(0, 1500), cost=st.integers(1, 120))
def test_what_a_refusal_says_to_wait_is_as_long_as_it_takes(kind, asked, amount, debt, cost):
    subject = Subject(kind, amount)
    for wait, some in asked:
        subject.now += wait
        subject.ask(some)
    subject.give(-debt, -1)
    cost = min(cost, amount)
    subject.room()
    wait = subject.counter.wait(subject.shape, cost)
    assert (wait == 0) == (cost <= subject.room())
    if wait:
        subject.now += wait - 1
        assert subject.room() < cost
        subject.now += 1
        assert subject.room() >= cost


@pytest.mark.parametrize("kind", KINDS)
@given(asked=ASKED, amount=st.integers(1, 120), debt=st.integers(0, 1500))
def test_a_counter_is_as_good_as_new_when_it_says_so(kind, asked, amount, debt):
    subject = Subject(kind, amount)
    for wait, some in asked:
        subject.now += wait
        subject.ask(some)
    subject.give(-debt, -1)
    subject.room()
    reset = subject.counter.reset(subject.shape)
    subject.now += reset
    assert subject.room() == amount
    assert subject.counter.reset(subject.shape) == 0
    if reset:
        assert subject.room() == amount


# -- debt, and what is given back ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_debt_is_paid_one_limit_a_window(kind):
    subject = Subject(kind, 100).at(1)
    assert subject.ask(100)
    subject.give(-250, subject.epoch)
    waits = {"bucket": 60 * 2.5 + 0.6, "fixed": 180, "sliding": 180 + 60 * 0.5 + 0.6}
    # The sliding window's third holds 50 of the debt, and its second weighs in.
    assert float(subject.wait_s()) == pytest.approx(waits[kind], abs=61)
    subject.at(1 + 149)
    assert not subject.ask()
    subject.at(1 + 301)
    assert subject.ask()


@pytest.mark.parametrize("kind", KINDS)
def test_debt_has_an_end(kind):
    subject = Subject(kind, 100).at(1)
    subject.ask(1)
    subject.give(-(10**12), subject.epoch)
    assert subject.wait_s() <= (DEBT_WINDOWS_MAX + 2) * 60


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_back_can_be_taken_again(kind):
    subject = Subject(kind, 100).at(1)
    assert subject.ask(90)
    epoch = subject.epoch
    assert not subject.ask(20)
    subject.give(80, epoch)
    assert subject.ask(90)
    assert not subject.ask(1)


def test_what_is_given_back_late_does_not_touch_the_next_window():
    subject = Subject("fixed", 100).at(1)
    assert subject.ask(90)
    epoch = subject.epoch
    assert subject.at(62).ask(100)
    subject.give(90, epoch)
    assert not subject.ask(1)


def test_what_is_given_back_late_weighs_less_in_a_sliding_one():
    subject = Subject("sliding", 100).at(0)
    assert subject.ask(90)
    epoch = subject.epoch
    assert subject.at(60).room() == 10
    subject.give(90, epoch)
    assert subject.room() == 100
    subject.at(200).ask(1)
    subject.give(90, epoch)
    assert isinstance(subject.counter, Sliding)
    assert subject.counter.used == 1


@given(
    asked=st.lists(st.tuples(WAITS, st.integers(0, 100), st.integers(0, 100), WAITS), max_size=30)
)
def test_a_bucket_never_grants_more_than_it_holds_and_drains(asked):
    """Tokens are reserved, and what was not used is given back at any later time."""
    subject, amount = Subject("bucket", 100), 100
    reserved: list[tuple[int, int]] = []
    used: list[tuple[int, int]] = []
    due: list[tuple[int, int]] = []
    for wait, cost, real, lasting in asked:
        subject.now += wait
        for at, back in sorted(each for each in due if each[0] <= subject.now):
            due.remove((at, back))
            subject.give(back)
        if subject.ask(cost):
            reserved.append((subject.now, cost))
            used.append((subject.now, min(cost, real)))
            due.append((subject.now + lasting, cost - min(cost, real)))
    drained = Fraction(amount, 60 * SECOND_US)
    for first in range(len(used)):
        for last in range(first, len(used)):
            span = used[last][0] - used[first][0]
            assert sum(some for _, some in used[first : last + 1]) <= amount + drained * span


def test_a_clock_that_goes_back_grants_nothing():
    for kind in KINDS:
        subject = Subject(kind, 3).at(100)
        assert [subject.ask() for _ in range(4)] == [True, True, True, False]
        assert not subject.at(50).ask()
        assert not subject.at(101).ask(3)


def test_slots_are_counted_and_given_back():
    subject = Subject("slots", 2, 0)
    assert [subject.ask() for _ in range(3)] == [True, True, False]
    assert subject.wait_s() == 1
    subject.give(1)
    assert subject.ask()
    assert isinstance(subject.counter, Slots)
    assert subject.counter.used == 2


# -- the largest numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("amount", "window_s"),
    [(10**9, 86_400), (999_983, 366 * 86_400), (10**12, 60), (1, 1), (10**6, 30 * 86_400)],
)
def test_numbers_stay_below_what_lua_counts_exactly(kind, amount, window_s):
    shape = Shape(kind, amount, window_s)
    assert shape.window * shape.tick_us == window_s * SECOND_US
    assert shape.most < 2**53
    if kind == "sliding":
        assert shape.amount * shape.window < 2**53
    if kind == "bucket":
        assert Fraction(shape.drain, shape.unit) == Fraction(amount, shape.window)


def test_what_cannot_be_counted_exactly_is_refused():
    with pytest.raises(ValueError, match="too large"):
        Shape("bucket", 10**15 - 1, 86_399)


# -- the worst -------------------------------------------------------------------------------------

LIMIT = 50
TICKS = 300  # of a window of a minute
# Of a limit of 50: what passes at one moment, in a tenth of a window, and in a window. The README
# has the same.
WORST = {"bucket": (50, 54, 99), "fixed": (50, 99, 99), "sliding": (50, 53, 98)}


def got(kind: str, amount: int, ticks: int, wanted: Iterable[int]) -> list[int]:
    """What one gets who comes at each tick for so much, or for what there is."""
    subject = Subject(kind, amount)
    found = []
    for place, some in enumerate(wanted):
        subject.now = (place + 1) * 60 * SECOND_US // ticks
        taken = min(some, subject.room())
        assert subject.ask(taken)
        found.append(taken)
    return found


def most(found: list[int], span: int) -> int:
    return max(sum(found[place : place + span]) for place in range(len(found)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_that_passes_in_a_true_window(kind, capsys):
    """One who asks for a little, waits for so long, and from then on for all that there is."""
    spans = (1, TICKS // 10, TICKS)
    found = [0, 0, 0]
    for first in (1, LIMIT):
        for waits in (*range(1, TICKS, 20), *range(TICKS - 4, TICKS + 1)):
            wanted = [first, *([0] * (waits - 1)), *([LIMIT] * (TICKS + TICKS // 5))]
            passed = got(kind, LIMIT, TICKS, wanted)
            found = [max(most(passed, span), best) for span, best in zip(spans, found, strict=True)]
    with capsys.disabled():
        print(f"\n{kind}, {LIMIT}/min: at once {found[0]}, in 6 s {found[1]}, in 60 s {found[2]}")
    assert tuple(found) == WORST[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_way_of_asking_gets_more(kind):
    amount, ticks = 4, 5
    ways = itertools.product((1, amount), *[(0, amount)] * (2 * ticks - 1))
    found = max(most(got(kind, amount, ticks, wanted), ticks) for wanted in ways)
    assert found <= 2 * amount - (2 if kind == "sliding" else 1)
