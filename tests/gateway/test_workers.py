"""Workers alone; what they are to their callers is told in tests/whole/test_workers.py."""

from __future__ import annotations

import asyncio
import signal

from gateway.workers import Worker


def test_a_signal_to_nobody_or_to_the_dead_is_none(tmp_path):
    async def story() -> None:
        worker = Worker(0, [], tmp_path / "admin.sock")
        worker.signal(signal.SIGTERM)
        worker.process = process = await asyncio.create_subprocess_exec("sleep", "60")
        worker.signal(signal.SIGTERM)
        assert await process.wait() == -signal.SIGTERM
        worker.signal(signal.SIGTERM)

    asyncio.run(story())
