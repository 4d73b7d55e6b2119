"""Slow attacks by slowhttptest: every attacker is cut off by its deadline, everybody else served.

The tool calls a connection closed only when the other end has closed or reset it, and it ends by
"No open connections left" only when all of them are. Its own end, at the end of its time, is
another one, and fails the story.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pytest

from gateway.testing import (
    BrokenOff,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    head,
    running_gateway,
    sized,
)
from tests.sizes import Sizes

ATTACKED: Final = b"/v1/attacked"
UNFRAMED: Final = b"/v1/unframed"
HEALTHY: Final = b"/v1/healthy"
EVENT_STREAM: Final = (b"Content-Type", b"text/event-stream")
STREAM: Final = head(200, EVENT_STREAM, (b"Transfer-Encoding", b"chunked"))
# More than Linux lends by default to a connection that is not read (`tcp_wmem`: 4 MiB).
PIECE: Final = b"x" * 50_000
PIECES: Final = 86
EVENTS: Final = 5
PAUSE_S: Final = 0.01
CONNECTIONS_PER_S: Final = 500
# The tool's own end is so long after the deadline. A reader's deadline counts from when all buffers
# are full, and to fill those of a thousand takes time.
LATE_S: Final = 8
LATE_READER_S: Final = 40
READERS_PER_S: Final = 10
# What the healthy probes may take: the story is that they are served, on however busy a machine.
PROBE_S: Final = 60.0
# Upstream connections that may be kept once all is over: of both probes, and of the tool's own.
KEPT: Final = 4

_COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")
_CLOSED: Final = re.compile(r"run_test: socket \d+ closed: (.+)")
_UNSENT: Final = re.compile(r"run_test:(error sending (?:initial|follow up)) ")
_DRIPPED: Final = re.compile(r"bytes of follow up data sent")
_TOLD: Final = re.compile(r"socket \d+ replied \d+ bytes:\nHTTP/1\.1 (\d{3}) ")
_STATUS: Final = re.compile(r"^Exit status:\s+(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """What the tool says: how it ended, how its connections were closed, what status the attackers
    were told, how often they sent a little more, and in how many seconds its own probe, which
    waits for 5 s, found nobody.

    peak: the most sockets that the gateway has held meanwhile, beyond those it had before.
    """

    ended: str
    closed: Counter[str]
    told: Counter[int]
    dripped: int
    unavailable_s: int
    peak: int
    took_s: float


@dataclass(frozen=True)
class Scale:
    """connections: of each attack. deadline_s: of each connection, so that all are open at once."""

    connections: int

    @property
    def deadline_s(self) -> float:
        return 0.5 + self.connections / 200

    @property
    def limits(self) -> dict[str, Any]:
        deadline = f"{self.deadline_s * 1000:.0f}ms"
        return {
            "header_timeout": deadline,
            "body_rate_grace": deadline,
            "stall_timeout": deadline,
            "linger_timeout": "1s",
            # An attacker whose head is whole holds a connection to the upstream as well.
            "origin_connections_max": 2 * self.connections + 100,
        }


class Probe(threading.Thread):
    """Sends healthy requests, one after the other, until it is told to stop.

    served: how long each took. missed: what came instead of an answer. is_stream: events are asked
    for; otherwise the body comes back.
    """

    def __init__(self, port: int, *, is_stream: bool) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.is_stream = is_stream
        self.served: list[float] = []
        self.missed: list[str] = []
        self.stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.join()

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(PAUSE_S):
            number += 1
            nonce = b"%d of %d" % (number, self.ident or 0)
            began = time.monotonic()
            try:
                got = self._ask(nonce)
            except (OSError, BrokenOff) as error:
                got = repr(error).encode()
            wanted = nonce * EVENTS if self.is_stream else nonce
            if got == wanted:
                self.served.append(time.monotonic() - began)
            else:
                self.missed.append(f"after {time.monotonic() - began:.1f} s: {got[:200]!r}")

    def _ask(self, nonce: bytes) -> bytes:
        target = b"/openai" + HEALTHY + (b"/stream" if self.is_stream else b"")
        with RawCaller(self.port, timeout_s=PROBE_S) as caller:
            caller.request(b"POST", target, body=nonce)
            answer = caller.answer()
        return answer.body if answer.is_complete else b"%d, cut" % answer.status


@dataclass
class Attack:
    """slowhttptest against a gateway, with healthy probes before, during and after it."""

    gateway: RunningGateway
    upstream: ScriptedUpstream
    folder: Path
    scale: Scale
    probes: tuple[Probe, ...] = ()

    def run(self, mode: str, *options: str, late_s: int = LATE_S) -> Report:
        """Run it with the tool's own options; only those that differ between the modes."""
        self.upstream.forget()
        before = self.gateway.sockets()
        kinds = (False, True)
        self.probes = tuple(Probe(self.gateway.port, is_stream=kind) for kind in kinds)
        with ExitStack() as stack:
            for probe in self.probes:
                stack.enter_context(probe)
            words = [mode, *options, "-l", str(int(self.scale.deadline_s) + late_s)]
            report = self._attack(before, words)
        self._print(mode, report)
        self._wait_until_only(before + KEPT)
        return report

    def _attack(self, before: int, options: list[str]) -> Report:
        found = shutil.which("slowhttptest")
        assert found is not None, "this story needs slowhttptest: apt install slowhttptest"
        url = f"http://127.0.0.1:{self.gateway.port}/openai{ATTACKED.decode()}"
        words = [found, *options, "-u", url]
        words += ["-c", str(self.scale.connections), "-r", str(CONNECTIONS_PER_S)]
        words += ["-v", "4", "-g", "-o", str(self.folder / "table")]
        peak = 0
        began = time.monotonic()
        with (
            (self.folder / "said").open("wb") as said,
            subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT) as process,
        ):
            try:
                while process.poll() is None:
                    peak = max(peak, self.gateway.sockets() - before)
                    time.sleep(0.05)
            finally:
                process.kill()
        assert process.returncode == 0
        return self._read(peak, time.monotonic() - began)

    def _read(self, peak: int, took_s: float) -> Report:
        said = _COLOUR.sub("", (self.folder / "said").read_text(errors="replace"))
        with (self.folder / "table.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        status = _STATUS.search(said)
        return Report(
            ended="" if status is None else status[1],
            closed=Counter([*_CLOSED.findall(said), *_UNSENT.findall(said)]),
            told=Counter(map(int, _TOLD.findall(said))),
            dripped=len(_DRIPPED.findall(said)),
            unavailable_s=sum(row["Service Available"] == "0" for row in rows),
            peak=peak,
            took_s=took_s,
        )

    def _print(self, mode: str, report: Report) -> None:
        print(f"slowhttptest {mode}, deadline {self.scale.deadline_s:.1f} s: {report}")
        for probe in self.probes:
            kind = "streams" if probe.is_stream else "plain"
            took = sorted(1000 * seconds for seconds in probe.served) or [0.0]
            p99, most = took[int(len(took) * 0.99)], took[-1]
            print(f"probes, {kind}: {len(probe.served)}, p99 {p99:.0f} ms, most {most:.0f} ms")

    def _wait_until_only(self, sockets: int) -> None:
        """Wait until the gateway holds no more than that: nothing of an attack is left."""
        patient_until = time.monotonic() + 10
        while (now := self.gateway.sockets()) > sockets:
            assert time.monotonic() < patient_until, f"{now} sockets are open, {sockets} expected"
            time.sleep(0.05)

    # -- what must hold ----------------------------------------------------------------------------

    def assert_repelled(self, report: Report) -> None:
        """All of its connections were closed, and not by the tool's own end."""
        assert report.ended == "No open connections left"
        assert report.closed.total() == self.scale.connections

    def assert_served(self) -> None:
        for probe in self.probes:
            assert probe.missed == []
            assert probe.served
        asked = [request for request in self.upstream.requests if HEALTHY in request.target]
        assert len(asked) == sum(len(probe.served) for probe in self.probes)

    def refused(self, detail: str) -> int:
        """Give how often the gateway has logged a 408 for that reason, once all are there: its log
        is written behind what it does.
        """
        patient_until = time.monotonic() + 10
        while True:
            refused = [line for line in self.gateway.log if line["event"] == "request_refused"]
            count = sum((line["status"], line["detail"]) == (408, detail) for line in refused)
            if count >= self.scale.connections or time.monotonic() > patient_until:
                return count
            time.sleep(0.1)


def script(visit: Visit) -> None:
    body = visit.read()
    if visit.request.target == ATTACKED:
        visit.send(head(200, (b"Content-Length", b"%d" % (len(PIECE) * PIECES))))
        visit.send(*[PIECE] * PIECES)
    elif visit.request.target == UNFRAMED:
        visit.send(STREAM, *[chunk(PIECE)] * PIECES, chunk(b""))
    elif visit.request.target == HEALTHY:
        visit.send(sized(body))
    else:
        visit.send(STREAM)
        for _ in range(EVENTS):
            visit.send(chunk(body))
            visit.pause(PAUSE_S)
        visit.send(chunk(b""))


@pytest.fixture(scope="module")
def scale(sizes: Sizes) -> Scale:
    return Scale(sizes.slow_connections)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    # It is held up by slow readers, and must not be the one that loses patience.
    with ScriptedUpstream(script, patience_s=300) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, scale: Scale) -> Iterator[RunningGateway]:
    # A busy machine may take its time, which is another story.
    provider = upstream.provider(connect_timeout="60s")
    config = {"providers": {"openai": provider}, "limits": scale.limits}
    with running_gateway(config) as gateway:
        yield gateway
        assert gateway.crashes == []


