"""A tunnel's ends: each side's end is the other's, nobody is overrun, nothing stays for ever."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.testing import (
    BrokenOff,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    running_gateway,
)
from tests.gateway.frames import ASKING, BINARY, CLOSE, MASK, TEXT, bye, frame, read_frame, switch

# A tenth of a second is promised; a busy machine gets ten times as long.
SOON_NS = 1_000_000_000
LIMITS = {"linger_timeout": "300ms", "stall_timeout": "1s"}


def waits(visit: Visit) -> None:
    visit.read()
    visit.send(switch(visit))
    visit.wait_gone()


def configured(upstream: ScriptedUpstream, **limits: str) -> dict[str, object]:
    return {
        "providers": {"openai": upstream.provider()},
        "limits": {**LIMITS, **limits},
        "enabled": ["access_log"],
    }


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    with running_gateway(configured(upstream)) as gateway:
        yield gateway
        assert not gateway.crashes


@pytest.fixture
def caller(upstream: ScriptedUpstream, gateway: RunningGateway) -> Iterator[RawCaller]:
    upstream.forget()
    upstream.script = waits
    with RawCaller(gateway.port) as caller:
        yield caller


def tunnel(caller: RawCaller) -> None:
    fields = b"".join(b"%b: %b\r\n" % field for field in ASKING)
    caller.send(b"GET /openai/v1/realtime HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n")
    assert caller.wire.head().startswith(b"HTTP/1.1 101 ")


def outcome(gateway: RunningGateway, number: int = 1) -> dict[str, object]:
    """Wait for the lines of so many tunnels, and give the latest."""
    line = gateway.wait_for_log("exchange", number)
    assert line["status"] == 101
    return line


def count(gateway: RunningGateway) -> int:
    return len([line for line in gateway.log if line.get("event") == "exchange"])


def flood(caller: RawCaller) -> int:
    """Send until nobody takes any more; how many bytes were taken."""
    piece = frame(BINARY, bytes(60_000), mask=MASK)
    sent = 0
    caller.sock.settimeout(0.3)
    try:
        while True:
            caller.send(piece)
            sent += len(piece)
    except TimeoutError:
        return sent


# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fin", "reset", "half_close"])
@pytest.mark.parametrize("said_bye", [False, True])
def test_the_callers_end_is_the_upstreams(upstream, gateway, caller, way, said_bye):
    number = count(gateway)
    tunnel(caller)
    caller.send(frame(TEXT, b"hello", mask=MASK))
    if said_bye:
        caller.send(bye(mask=MASK))
    left_ns = time.monotonic_ns()
    {"fin": caller.leave, "reset": caller.reset, "half_close": caller.half_close}[way]()
    gone_ns = upstream.connections[-1].wait_gone()

    assert gone_ns - left_ns < SOON_NS
    assert outcome(gateway, number + 1)["outcome"] == "client_abort"


@pytest.mark.parametrize("way", ["fin", "reset"])
def test_the_upstreams_end_is_the_callers(upstream, gateway, caller, way):
    def dies_in_mid_frame(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit) + frame(TEXT, b"hello") + frame(BINARY, bytes(1000))[:500])
        visit.pause(0.1)
        left_ns.append(time.monotonic_ns())
        getattr(visit, way)()

    left_ns: list[int] = []
    number = count(gateway)
    upstream.script = dies_in_mid_frame
    tunnel(caller)
    assert read_frame(caller.wire) == (TEXT, b"hello")
    rest = caller.everything()

    assert time.monotonic_ns() - left_ns[0] < SOON_NS
    assert rest == frame(BINARY, bytes(1000))[:500]
    line = outcome(gateway, number + 1)
    assert (line["outcome"], line["error"]) == ("truncated", "upstream_cut")


def test_an_upstream_that_says_goodbye_first_is_complete_once_it_is_answered(
    upstream, gateway, caller
):
    def says_goodbye(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit) + bye(1001))
        assert read_frame(visit.connection.wire)[0] == CLOSE
        visit.fin()

    number = count(gateway)
    upstream.script = says_goodbye
    tunnel(caller)
    assert read_frame(caller.wire) == (CLOSE, b"\x03\xe9")
    caller.send(bye(1001, mask=MASK))
    assert caller.ending() == "fin"
    assert outcome(gateway, number + 1)["outcome"] == "complete"
    assert "error" not in outcome(gateway, number + 1)


def test_what_the_upstream_said_last_arrives_at_a_slow_caller(upstream, gateway):
    """Its end does not overtake its bytes, though they wait in our buffer."""
    body = frame(BINARY, bytes(400_000))

    def floods(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit) + body)
        visit.fin()

    upstream.script = floods
    with RawCaller(gateway.port, receive_bytes=4096) as caller:
        tunnel(caller)
        time.sleep(0.6)  # longer than the linger timeout, shorter than the stall timeout
        assert caller.everything() == body


# -- back-pressure ---------------------------------------------------------------------------------


def test_a_caller_that_does_not_read_slows_its_upstream_and_then_is_cut(upstream, gateway):
    sent: list[int] = []

    def floods(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit))
        while visit.connection.gone_ns is None:
            visit.send(frame(BINARY, bytes(60_000)))
            sent.append(60_000)

    number = count(gateway)
    before = gateway.memory_bytes()
    upstream.script = floods
    with RawCaller(gateway.port, receive_bytes=4096) as caller:
        tunnel(caller)
        upstream.connections[-1].wait_gone()
    assert outcome(gateway, number + 1)["outcome"] == "client_abort"
    # Two sockets' buffers and ours; the kernel's own grow to a few megabytes on loopback.
    assert sum(sent) < 30_000_000
    assert gateway.memory_bytes() - before < 20_000_000


def test_an_upstream_that_does_not_read_slows_its_caller_and_then_is_cut(upstream, gateway, caller):
    number = count(gateway)
    gateway_is_done = threading.Event()

    def takes_nothing(visit: Visit) -> None:
        visit.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        visit.read()
        visit.send(switch(visit))
        while not gateway_is_done.wait(0.05):
            visit.pause(0)

    upstream.script = takes_nothing
    tunnel(caller)
    # Sockets' buffers and ours; the kernel's own grow to a few megabytes on loopback.
    assert flood(caller) < 30_000_000
    line = outcome(gateway, number + 1)
    gateway_is_done.set()
    assert (line["outcome"], line["error"]) == ("truncated", "upstream_stalled")


def test_a_caller_that_leaves_while_its_upstream_does_not_read_is_noticed(
    upstream, gateway, caller
):
    number = count(gateway)
    tunnel(caller)
    flood(caller)
    left_ns = time.monotonic_ns()
    caller.reset()  # a FIN would stand behind bytes that no window lets out
    assert upstream.connections[-1].wait_gone() - left_ns < SOON_NS
    assert outcome(gateway, number + 1)["outcome"] == "client_abort"


# -- ended by us -----------------------------------------------------------------------------------


def goodbye(caller: RawCaller) -> tuple[int, bytes]:
    found = read_frame(caller.wire)
    assert caller.ending() == "fin"
    return found


def told(visit: Visit, frames: list[tuple[int, bytes]]) -> None:
    """Switch, and keep what comes."""
    visit.read()
    visit.send(switch(visit) + frame(TEXT, b"hello"))
    try:
        while True:
            frames.append(read_frame(visit.connection.wire))
    except BrokenOff:
        visit.fin()


def test_a_drain_says_goodbye_to_both_and_then_ends_both(upstream):
    frames: list[tuple[int, bytes]] = []
    upstream.script = lambda visit: told(visit, frames)
    config = {**configured(upstream), "server": {"drain_timeout": "200ms"}}
    with running_gateway(config) as gateway, RawCaller(gateway.port) as caller:
        tunnel(caller)
        assert read_frame(caller.wire) == (TEXT, b"hello")
        gateway.signal(signal.SIGTERM)
        assert goodbye(caller) == (CLOSE, b"\x03\xe9")
        caller.leave()
        assert gateway.wait() == 0
        line = outcome(gateway)
        assert (line["outcome"], line["error"]) == ("stopped", "shutting_down")
        assert not gateway.crashes
    assert frames == [(CLOSE, b"\x03\xe9")]


def test_silence_in_both_directions_ends_it(upstream):
    frames: list[tuple[int, bytes]] = []
    upstream.script = lambda visit: told(visit, frames)
    with running_gateway(configured(upstream, websocket_idle_timeout="700ms")) as gateway:
        with RawCaller(gateway.port) as caller:
            tunnel(caller)
            assert read_frame(caller.wire) == (TEXT, b"hello")
            for _ in range(4):  # the caller alone keeps it alive
                time.sleep(0.3)
                caller.send(frame(TEXT, b"on", mask=MASK))
            assert goodbye(caller) == (CLOSE, b"\x03\xe9")
        line = outcome(gateway)
        assert (line["outcome"], line["error"]) == ("stopped", "websocket_idle")
    assert frames == [(TEXT, b"on")] * 4 + [(CLOSE, b"\x03\xe9")]


def test_no_goodbye_is_said_into_the_middle_of_a_frame(upstream):
    frames: list[tuple[int, bytes]] = []

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit) + frame(TEXT, b"hello")[:4])
        frames.append(read_frame(visit.connection.wire))
        visit.wait_gone()

    upstream.script = script
    with running_gateway(configured(upstream, websocket_idle_timeout="300ms")) as gateway:
        with RawCaller(gateway.port) as caller:
            tunnel(caller)
            assert caller.everything() == frame(TEXT, b"hello")[:4]
    assert frames == [(CLOSE, b"\x03\xe9")]


def test_a_tunnel_leaves_nothing_behind(upstream, gateway):
    def end(caller: RawCaller) -> None:
        tunnel(caller)
        caller.send(bye(mask=MASK))
        caller.leave()
        upstream.connections[-1].wait_gone()

    upstream.script = waits
    for _ in range(3):
        with RawCaller(gateway.port) as caller:
            end(caller)
    upstream.wait_for(lambda: gateway.sockets() > 0)
    before = gateway.sockets()
    for _ in range(20):
        with RawCaller(gateway.port) as caller:
            end(caller)
    upstream.wait_for(lambda: gateway.sockets() <= before)
