from __future__ import annotations

import asyncio
import time
from functools import partial

import uvloop

from bench.wheel import Wheel


def run(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def test_nothing_is_called_before_it_is_due_and_order_is_kept():
    calls: list[tuple[int, int]] = []

    def note(due: int) -> None:
        calls.append((due, time.monotonic_ns()))

    async def main():
        wheel, now = Wheel(asyncio.get_running_loop()), time.monotonic_ns()
        for wait_ms in (30, 10, 20, 0):
            due = now + wait_ms * 1_000_000
            wheel.at(due, partial(note, due))
        await asyncio.sleep(0.1)
        return wheel.turning

    still_turning = run(main())
    assert [due for due, _ in calls] == sorted(due for due, _ in calls)
    assert len(calls) == 4
    assert all(called >= due for due, called in calls)
    assert not still_turning


def test_a_call_may_put_itself_back_and_a_resting_wheel_turns_again():
    calls = []

    async def main():
        wheel = Wheel(asyncio.get_running_loop())

        def again():
            calls.append(time.monotonic_ns())
            if len(calls) % 3:
                wheel.at(time.monotonic_ns() + 2_000_000, again)

        for _ in range(2):
            wheel.at(0, again)
            await asyncio.sleep(0.05)

    run(main())
    assert len(calls) == 6
