"""The load generator: whole answers and streams, closed loop and open.

Closed loop: each of N connections sends its next request when the last is answered, which finds the
capacity. Open loop: requests are due at a fixed rate whether or not the proxy keeps up, and latency
counts from when a request was due, not from when a connection came free: a stall is seen by all who
would have met it (no coordinated omission).

What happens before and after the window is not counted, except errors. The gap is between one event
of a stream and the next, the first event's time is its own figure (ttft); `added` is the time an
event was under way since the mock stamped it.
"""

from __future__ import annotations

import asyncio
import gc
import math
import tempfile
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench import wrk
from bench.client import Caller, Reader, Unary
from bench.options import Options, body_of, fields_of, request_of
from bench.processes import UNKNOWN, Usage, usage
from bench.shapes import text_of
from bench.spread import Spread, spread

TICK_S = 0.001
# Silence beyond this (and beyond the stream's own gap) when the window closes is an error.
OVERDUE_S = 2.0
CONNECT_TIMEOUT_S = 5.0


class Figures(msgspec.Struct, kw_only=True):
    """What one run found. Not a number means: not measured."""

    seconds: float = math.nan
    requests: int = 0
    chunks: int = 0
    rate: float = math.nan
    chunk_rate: float = math.nan
    latency_us: Spread | None = None
    ttft_us: Spread | None = None
    gap_us: Spread | None = None
    added_us: Spread | None = None
    cpu_us_request: float = math.nan
    cpu_us_chunk: float = math.nan
    user_us_request: float = math.nan
    busy: float = math.nan
    load_busy: float = math.nan
    idle_rss_bytes: float = math.nan
    open_rss_bytes: float = math.nan
    bytes_per_stream: float = math.nan
    errors: dict[str, int] = {}


def measure(options: Options) -> Figures:
    """Do one run, start to end."""
    if (
        options.wrk
        and wrk.installed()
        and not (options.script.sse or options.rate or options.socket)
    ):
        return measure_wrk(options)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Run(options).play())


