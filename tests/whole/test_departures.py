"""The third promise: when the caller leaves, the upstream's connection is aborted at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    answers,
    chunk,
    head,
    running_gateway,
)
from tests.sizes import Sizes

# An upstream that has not seen it by then will not see it.
NEVER_S = 3.0
STREAM = head(200, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
# Counts the tasks of the gateway's loop, and the objects that only its garbage collector can free
# or that are still in use.
PLUGIN = """
import asyncio
import gc

import msgspec

from gateway import Reply, hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Plugin:
    def __init__(self, config):
        pass

    @hookimpl
    async def authenticate(self, exchange):
        if exchange.target.endswith(b"/counts"):
            counts = b"%d %d" % (len(asyncio.all_tasks()), len(gc.get_objects()))
            return Reply(200, counts, outcome="complete")
"""


# -- what the upstream is doing --------------------------------------------------------------------


def thinks(visit: Visit) -> None:
    visit.read()
    visit.wait_gone()


def streams_on(visit: Visit) -> None:
    visit.read()
    visit.send(STREAM)
    while visit.connection.gone_ns is None:
        visit.send(chunk(b"data: 1\n\n"))
        visit.pause(0.005)


def fell_silent(visit: Visit) -> None:
    visit.read()
    visit.send(STREAM + chunk(b"data: 1\n\n"))
    visit.wait_gone()


def is_slow_with_a_whole_body(visit: Visit) -> None:
    visit.read()
    visit.send(head(200, (b"Content-Length", b"1000")) + b"x" * 10)
    visit.wait_gone()


def reads_the_upload(visit: Visit) -> None:
    for _ in visit.request.pieces():
        pass


def does_not_read(visit: Visit) -> None:
    visit.wait_gone()


def floods(visit: Visit) -> None:
    visit.read()
    visit.send(STREAM)
    while visit.connection.gone_ns is None:
        visit.send(chunk(b"x" * 50_000))


# -- what the caller does before it leaves ---------------------------------------------------------


def asks(caller: RawCaller, gateway: RunningGateway) -> None:
    caller.request(b"POST", b"/openai/v1/chat/completions", body=b"{}")


def asks_and_reads(caller: RawCaller, gateway: RunningGateway) -> None:
    asks(caller, gateway)
    assert caller.answer_head().status == 200
    next(caller.wire.sized(1))


def asks_and_does_not_read(caller: RawCaller, gateway: RunningGateway) -> None:
    asks(caller, gateway)
    wait_until_still(lambda: _queue(caller, gateway, "tx"))


def uploads(caller: RawCaller, gateway: RunningGateway) -> None:
    caller.request(b"POST", b"/openai/v1/files", (b"Content-Length", b"1000000"))
    caller.send(b"x" * 1000)


def uploads_until_paused(caller: RawCaller, gateway: RunningGateway) -> None:
    """Send until the gateway has stopped reading, but no more than its kernel still takes."""
    caller.request(b"POST", b"/openai/v1/files", (b"Content-Length", b"1000000000"))
    while _queue(caller, gateway, "rx") == 0:
        caller.send(b"x" * 100_000)
        for _ in range(10):
            if _queue(caller, gateway, "rx") == 0:
                break
            time.sleep(0.01)


def wait_until_still(measure: Callable[[], int]) -> None:
    """Wait until a number above 0 has not changed for a while."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 0.15 or last == 0:
        now = measure()
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.01)


def _queue(caller: RawCaller, gateway: RunningGateway, which: str) -> int:
    """Give the bytes in the kernel's queue of the gateway's end of this caller's connection."""
    pair = rf": 0100007F:{gateway.port:04X} 0100007F:{caller.sock.getsockname()[1]:04X}"
    found = re.search(rf"{pair} \w+ (\w+):(\w+)", Path("/proc/net/tcp").read_text())
    return int(found[1 if which == "tx" else 2], 16) if found else 0


SCENES = {
    "before_the_head": (thinks, asks),
    "in_mid_stream": (streams_on, asks_and_reads),
    "in_a_silent_stream": (fell_silent, asks_and_reads),
    "in_a_whole_body": (is_slow_with_a_whole_body, asks_and_reads),
    "while_uploading": (reads_the_upload, uploads),
    "while_its_upload_is_paused": (does_not_read, uploads_until_paused),
    "while_its_answer_is_paused": (floods, asks_and_does_not_read),
}
LEAVINGS = (RawCaller.leave, RawCaller.reset, RawCaller.half_close)


@pytest.fixture(scope="module", params=["plain", "tls", "unix"])
def upstream(request: pytest.FixtureRequest) -> Iterator[ScriptedUpstream]:
    tls = request.getfixturevalue("tls") if request.param == "tls" else None
    unix = request.param == "unix"
    with ScriptedUpstream(answers(), tls=tls, unix=unix, keeps_bodies=False) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory) -> Iterator[RunningGateway]:
    plugin = tmp_path_factory.mktemp("plugins") / "tasks.py"
    plugin.write_text(PLUGIN)
    providers = {"openai": upstream.provider()}
    with running_gateway({"providers": providers}, plugins=[plugin]) as gateway:
        yield gateway
        assert gateway.crashes == []


def departure_ms(
    upstream: ScriptedUpstream,
    gateway: RunningGateway,
    scene: str,
    leave: Callable[[RawCaller], None],
) -> float:
    """Play one scene and give the time from the caller's leaving to the upstream's seeing it."""
    upstream.script, acts = SCENES[scene]
    upstream.forget()
    caller = RawCaller(gateway.port, receive_bytes=4096 if acts is asks_and_does_not_read else None)
    acts(caller, gateway)
    connection = upstream.wait_for_requests(1)[0].connection
    assert connection.gone_ns is None
    left_ns = time.monotonic_ns()
    leave(caller)
    try:
        return (connection.wait_gone(NEVER_S) - left_ns) / 1e6
    except TimeoutError:
        return NEVER_S * 1000
    finally:
        caller.leave()


def counts_of(gateway: RunningGateway) -> tuple[int, int]:
    """Give the numbers of tasks and of objects."""
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/counts", (b"Connection", b"close"))
        tasks, objects = caller.answer().body.split()
    return int(tasks), int(objects)


@pytest.mark.timeout(900)
def test_the_upstream_sees_the_callers_leaving(upstream, gateway, sizes: Sizes):
    for scene in SCENES:  # so that what is made once is made
        departure_ms(upstream, gateway, scene, RawCaller.leave)
    time.sleep(0.3)
    sockets, memory = gateway.sockets(), gateway.memory_bytes()
    tasks, objects = counts_of(gateway)

    times = sorted(
        (departure_ms(upstream, gateway, scene, leave), scene, leave.__name__)
        for _ in range(sizes.departures)
        for leave in LEAVINGS
        for scene in SCENES
    )

    late = [one for one in times if one[0] >= sizes.departure_ms]
    assert len(late) <= len(times) // 100, late
    time.sleep(0.3)
    assert gateway.sockets() <= sockets
    assert counts_of(gateway)[0] == tasks
    assert counts_of(gateway)[1] - objects < len(times)  # not one is left of each
    assert gateway.memory_bytes() - memory < 8_000_000
    upstream.script = answers(b"still here")
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/models")
        assert caller.answer().body == b"still here"
