"""The ledger loses nothing and counts nothing twice, at whatever moment its gateway is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from gateway.testing import RunningGateway, running_gateway
from gateway.testing.toml import to_toml
from tests.whole.ledgers import (
    BEGUN,
    ENDED,
    ROOT,
    Callers,
    Upstream,
    compared,
    configured,
    read,
    recover,
    witnessing,
)

IN_FLIGHT = 20
WRITES = ("write", "pwrite64", "writev", "sendto", "sendmsg")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with witnessing(tmp_path) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite"
    address: str = request.getfixturevalue("postgres").database()
    return address


def kill_all(gateway: RunningGateway) -> None:
    """Kill all of its processes, the one that would start others anew first."""
    parent = psutil.Process(gateway.pid)
    for process in (parent, *parent.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def phases(callers: Callers, seen: set[int]) -> Counter[str]:
    """Where each exchange in flight is."""
    found: Counter[str] = Counter()
    for number in callers.in_flight:
        state = callers.states[number]
        if number not in seen:
            found["before the upstream"] += 1
        else:
            found["in the answer" if state == BEGUN else "before the answer"] += 1
    return found


def test_killed_with_requests_in_flight_it_loses_none_and_doubles_none(
    upstream, store, tmp_path, sizes, capsys
):
    state = tmp_path / "state"
    callers = Callers()
    where: Counter[str] = Counter()
    random_ = random.Random(sizes.kills)

    async def kill_in_flight(gateway: RunningGateway) -> None:
        async def wait_and_kill() -> None:
            await asyncio.sleep(random_.uniform(0.1, 0.8))
            kill_all(gateway)
            where.update(phases(callers, set(upstream.seen)))
            await asyncio.sleep(0.05)

        await callers.ask_until(gateway.port, IN_FLIGHT, wait_and_kill)

    for n in range(sizes.kills):
        config = configured(upstream.port, state, store, server={"workers": 1 + n % 2})
        with running_gateway(config) as gateway:
            asyncio.run(kill_in_flight(gateway))
    recover(state, store)

    with capsys.disabled():
        print(f"\n{sizes.kills} kills, {len(callers.states)} exchanges; in flight: {dict(where)}")
    assert compared(callers, upstream.seen, read(state, store)) == []
    on_the_way = where["in the answer"] + where["before the answer"]
    assert on_the_way >= 0.7 * where.total() > 0
    assert len(callers.those(ENDED)) > sizes.kills
    assert list((state / "journal").glob("*.journal")) == []


class Script:
    """One request to a gateway that runs under strace, and then its end."""

    def __init__(self, upstream: Upstream, state: Path, store: str, **ledger: str) -> None:
        self.upstream = upstream
        self.state = state
        self.store = store
        self.ledger = ledger
        self.callers = Callers()

    def run(self, *strace: str) -> bool:
        """Run it; whether the gateway came to its own end."""
        config = configured(self.upstream.port, self.state, self.store, ledger=self.ledger)
        config |= {"server": {"port": 0}, "admin": {"port": 0}, "log": {"format": "json"}}
        self.state.mkdir(exist_ok=True)
        file = self.state / "config.toml"
        file.write_text(to_toml(config))
        command = ["strace", "-D", "-f", "-qq", *strace]  # with --seccomp-bpf `when` does not count
        command += [sys.executable, "-m", "gateway", "run", "--config", str(file)]
        paths = filter(None, (os.environ.get("CORE_UNDER_TEST"), str(ROOT)))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(command, stdout=pipe, stderr=null, env=environment) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            if line:
                port = int(orjson.loads(line)["callers"].rpartition(":")[2])
                asyncio.run(self.callers.ask(port))
                process.send_signal(signal.SIGTERM)
            process.wait(30)
        return process.returncode == 0

    def faults(self) -> list[str]:
        recover(self.state, self.store)
        return compared(self.callers, self.upstream.seen, read(self.state, self.store))


def writes_of(trace: str) -> list[tuple[str, int]]:
    """Give each write call by its name and its place among those of its thread."""
    counts: Counter[tuple[str, str]] = Counter()
    for thread, name in re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE):
        counts[thread, name] += 1
    most: dict[str, int] = {}
    for (_, name), count in counts.items():
        most[name] = max(most.get(name, 0), count)
    return [(name, n) for name, count in sorted(most.items()) for n in range(1, count + 1)]


def test_killed_at_any_write_of_one_request_it_loses_nothing(
    upstream, store, tmp_path, sizes, capsys
):
    trace = tmp_path / "trace"
    script = Script(upstream, tmp_path / "state", store)
    for _ in range(2):  # the second finds a store: its first writes are the journal's
        assert script.run("-e", f"trace={','.join(WRITES)}", "-o", str(trace))
        assert script.faults() == []
    all_writes = writes_of(trace.read_text())
    assert {"pwrite64"} < {name for name, _ in all_writes}
    # The journal's own two, and others as many as are wanted.
    some = [("pwrite64", 1), ("pwrite64", 2), *all_writes[:: len(all_writes) // sizes.injected + 1]]
    some = list(dict.fromkeys(some))[: sizes.injected]
    killed = 0
    for name, n in some:
        inject = ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={n}")
        killed += not script.run(*inject, "-o", os.devnull)
        assert script.faults() == [], f"killed at {name} {n}"
    with capsys.disabled():
        print(f"\nkilled at {killed} of {len(all_writes)} writes")
    assert killed >= len(some) * 0.8


@pytest.mark.parametrize(("durability", "waits"), [("power", True), ("process", False)])
def test_the_disk_has_an_opening_before_anything_goes_up_where_power_may_fail(
    durability, waits, upstream, tmp_path
):
    trace = tmp_path / "trace"
    script = Script(upstream, tmp_path / "state", "sqlite", durability=durability)
    calls = ("fdatasync", "fsync", *WRITES)
    assert script.run("-e", f"trace={','.join(calls)}", "-s", "200", "-o", str(trace))
    assert script.faults() == []
    lines = trace.read_text().splitlines()
    opened = next(at for at, line in enumerate(lines) if r'"{\"open\"' in line)
    sent = next(at for at, line in enumerate(lines) if '"POST /v1/chat/completions' in line)
    journal = re.findall(r"pwrite64\((\d+)", lines[opened])[0]
    between = "\n".join(lines[opened + 1 : sent])
    # Said on one line, or begun on one and ended on another.
    synced = re.search(rf"fdatasync\({journal}(\) += 0| <unfinished)", between)
    ended = re.search(r"fdatasync(\(\d+\)| resumed>\)) += 0", between)
    assert opened < sent
    assert (synced is not None and ended is not None) == waits