def measure_wrk(options: Options) -> Figures:
    """The closed loop by wrk; its short start and end belong to the window, for it counts their
    requests too.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        lua = Path(folder) / "request.lua"
        body = options.body or body_of(options.script)
        lua.write_text(wrk.script("POST", body, fields_of(options)))
        before, began = usage(options.pid), time.monotonic()
        told = wrk.run(options.url, lua, options.connections, options.seconds)
        after, wall = usage(options.pid), time.monotonic() - began
    figures = Figures(seconds=told.seconds, requests=told.requests, rate=told.rate)
    known = {share: told.latency_us.get(share, math.nan) for share in (50, 90, 99)}
    figures.latency_us = Spread(told.requests, known[50], known[90], known[99], math.nan)
    figures.errors = told.errors
    spend(figures, before, after, wall)
    return figures


def spend(figures: Figures, before: Usage, after: Usage, wall_s: float) -> None:
    """Share the CPU between what was served."""
    cpu_us = (after.cpu_s - before.cpu_s) * 1e6
    if figures.requests:
        figures.cpu_us_request = cpu_us / figures.requests
        figures.user_us_request = (after.user_s - before.user_s) * 1e6 / figures.requests
    if figures.chunks:
        figures.cpu_us_chunk = cpu_us / figures.chunks
    figures.busy = cpu_us / 1e6 / wall_s


class Run:
    """One run's connections, clock and notes."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.request = request_of(options)
        self.callers: set[Caller] = set()
        self.free: list[Caller] = []
        self.queue: deque[int] = deque()
        self.errors: Counter[str] = Counter()
        self.latencies, self.firsts = array("q"), array("q")
        self.gaps, self.addeds = array("q"), array("q")
        self.requests = self.chunks = 0
        self.measuring = False
        self.over = False
        self.next_due_ns = 0

    async def play(self) -> Figures:
        options = self.options
        figures = Figures(idle_rss_bytes=usage(options.pid).rss_bytes)
        keeper = asyncio.ensure_future(self.keep())
        ramp_s = options.connections / options.ramp
        if options.rate:
            self.next_due_ns = time.monotonic_ns() + int(ramp_s * 1e9)
            self.tick()
        gc.collect()
        gc.disable()
        try:
            await asyncio.sleep(ramp_s + options.warm_s)
            await self.window(figures)
            figures.open_rss_bytes = usage(options.pid).rss_bytes
            self.count_overdue()
        finally:
            gc.enable()
            self.over = True
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self.leave()
        return self.describe(figures)

    async def window(self, figures: Figures) -> None:
        before = usage(self.options.pid) if self.options.pid else UNKNOWN
        began, own = time.monotonic(), time.process_time()
        self.measuring = True
        await asyncio.sleep(self.options.seconds)
        self.measuring = False
        wall = figures.seconds = time.monotonic() - began
        after = usage(self.options.pid) if self.options.pid else UNKNOWN
        figures.requests, figures.chunks = self.requests, self.chunks
        figures.load_busy = (time.process_time() - own) / wall
        spend(figures, before, after, wall)

    def describe(self, figures: Figures) -> Figures:
        figures.rate = figures.requests / figures.seconds
        figures.errors = dict(self.errors)
        figures.latency_us = spread(self.latencies, 1e3) if self.latencies else None
        if self.options.script.sse:
            figures.chunk_rate = figures.chunks / figures.seconds
            figures.ttft_us = spread(self.firsts, 1e3) if self.firsts else None
            figures.gap_us = spread(self.gaps, 1e3) if self.gaps else None
            figures.added_us = spread(self.addeds, 1e3) if self.addeds else None
            grown = figures.open_rss_bytes - figures.idle_rss_bytes
            figures.bytes_per_stream = grown / self.options.connections
        return figures

    async def keep(self) -> None:
        """Open the connections at the pace of the ramp, and replace those that went."""
        began = time.monotonic()
        while True:
            self.callers = {caller for caller in self.callers if not caller.lost}
            allowed = int((time.monotonic() - began) * self.options.ramp) + 1
            missing = min(allowed, self.options.connections) - len(self.callers)
            for _ in range(missing):
                await self.connect()
            await asyncio.sleep(0.002 if allowed < self.options.connections else 0.05)

    async def connect(self) -> None:
        loop, parts = asyncio.get_running_loop(), urlsplit(self.options.url)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if self.options.socket:
                    _, caller = await loop.create_unix_connection(self.caller, self.options.socket)
                else:
                    _, caller = await loop.create_connection(
                        self.caller, parts.hostname or "127.0.0.1", parts.port or 80
                    )
        except OSError:
            self.errors["connect"] += 1
            await asyncio.sleep(0.05)
            return
        self.callers.add(caller)
        self.ready(caller, time.monotonic_ns())

    def caller(self) -> Caller:
        script = self.options.script
        if script.sse:
            return Reader(self, self.request, script.sse)
        least = script.json if self.options.exact else len(text_of(script.shape, script.json))
        return Unary(self, self.request, least, exact=self.options.exact)

    def ready(self, caller: Caller, now_ns: int) -> None:
        """A caller without work: the next at once, or the oldest that is due, or rest."""
        if self.over:
            return
        if not self.options.rate:
            caller.send(now_ns)
        elif self.queue:
            caller.send(self.queue.popleft())
        else:
            self.free.append(caller)

    def tick(self) -> None:
        """Send what fell due since the last tick, stamped with the moment it was meant for."""
        if self.over:
            return
        now, step = time.monotonic_ns(), int(1e9 / self.options.rate)
        while self.next_due_ns <= now:
            self.queue.append(self.next_due_ns)
            self.next_due_ns += step
        while self.queue and self.free:
            caller = self.free.pop()
            if not caller.lost:
                caller.send(self.queue.popleft())
        asyncio.get_running_loop().call_later(TICK_S, self.tick)

    def finished(self, caller: Caller, now_ns: int) -> None:
        if self.measuring:
            self.requests += 1
            self.latencies.append(now_ns - caller.due_ns)
        self.ready(caller, now_ns)

    def failed(self, caller: Caller, why: str) -> None:
        if not self.over:
            self.errors[why] += 1

    def event(self, caller: Reader, now_ns: int, stamp_ns: int) -> None:
        if self.measuring:
            self.chunks += 1
            self.addeds.append(now_ns - stamp_ns)
            if caller.got == 1:
                self.firsts.append(now_ns - caller.due_ns)
            else:
                self.gaps.append(now_ns - caller.seen_ns)

    def count_overdue(self) -> None:
        """Whoever hangs would otherwise be missing from the table: nothing was recorded of it."""
        limit = time.monotonic_ns() - int((OVERDUE_S + self.options.script.gap / 1e3) * 1e9)
        hanging = sum(caller.busy and caller.seen_ns < limit for caller in self.callers)
        unsent = sum(due < limit for due in self.queue)
        self.errors += Counter(unanswered=hanging, unsent=unsent)

    async def leave(self) -> None:
        for caller in self.callers:
            caller.busy = False
            caller.transport.abort()
        await asyncio.sleep(0.05)