@pytest.fixture
def attack(
    gateway: RunningGateway, upstream: ScriptedUpstream, tmp_path: Path, scale: Scale
) -> Attack:
    return Attack(gateway, upstream, tmp_path, scale)


@pytest.mark.timeout(300)
def test_slow_heads_are_refused_by_their_deadline_and_all_others_served(attack, scale):
    report = attack.run("-H", "-i", "1", "-x", "20")

    attack.assert_repelled(report)
    assert report.dripped
    assert report.told == {408: scale.connections}
    assert attack.refused("header_timeout") == scale.connections
    attack.assert_served()


@pytest.mark.timeout(300)
def test_slow_bodies_are_refused_by_their_deadline_and_all_others_served(attack, scale):
    report = attack.run("-B", "-i", "1", "-x", "20", "-s", "1000000")

    attack.assert_repelled(report)
    assert report.dripped
    assert report.told == {408: scale.connections}
    assert attack.refused("body_rate_min") == scale.connections
    posted = [request for request in attack.upstream.requests if request.target == ATTACKED]
    posted = [request for request in posted if request.method == b"POST"]
    assert len(posted) == scale.connections
    assert not any(request.is_whole for request in posted)
    for request in posted:
        request.connection.wait_gone()
    attack.assert_served()


@pytest.mark.timeout(300)
def test_slow_readers_are_reset_by_their_deadline_and_all_others_served(attack, scale):
    # Where a thousand such connections make the kernel short of memory, it lends so little to each
    # of them that a reader of a kilobyte a second moves something; at that size a reader rests for
    # longer than its deadline.
    rest_s = 1 + scale.connections // 200
    # A read empties the receive buffer, behind which the tool learns of the reset.
    options = ("-w", "10", "-y", "20", "-n", str(rest_s), "-z", "4096")
    report = attack.run("-X", *options, late_s=LATE_READER_S + scale.connections // READERS_PER_S)

    attack.assert_repelled(report)
    assert report.closed == {"Connection reset by peer": scale.connections}
    asked = [request for request in attack.upstream.requests if request.target == ATTACKED]
    # The tool's own probes ask for the same and read it, and so the connection is kept.
    probes = len(asked) - scale.connections
    assert probes >= 0
    patient_until = time.monotonic() + 10
    while (left := sum(one.connection.gone_ns is None for one in asked)) > probes:
        assert time.monotonic() < patient_until, f"{left} of {len(asked)} are open"
        time.sleep(0.05)
    attack.assert_served()


def test_a_stalled_caller_of_old_http_can_tell_that_it_was_cut(upstream, gateway):
    """Its answer has no framing, so that an orderly close would make a part of it whole."""
    upstream.forget()
    with RawCaller(gateway.port, receive_bytes=4096) as caller:
        caller.send(b"GET /openai%b HTTP/1.0\r\nHost: localhost\r\n\r\n" % UNFRAMED)
        upstream.wait_for_requests(1)[0].connection.wait_gone(PROBE_S)
        answer = caller.answer()

    assert (answer.status, answer.is_complete, answer.ending) == (200, False, "reset")
