"""Workers alone; what they are to their callers is told in tests/whole/test_workers.py."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gateway.workers import Worker, back_off_s


@pytest.mark.parametrize(
    ("early_deaths", "wait_s"), [(0, 0), (1, 0), (2, 0.3), (3, 0.9), (4, 2.1), (9, 10), (5000, 10)]
)
def test_whoever_dies_again_and_again_waits_longer_but_never_for_good(early_deaths, wait_s):
    assert back_off_s(early_deaths) == pytest.approx(wait_s)


def test_a_signal_to_nobody_or_to_the_dead_is_none(tmp_path):
    async def story() -> None:
        worker = Worker(0, [], tmp_path / "admin.sock")
        worker.signal(signal.SIGTERM)
        worker.process = process = await asyncio.create_subprocess_exec("sleep", "60")
        worker.signal(signal.SIGTERM)
        assert await process.wait() == -signal.SIGTERM
        worker.signal(signal.SIGTERM)

    asyncio.run(story())
