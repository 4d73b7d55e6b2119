"""A long day: mixed load and one fault after the other, and nothing is left behind.

`make battery` lets it take 20 minutes. WEIR_SOAK_S=3600 beside --battery makes it an hour.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median
from typing import Any, Final

import orjson
import trustme

from gateway.testing import RunningGateway, Tls, running_gateway
from tests.sizes import Sizes
from tests.whole.soak import (
    FAULT_PART,
    FAULT_S_MAX,
    GATEWAY_PATIENCE,
    PATIENCE_S,
    REST_PART,
    REST_S_MAX,
    TRACE_PART,
    TRACE_S_MAX,
    Faults,
    Load,
    Log,
    Upstream,
    Window,
    descriptors,
    issue,
)

# What the gateway holds is counted so often while the load rests; the least of it counts, since a
# connection takes a moment to be closed.
LOOKS: Final = 3
LOOK_AGAIN_S: Final = 0.02
# Beside connections that are known: an admin request's, or one that is being opened or closed.
DESCRIPTORS_SPARE: Final = 3
TASKS_SPARE: Final = 2

# The gateway's allocator gives back what is free, and is told to where memory is looked at. Else a
# peak, such as of 300 handshakes, leaves holes, which nobody holds and which look like growth: a
# bare asyncio server has 40 MB of them after 6,000 TLS connections that say nothing.
GIVES_BACK: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}

BUNDLED: Final = ["request_id", "metadata", "credentials", "mock", "timing", "access_log"]

WATCH = '''
"""Counts exchanges, and says what there is of them, garbage left out."""

import asyncio
import ctypes
import gc

from aiohttp import web

from gateway import Endpoint, hookimpl


class Plugin:
    def __init__(self, config):
        self.settled = 0

    @hookimpl
    def endpoints(self, gateway):
        async def state(_):
            gc.collect()  # it may come late: what it finds is held by nobody
            ctypes.CDLL(None).malloc_trim(0)  # likewise, of holes
            tasks = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())
            held = {"exchanges": len(gateway.lines), "upstreams": gateway.pool.size}
            return web.json_response({"settled": self.settled, "tasks": tasks, **held})

        return [Endpoint("GET", "/state", state, token=False)]

    @hookimpl
    def settle(self, exchange):
        self.settled += 1
'''


@dataclass(frozen=True)
class Sample:
    """What the gateway held while the load rested. descriptors, tasks: beside those of connections
    that are kept to upstreams.
    """

    at_s: float
    memory_bytes: float
    descriptors: float
    tasks: float


class Soak:
    """Everything that takes part."""

    def __init__(self, gateway: RunningGateway, upstream: Upstream, load: Load, faults: Faults):
        self.gateway = gateway
        self.upstream = upstream
        self.load = load
        self.faults = faults
        self.windows: list[Window] = []
        self.samples: list[Sample] = []
        self.state: dict[str, Any] = {}
        self.crashes: list[str] = []
        self._admin = http.client.HTTPConnection(
            "127.0.0.1", gateway.admin_port, timeout=PATIENCE_S
        )

    async def run(self, seconds: float, every_s: float) -> None:
        """Let time pass: intervals with a fault at the beginning and a rest at the end, until each
        fault has been there.
        """
        began = time.monotonic()
        trace_s = min(TRACE_PART * every_s, TRACE_S_MAX)
        rest_s = min(REST_PART * every_s, REST_S_MAX)
        while (now := time.monotonic()) < began + seconds or not self.faults.have_all_been:
            self.load.go_on()
            fault = await self.faults.next()
            await asyncio.sleep(trace_s)
            self.windows.append(Window(fault, now, time.monotonic()))
            await asyncio.sleep(max(0.0, now + every_s - rest_s - time.monotonic()))
            await self.load.rest()
            self.samples.append(await self._sample(began))

    async def _sample(self, began: float) -> Sample:
        # How many connections are kept to upstreams is chance, and one with TLS has large buffers.
        self.upstream.drop(reset=False)
        await self._until_all_is_over()
        held, tasks = [], []
        for _ in range(LOOKS):
            await asyncio.sleep(LOOK_AGAIN_S)
            self.state = await asyncio.to_thread(self._ask_for_state)
            plain, tls = len(self.upstream.open[False]), len(self.upstream.open[True])
            # The mock provider is served in the gateway itself: both ends of a connection are
            # there, and a task. One over TLS has two descriptors, see `Pool._open_one`.
            mock = self.state["upstreams"] - plain - tls
            held.append(len(descriptors(self.gateway.pid)) - plain - 2 * tls - 2 * mock)
            tasks.append(len(self.state["tasks"]) - mock)
        return Sample(time.monotonic() - began, self.gateway.memory_bytes(), min(held), min(tasks))

    async def _until_all_is_over(self) -> None:
        patient_until = time.monotonic() + PATIENCE_S
        while True:
            self.state = await asyncio.to_thread(self._ask_for_state)
            if not self.state["exchanges"]:
                return
            assert time.monotonic() < patient_until, f"exchanges without a caller: {self.state}"
            await asyncio.sleep(LOOK_AGAIN_S)

    def _ask_for_state(self) -> dict[str, Any]:
        """Ask on a connection that is kept: one more of them each time would count as well."""
        self._admin.request("GET", "/state")
        return orjson.loads(self._admin.getresponse().read())

    def close(self) -> None:
        self._admin.close()

    def fifth(self, number: int) -> list[Sample]:
        """Give the samples of that fifth of the time; the first is 0."""
        count = len(self.samples)
        return self.samples[number * count // 5 : (number + 1) * count // 5]


def tables(folder: Path, upstream: Upstream, log: Log) -> dict[str, Any]:
    plain, tls = upstream.ports[False], upstream.ports[True]
    patience = {"first_byte_timeout": GATEWAY_PATIENCE, "idle_timeout": GATEWAY_PATIENCE}
    return {
        "enabled": [*BUNDLED, str(folder / "watch.py")],
        "server": {
            "socket": str(folder / "socket"),
            "tls_cert": str(folder / "cert.pem"),
            "tls_key": str(folder / "key.pem"),
        },
        "limits": {"header_timeout": GATEWAY_PATIENCE},
        "plugins": {"access_log": {"path": str(log.path)}, "metadata": {"entries_max": 5}},
        "providers": {
            "openai": {"base_url": f"http://127.0.0.1:{plain}", **patience},
            "secure": {
                "base_url": f"https://localhost:{tls}",
                "ca_file": upstream.ca_file,
                **patience,
            },
            "socket": {"base_url": f"http://127.0.0.1:{upstream.socket_port}"},
        },
    }


async def soaked(folder: Path, tls: Tls, seconds: float, every_s: float) -> tuple[Soak, Log]:
    """Run the whole of it; the gateway has stopped and its log is read when this returns."""
    (folder / "watch.py").write_text(WATCH)
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    issue(authority, folder / "cert.pem", folder / "key.pem")
    upstream, log = Upstream(tls), Log(folder / "access.log")
    async with upstream.running():
        config = tables(folder, upstream, log)
        with running_gateway(config, env=GIVES_BACK) as gateway:
            load = Load(gateway.port, config["server"]["socket"], trust)
            config["state_dir"] = str(gateway.folder / "state")
            fault_s = min(FAULT_PART * every_s, FAULT_S_MAX)
            faults = Faults(gateway, config, upstream, log, authority, fault_s)
            soak = Soak(gateway, upstream, load, faults)
            try:
                await soak.run(seconds, every_s)
            finally:
                await load.rest()
                soak.close()
                log.reads.set()
            assert await asyncio.to_thread(gateway.stop) == 0
            await asyncio.to_thread(log.wait)
            soak.crashes = gateway.crashes
    return soak, log


def test_nothing_is_left_behind(tmp_path: Path, tls: Tls, sizes: Sizes):
    seconds = float(os.environ.get("WEIR_SOAK_S", sizes.soak_s))
    soak, log = asyncio.run(soaked(tmp_path, tls, seconds, sizes.fault_every_s))
    load = soak.load
    print(f"\nserved {load.served.total()} {dict(load.served)}, failed {len(load.failures)}")
    print(f"logged {dict(log.outcomes)}")
    for sample, window in zip(soak.samples, soak.windows, strict=True):
        print(sample, window.fault.name)

    assert (soak.crashes, load.crashes) == ([], [])
    # Nobody gets what is another's, and nobody is told that a cut answer is whole.
    assert (load.foreign, soak.upstream.foreign, load.untrue) == ([], [], [])
    # Outside of faults everybody is served.
    unexcused = [f for f in load.failures if not any(w.excuses(f) for w in soak.windows)]
    assert unexcused == []
    assert load.served.total() > 2 * len(load.failures)
    # Each exchange is settled once, and told once.
    assert (log.others, log.twice) == ([], [])
    assert soak.state["settled"] == len(log.ids)
    assert len(load.ids) == len(set(load.ids))
    assert set(load.ids) <= log.ids
    check_flat(soak, sizes)


def check_flat(soak: Soak, sizes: Sizes) -> None:
    """Hold the last fifth of the time against the second; the first is for warming up."""
    early, late = soak.fifth(1), soak.fifth(4)
    before, after = middle(early), middle(late)
    assert abs(after.descriptors - before.descriptors) <= DESCRIPTORS_SPARE
    assert abs(after.tasks - before.tasks) <= TASKS_SPARE
    assert after.memory_bytes - before.memory_bytes < sizes.soak_growth_bytes
    warm = soak.samples[soak.samples.index(early[0]) :]
    times = [sample.at_s for sample in warm]
    slope = linear_regression(times, [sample.memory_bytes for sample in warm]).slope
    assert slope * (times[-1] - times[0]) < sizes.soak_growth_bytes


def middle(samples: list[Sample]) -> Sample:
    """Give the median of each thing that was held."""
    return Sample(
        median(sample.at_s for sample in samples),
        median(sample.memory_bytes for sample in samples),
        median(sample.descriptors for sample in samples),
        median(sample.tasks for sample in samples),
    )
