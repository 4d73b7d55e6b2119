"""What is asked of each peer, and which figures it gives.

unary: as fast as it goes, 32 connections, 160 B of JSON in, 600 B out. small: the same with 1 KB
out. large: with 100 KB. single: one connection, so that nothing queues. sse: 200 streams of 320 B
events, 20 ms apart, starts spread evenly. few: 20 such streams. ttft: one short stream at a time.
workers: unary, and what each worker has of it. memory: a fresh process is started, asked once, and
then holds 3,000 streams open.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import msgspec

from bench.load import Figures, measure
from bench.options import Options, url_of
from bench.peers import Cores, Peer, Running, load_on, running
from bench.processes import usage
from bench.script import Script
from bench.spread import Spread
from bench.workers import FEW, MANY, body_for, cpu_by_worker, least_share, spread_of

MIB = 1024 * 1024
KIB = 1024
# A process has made what it makes lazily, and freed what it frees, this long after its first
# answer.
SETTLE_S = 0.7
WARM_S = 2.0
WARM_CONNECTIONS = 4
STREAM = Script(sse=100, gap=20.0, size=320)
FEW_STREAMS = 20
SHORT = Script(sse=2, gap=5.0, size=320)
HELD = Script(sse=60, gap=1000.0, size=320)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the scenarios of one comparison share."""

    seconds: float = 3.0
    streams: int = 200
    open_streams: int = 3000
    cores: Cores = Cores()
    upstream: str = ""
    mock_pid: int | None = None
    fields: dict[str, str] = {}


Values = dict[str, float]


def unary(target: Running, settings: Settings) -> Values:
    return closed_loop(target, settings, Script(json=600), connections=32)


def small(target: Running, settings: Settings) -> Values:
    return closed_loop(target, settings, Script(json=1_000), connections=32)


def large(target: Running, settings: Settings) -> Values:
    return closed_loop(target, settings, Script(json=100_000), connections=32)


def workers(target: Running, settings: Settings) -> Values:
    if target.pid is None:
        return {}
    few, none_of_few = spread_of(target, FEW)
    many, _ = spread_of(target, MANY)
    body = body_for(target.peer) or target.body(Script(json=600))
    before = cpu_by_worker(target.pid)
    values = closed_loop(target, settings, Script(json=600), connections=MANY, body=body)
    return {
        **values,
        "least_cpu": least_share(before, cpu_by_worker(target.pid)),
        "least_of_few": few,
        "none_of_few": none_of_few,
        "least_of_many": many,
    }


def closed_loop(
    target: Running, settings: Settings, script: Script, connections: int, **rest: object
) -> Values:
    before = usage(settings.mock_pid).cpu_s
    found = load(target, settings, script, connections=connections, wrk=True, **rest)
    mock_s = usage(settings.mock_pid).cpu_s - before
    latency = found.latency_us or Spread(0, *[math.nan] * 4)
    return {
        "rate": found.rate,
        "cpu_us": found.cpu_us_request,
        "user_us": found.user_us_request,
        "p50_us": latency.p50,
        "p99_us": latency.p99,
        "busy": found.busy,
        "mock_us": mock_s * 1e6 / found.requests if found.requests else math.nan,
        "errors": float(sum(found.errors.values())),
    }


def single(target: Running, settings: Settings) -> Values:
    found = load(target, settings, Script(json=600), connections=1)
    latency = found.latency_us or Spread(0, *[math.nan] * 4)
    return {
        "p50_us": latency.p50,
        "p99_us": latency.p99,
        "errors": float(sum(found.errors.values())),
    }


def sse(target: Running, settings: Settings) -> Values:
    return streams(target, settings, settings.streams)


def few(target: Running, settings: Settings) -> Values:
    return streams(target, settings, FEW_STREAMS)


def streams(target: Running, settings: Settings, count: int) -> Values:
    """Starts are spread over one stream's life, so that restarts never come in a burst."""
    life_s = STREAM.sse * STREAM.gap / 1e3
    found = load(target, settings, STREAM, connections=count, ramp=count / life_s)
    blank = Spread(0, *[math.nan] * 4)
    ttft, gap, added = found.ttft_us or blank, found.gap_us or blank, found.added_us or blank
    return {
        "chunk_rate": found.chunk_rate,
        "cpu_us": found.cpu_us_chunk,
        "busy": found.busy,
        "ttft_p50_us": ttft.p50,
        "ttft_p99_us": ttft.p99,
        "gap_p99_us": gap.p99,
        "way_p50_us": added.p50,
        "way_p99_us": added.p99,
        "errors": float(sum(found.errors.values())),
    }


def ttft(target: Running, settings: Settings) -> Values:
    found = load(target, settings, SHORT, connections=1)
    first = found.ttft_us or Spread(0, *[math.nan] * 4)
    return {
        "p50_us": first.p50,
        "p99_us": first.p99,
        "errors": float(sum(found.errors.values())),
    }


def memory(peer: Peer, settings: Settings) -> Values:
    with running(peer, settings.upstream, settings.cores) as target:
        time.sleep(SETTLE_S)
        idle = usage(target.pid).rss_bytes
        count = settings.open_streams
        # A second after the last start every stream has had an event, and another is due.
        short = msgspec.structs.replace(settings, seconds=1.5)
        found = load(target, short, HELD, connections=count)
        return {
            "start_s": target.start_s,
            "idle_mb": idle / MIB,
            "open_mb": found.open_rss_bytes / MIB,
            "stream_kb": (found.open_rss_bytes - idle) / count / KIB,
            "errors": float(sum(found.errors.values())),
        }


def warm(target: Running, settings: Settings) -> None:
    """What knows what it carries loads and compiles much of itself at its first requests, which a
    service has behind it. Errors count from the first round on.
    """
    short = msgspec.structs.replace(settings, seconds=WARM_S)
    for script in (Script(json=600), SHORT):
        load(target, short, script, connections=WARM_CONNECTIONS)


def load(target: Running, settings: Settings, script: Script, **rest: object) -> Figures:
    wanted = {
        "url": url_of(target.base, script),
        "script": script,
        "seconds": settings.seconds,
        "pid": target.pid,
        "fields": {**settings.fields, **target.fields},
        "body": target.body(script),
        "exact": target.exact,
        **rest,
    }
    with load_on(settings.cores.load):
        return measure(Options(**wanted))  # type: ignore[arg-type]  # the keywords are Options' own


# Those against a peer that runs all the time, and those that start their own.
SCENARIOS: dict[str, Callable[[Running, Settings], Values]] = {
    "unary": unary,
    "small": small,
    "large": large,
    "single": single,
    "few": few,
    "sse": sse,
    "ttft": ttft,
    "workers": workers,
}
FRESH: dict[str, Callable[[Peer, Settings], Values]] = {"memory": memory}
USUAL = ("unary", "sse", "ttft", "memory")
# Against the field: a usual answer, a long one, a few streams and many.
FIELD = ("small", "large", "few", "sse")
EVERY = (*SCENARIOS, *FRESH)
