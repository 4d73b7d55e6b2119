"""What one process lets in by itself: its share of what was left, as long as that is known."""

from __future__ import annotations

from functools import partial

from plugins.budget.book import Book
from plugins.budget.counters import Store
from plugins.budget.places import Held
from plugins.budget.rules import Limit, Rule
from plugins.budget.shares import Shares
from plugins.budget.windows import HOUR_MS, window_of, zone_of

NOW_MS = 1_794_980_445_000


def holds(shares: Shares, *subjects: str, window: str = "calendar") -> list[Held]:
    rule = Rule(name="r", scope="team", limit="100 tokens/hour", window=window)  # type: ignore[arg-type]
    limit = Limit(rule)
    store = Store(10, lambda: NOW_MS)
    tally = store.tally(limit.key, partial(window_of, limit.period, window, zone_of("UTC")))
    book = Book(shares)
    found = [book.hold(limit, tally, subject, None) for subject in subjects]
    tally.turn(NOW_MS)
    return found


def test_a_share_is_of_the_whole_or_of_what_was_left():
    shares = Shares(4, 10)
    (hold,) = holds(shares, "a")
    assert shares.room(hold, NOW_MS) == 25
    shares.hear(hold, 60, NOW_MS)
    assert shares.room(hold, NOW_MS) == 10
    shares.hear(hold, 160, NOW_MS)
    assert shares.room(hold, NOW_MS) == 0


def test_what_is_let_in_counts_until_the_store_is_heard_of():
    shares = Shares(1, 10)
    (hold,) = holds(shares, "a")
    shares.take(hold, 30, NOW_MS)
    assert shares.room(hold, NOW_MS) == 70
    shares.give(hold, 10, NOW_MS)
    assert shares.room(hold, NOW_MS) == 90
    shares.give(hold, 10, NOW_MS)  # it has given all
    assert shares.room(hold, NOW_MS) == 90
    shares.hear(hold, 10, NOW_MS)
    assert shares.room(hold, NOW_MS) == 90


def test_what_was_heard_counts_for_its_window():
    for window in ("calendar", "rolling"):
        shares = Shares(1, 10)
        (hold,) = holds(shares, "a", window=window)
        shares.hear(hold, 60, NOW_MS)
        hold.tally.turn(NOW_MS + 3 * HOUR_MS)
        assert shares.room(hold, NOW_MS + 3 * HOUR_MS) == 100


def test_the_latest_are_remembered():
    shares = Shares(1, 2)
    first, second, third = holds(shares, "a", "b", "c")
    for hold in (first, second, third):
        shares.hear(hold, 60, NOW_MS)
    assert [shares.room(hold, NOW_MS) for hold in (third, second, first)] == [40, 40, 100]
