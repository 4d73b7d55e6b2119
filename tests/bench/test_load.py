"""The load generator against the mock upstream in another thread: does it count what happened?"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from bench.load import measure
from bench.options import Options
from bench.script import parse
from bench.spread import Spread
from bench.upstream import Mock


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    ready = threading.Event()
    ports: list[Any] = []

    async def main() -> None:
        server = await Mock(asyncio.get_running_loop()).listen()
        ports.extend((server.sockets[0].getsockname()[1], asyncio.get_running_loop()))
        ready.set()
        await server.serve_forever()

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main())
            except asyncio.CancelledError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait(5)
    port, loop = ports
    yield f"http://127.0.0.1:{port}/v1/chat/completions"
    loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    thread.join(5)
    assert not thread.is_alive()


def ask(address: str, script: str = "json=600", **rest) -> Options:
    wanted = {"seconds": 0.3, "warm_s": 0.05, "connections": 4, **rest}
    return Options(url=address, script=parse(script), **wanted)


def there(found: Spread | None) -> Spread:
    assert found is not None
    return found


def test_a_closed_loop_counts_what_was_answered(address):
    found = measure(ask(address, pid=os.getpid()))
    latency = there(found.latency_us)
    assert found.requests == latency.count > 50
    assert found.errors == {}
    assert 0 < latency.p50 <= latency.p99 <= latency.most
    assert found.cpu_us_request > 0


def test_an_open_loop_keeps_its_rate(address):
    found = measure(ask(address, rate=200, seconds=0.5))
    assert 70 <= found.requests <= 130
    assert found.errors == {}


def test_an_open_loop_counts_the_wait_from_when_a_request_was_due(address):
    found = measure(ask(address, "json=600 wait=50", rate=100, connections=1, seconds=0.6))
    # One connection serves twenty a second: the last of them waited most of the run.
    assert there(found.latency_us).most > 300_000


def test_streams_give_first_events_gaps_and_the_way_of_each_event(address):
    found = measure(ask(address, "sse=5 gap=10", seconds=0.5))
    assert found.errors == {}
    first, gap, way = map(there, (found.ttft_us, found.gap_us, found.added_us))
    assert found.chunks == way.count == first.count + gap.count
    assert 8_000 < gap.p50 < 40_000
    assert 0 < way.p50 < 50_000
    assert first.p50 < 50_000


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("sse=5 gap=1 fault=cut after=2", "cut"),
        ("sse=5 gap=1 fault=reset after=2", "reset"),
        ("json=600 fault=cut after=10", "cut"),
        ("json=600 status=429", "status 429"),
    ],
)
def test_a_fault_is_counted_and_never_as_an_answer(address, script, error):
    found = measure(ask(address, script))
    assert found.requests == 0
    assert set(found.errors) == {error}


def test_a_body_of_another_size_is_no_answer(address):
    found = measure(ask(f"{address}?x-bench=json=700", "json=10"))
    assert set(found.errors) == {"wrong body"}


def test_who_hangs_when_the_window_closes_is_an_error(address):
    found = measure(ask(address, "json=600 fault=stall after=10", seconds=2.2, connections=2))
    assert found.errors == {"unanswered": 2}


def test_nobody_listening_is_an_error():
    found = measure(ask("http://127.0.0.1:9/", connections=1))
    assert set(found.errors) == {"connect"}
