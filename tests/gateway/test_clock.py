"""One timer asks everything that is watched; a Date is made once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from gateway.clock import QUICK_TICK_S, TICK_S, Clock, date
from tests.gateway.ends import run


class Item:
    """Counts the times it was asked, and does something each time."""

    def __init__(self, does: Callable[[Item], None] = lambda _: None) -> None:
        self.asked_ns: list[int] = []
        self.does = does

    def check(self, now_ns: int) -> None:
        self.asked_ns.append(now_ns)
        self.does(self)


def clock() -> Clock:
    return Clock(asyncio.get_running_loop())


def test_what_is_watched_is_asked_once_a_tick_with_the_time():
    async def story() -> list[int]:
        made, item = clock(), Item()
        made.watch(item)
        await asyncio.sleep(TICK_S * 2.6)
        made.close()
        return item.asked_ns

    before = time.monotonic_ns()
    asked = run(story())

    assert len(asked) == 2
    assert before < asked[0] < asked[1] < time.monotonic_ns()
    assert (asked[1] - asked[0]) / 1e9 > TICK_S * 0.9


def test_what_is_watched_twice_is_asked_once():
    async def story() -> int:
        made, item = clock(), Item()
        made.watch(item)
        made.watch(item)
        await asyncio.sleep(TICK_S * 1.5)
        made.close()
        return len(item.asked_ns)

    assert run(story()) == 1


def test_one_that_leaves_while_it_is_asked_is_not_asked_again():
    async def story() -> tuple[int, int]:
        made = clock()
        leaving, staying = Item(made.unwatch), Item()
        for item in (leaving, staying):
            made.watch(item)
        await asyncio.sleep(TICK_S * 2.6)
        made.close()
        return len(leaving.asked_ns), len(staying.asked_ns)

    assert run(story()) == (1, 2)


def test_one_that_brings_another_does_not_disturb_the_round():
    async def story() -> tuple[int, int]:
        made, late = clock(), Item()
        first = Item(lambda _: made.watch(late))
        made.watch(first)
        await asyncio.sleep(TICK_S * 2.6)
        made.close()
        return len(first.asked_ns), len(late.asked_ns)

    assert run(story()) == (2, 1)


def test_a_clock_that_ran_out_of_what_to_watch_can_be_woken():
    async def story() -> tuple[int, int]:
        made, first, second = clock(), Item(), Item()
        made.watch(first)
        made.unwatch(first)
        await asyncio.sleep(TICK_S * 1.5)
        made.watch(second)
        await asyncio.sleep(TICK_S * 1.5)
        made.close()
        return len(first.asked_ns), len(second.asked_ns)

    assert run(story()) == (0, 1)


def test_what_is_watched_quickly_is_asked_often_and_the_rest_is_not():
    async def story() -> tuple[int, int]:
        made, quick, slow = clock(), Item(), Item()
        made.watch(slow)
        made.watch_quickly(quick)
        await asyncio.sleep(QUICK_TICK_S * 5.5)
        made.close()
        return len(quick.asked_ns), len(slow.asked_ns)

    quick, slow = run(story())
    assert 2 <= quick <= 5
    assert slow == 0


def test_the_quick_tick_finds_a_departure_within_the_promised_100_ms():
    assert QUICK_TICK_S < 0.1


def test_one_can_be_watched_both_ways_and_leave_the_quick_one_alone():
    async def story() -> tuple[int, int]:
        made, item = clock(), Item()
        made.watch(item)
        made.watch_quickly(item)
        await asyncio.sleep(QUICK_TICK_S * 2.5)
        made.unwatch_quickly(item)
        quick = len(item.asked_ns)
        await asyncio.sleep(TICK_S * 1.2)
        made.close()
        return quick, len(item.asked_ns)

    quick, all_of_them = run(story())
    assert 1 <= quick <= 2
    assert all_of_them == quick + 1


def test_to_leave_is_to_leave_both():
    async def story() -> int:
        made, item = clock(), Item()
        made.watch(item)
        made.watch_quickly(item)
        made.unwatch(item)
        await asyncio.sleep(TICK_S * 1.5)
        made.close()
        return len(item.asked_ns)

    assert run(story()) == 0


def test_to_leave_without_having_come_is_nothing():
    async def story() -> None:
        made = clock()
        made.unwatch(Item())
        made.unwatch_quickly(Item())
        made.close()

    run(story())


def test_a_closed_clock_asks_nobody():
    async def story() -> int:
        made, item = clock(), Item()
        made.watch(item)
        made.watch_quickly(item)
        made.close()
        await asyncio.sleep(TICK_S * 1.5)
        return len(item.asked_ns)

    assert run(story()) == 0


def test_one_that_fails_stops_nobody_elses_deadlines():
    async def story() -> tuple[int, list[str]]:
        heard: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: heard.append(repr(context.get("exception")))
        )
        made = clock()
        others = [Item() for _ in range(8)]

        def fails(_: Item) -> None:
            raise LookupError("on purpose")

        for item in (*others[:4], Item(fails), *others[4:]):
            made.watch(item)
        await asyncio.sleep(TICK_S * 2.6)
        made.close()
        return min(len(item.asked_ns) for item in others), heard

    assert run(story())[0] == 2


def test_the_date_is_now_in_the_one_form_that_is_written():
    written = date()

    assert abs(parsedate_to_datetime(written.decode()).timestamp() - time.time()) < 2
    assert written.endswith(b" GMT")
    assert len(written) == len(b"Sun, 06 Nov 1994 08:49:37 GMT")


def test_the_date_is_made_once_a_second():
    def same_twice() -> bool:
        return date() is date()

    assert same_twice() or same_twice()  # a second may turn between two calls, but not twice
    first = date()
    time.sleep(1.05)
    assert date() != first
