"""Every answer says where the time went."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from gateway import Attempt, Exchange, Head, Headers, UpstreamFault
from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    running_gateway,
    sized,
)
from plugins.timing import Config, Plugin

MS = 1_000_000
METRIC = re.compile(r"([\w-]+);dur=(\d+\.\d{3})")
# Takes its time in a phase of the caller's choice.
SLOW = """
import asyncio
from gateway import hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    async def prepare(self, exchange):
        if exchange.headers.get(b"x-slow") is not None:
            await asyncio.sleep(0.05)
"""


def slowly(visit: Visit) -> None:
    visit.read()
    visit.pause(0.05)
    visit.send(sized(b"{}", (b"Server-Timing", b'db;dur=53, cache;desc="hit"')))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    slow = tmp_path_factory.mktemp("plugins") / "slow.py"
    slow.write_text(SLOW)
    with ScriptedUpstream(slowly) as upstream:
        config = {"providers": {"openai": upstream.provider()}}
        with running_gateway(config, plugins=["metadata", slow, "timing"]) as made:
            yield made


def metrics(written: bytes) -> dict[str, float]:
    parts = [METRIC.fullmatch(part) for part in written.decode().split(", ")]
    assert None not in parts, written
    return {part[1]: float(part[2]) for part in parts if part is not None}


def timings(answer: RawAnswer) -> list[bytes]:
    return [value for name, value in answer.fields if name.lower() == b"server-timing"]


def test_an_answer_tells_gateway_plugins_connect_and_upstream_apart(gateway):
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/models", (b"x-slow", b"1"))
        first = metrics(timings(caller.answer())[-1])
        caller.request(b"GET", b"/openai/v1/models")
        second = metrics(timings(caller.answer())[-1])
    assert list(first) == ["gateway", "plugin-metadata", "plugin-slow", "connect", "upstream"]
    assert first["upstream"] >= 50
    assert first["plugin-slow"] >= 50
    assert first["gateway"] >= first["plugin-slow"]
    # The connection was kept, and nothing of the upstream's time is ours.
    assert list(second) == ["gateway", "plugin-metadata", "plugin-slow", "upstream"]
    assert second["gateway"] < 50


def test_an_upstreams_own_timing_stays_in_a_field_of_its_own(gateway):
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/models")
        first, second = timings(caller.answer())
    assert first == b'db;dur=53, cache;desc="hit"'
    assert second.startswith(b"gateway;dur=")


def test_an_answer_of_our_own_has_no_upstream_in_it(gateway):
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/nobody/x")
        (written,) = timings(caller.answer())
    assert list(metrics(written)) == ["gateway"]


# -- the sums, without a clock ---------------------------------------------------------------------


class Somewhere:
    """As much of a provider as an attempt looks at."""

    connect_timeout = first_byte_timeout = idle_timeout = 0

    def __init__(self) -> None:
        self.provider = self


def attempt(started: int, connected: int | None, sent: int | None, first: int | None) -> Attempt:
    made = Attempt(0, Somewhere(), Headers(), b"", started)  # type: ignore[arg-type]
    made.connected_ns, made.sent_ns, made.first_byte_ns = connected, sent, first
    if first is None:
        made.failure = UpstreamFault("It did not answer.")
    return made


def written(age: int, *attempts: tuple[int, int | None, int | None, int | None]) -> dict:
    """Give what is said of an exchange that began `age` ms ago; times are ms since then."""
    exchange = Exchange(b"GET", b"/x", "1.1", Headers(), "unix")
    begun = exchange.started_ns = time.monotonic_ns() - age * MS
    exchange.attempts = [
        attempt(begun + s * MS, *(None if t is None else begun + t * MS for t in rest))
        for s, *rest in attempts
    ]
    head = Head(200, b"OK", Headers())
    Plugin(Config()).answer(exchange, head)
    return metrics(head.headers.get(b"server-timing") or b"")


def test_the_times_of_all_attempts_are_summed_up():
    # 10 ms of ours, 20 to connect, 300 to no answer; 5 of ours, then 70 on a kept connection.
    found = written(405, (10, 30, 30, None), (330, None, 335, 405))
    assert found["connect"] == 20
    assert found["upstream"] == 370
    assert 15 <= found["gateway"] < 40


def test_an_attempt_that_found_no_connection_spent_its_time_on_that():
    found = written(5000, (0, None, None, None))
    assert found["connect"] >= 5000
    assert "upstream" not in found
    assert found["gateway"] == 0
