"""Peers against scenarios, in alternating rounds.

In each round every peer meets every scenario, in an order that moves on by one, so that nobody is
always first or always after the same neighbour. Figures of a round are compared with the base of
the same round. Every value is written down as soon as it is known: an interrupted run leaves what
it measured.
"""

from __future__ import annotations

import contextlib
import csv
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TextIO

import click
import msgspec

from bench import wrk
from bench.peers import (
    DIRECT,
    PLAIN,
    ROOT,
    Cores,
    Peer,
    Running,
    missing,
    mock_upstream,
    running,
    versions,
)
from bench.processes import can_pin, raise_open_files
from bench.scenarios import FRESH, SCENARIOS, Settings, Values, warm
from bench.spread import Middle, middle, ratios

RESULTS = ROOT / "bench" / "results"


class Row(msgspec.Struct, frozen=True):
    """One value of one round."""

    round: int
    peer: str
    scenario: str
    figure: str
    value: float


class Results:
    """All rows, asked by peer and figure. A figure is named scenario.figure."""

    def __init__(self, peers: Sequence[Peer], notes: Sequence[str] = ()) -> None:
        self.peers = [peer.name for peer in peers]
        self.notes = list(notes)
        self.rows: list[Row] = []

    def series(self, peer: str, figure: str) -> list[float]:
        """By round. `X_added` is X less what the direct way took in the same round."""
        if figure.endswith("_added"):
            plain = figure.removesuffix("_added")
            pairs = zip(self.series(peer, plain), self.series(DIRECT.name, plain), strict=False)
            return [value - base for value, base in pairs] if peer != DIRECT.name else []
        return [
            row.value
            for row in self.rows
            if row.peer == peer and f"{row.scenario}.{row.figure}" == figure
        ]

    def middle(self, peer: str, figure: str) -> Middle | None:
        return middle(self.series(peer, figure))

    def ratio(self, peer: str, figure: str, base: str = PLAIN.name) -> Middle | None:
        return middle(ratios(self.series(peer, figure), self.series(base, figure)))

    def difference(self, peer: str, figure: str, base: str) -> Middle | None:
        pairs = zip(self.series(peer, figure), self.series(base, figure), strict=False)
        return middle(value - other for value, other in pairs)

    def errors(self, peer: str) -> int:
        return int(
            sum(row.value for row in self.rows if row.peer == peer and row.figure == "errors")
        )


class Progress:
    """One line that is written over on a terminal; one line a round elsewhere. Never on stdout."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self.began = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        if not self.terminal:
            return
        spent = time.monotonic() - self.began
        left = f", {spent / self.done * (self.steps - self.done):.0f} s left" if self.done else ""
        click.echo(f"\r\x1b[K[{self.done}/{self.steps}] {text}{left}", nl=False, err=True)
        self.done += 1

    def round(self, text: str) -> None:
        if not self.terminal:
            click.echo(text, err=True)

    def end(self) -> None:
        if self.terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


def compare(
    peers: Sequence[Peer],
    scenarios: Sequence[str],
    rounds: int,
    settings: Settings,
    folder: Path,
) -> Results:
    """Run it all; `raw.csv` in the folder grows as it goes."""
    results = Results(peers, notes(settings, peers))
    progress = Progress(rounds * len(peers) * len(scenarios))
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context((folder / "raw.csv").open("w", newline=""))
        write = csv.writer(raw)
        write.writerow(Row.__struct_fields__)
        upstream, pid = stack.enter_context(mock_upstream(settings.cores))
        settings = msgspec.structs.replace(settings, upstream=upstream, mock_pid=pid)
        standing = {}
        if any(name in SCENARIOS for name in scenarios):
            for peer in peers:
                target = stack.enter_context(running(peer, upstream, settings.cores))
                standing[peer] = target
                if not target.exact:
                    warm(target, settings)
        stack.callback(progress.end)
        for number in range(1, rounds + 1):
            progress.round(f"round {number} of {rounds}")
            for scenario in scenarios:
                for peer in turned(peers, number):
                    progress.step(f"round {number} of {rounds}: {scenario}, {peer.name}")
                    values = one(scenario, peer, standing.get(peer), settings)
                    rows = [Row(number, peer.name, scenario, *item) for item in values.items()]
                    results.rows.extend(rows)
                    write.writerows(map(msgspec.structs.astuple, rows))
                    raw.flush()
    return results


def one(scenario: str, peer: Peer, standing: Running | None, settings: Settings) -> Values:
    if scenario in FRESH:
        return FRESH[scenario](peer, settings) if peer.kind != DIRECT.kind else {}
    assert standing is not None
    return SCENARIOS[scenario](standing, settings)


def turned(peers: Sequence[Peer], number: int) -> list[Peer]:
    start = number % len(peers)
    return [*peers[start:], *peers[:start]]


def usable(peers: Sequence[Peer]) -> list[Peer]:
    """Those that can run here; says why another cannot."""
    found = []
    for peer in peers:
        if why := missing(peer):
            click.echo(f"{peer.name} is left out: {why}.", err=True)
        else:
            found.append(peer)
    return found


def prepare(settings: Settings) -> Settings:
    """Ask for descriptors, and for no more streams than they allow in each process."""
    files = raise_open_files()
    most = (files - 200) // 2
    if files and settings.open_streams > most:
        click.echo(f"Only {files} open files are allowed: {most} streams for memory.", err=True)
        return msgspec.structs.replace(settings, open_streams=most)
    return settings


def new_folder(name: str) -> Path:
    folder = RESULTS / time.strftime(f"%Y%m%d-%H%M%S-{name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def parse_cores(text: str) -> Cores:
    """`proxy,mock,load` as numbers; empty for the usual: the proxy alone on the first core, the
    rest on the second.
    """
    if not can_pin():
        return Cores()
    have = sorted(os.sched_getaffinity(0))
    if not text:
        return Cores(have[0], have[1], have[1]) if len(have) > 1 else Cores()
    if text == "none":
        return Cores()
    try:
        wanted = [int(word) for word in text.split(",")]
    except ValueError:
        wanted = []
    if len(wanted) != 3 or not set(wanted) <= set(have):
        raise click.BadParameter(f"give three of the cores {have}, or none")
    return Cores(*wanted)


def notes(settings: Settings, peers: Sequence[Peer]) -> list[str]:
    """What a reader must know to judge the numbers."""
    cores = settings.cores
    if cores.proxy is None:
        pinned = "No process is pinned to a core here, so expect wide ranges."
    elif cores.mock == cores.load:
        pinned = f"Proxy on core {cores.proxy}, mock upstream and load on core {cores.mock}."
    else:
        pinned = f"Proxy on core {cores.proxy}, mock on {cores.mock}, load on {cores.load}."
    loop = "wrk" if wrk.installed() else "our own generator (wrk is not installed)"
    return [
        ", ".join([*surroundings(), *versions(peers)]) + ".",
        f"{pinned} Closed loops by {loop}.",
    ]


def surroundings() -> Iterator[str]:
    yield f"{processor()}, {os.cpu_count()} cores"
    yield f"{platform.system()} {platform.release()}"
    yield f"Python {platform.python_version()}"
    for name in ("uvloop", "httptools", "aiohttp"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield f"{name} {metadata.version(name)}"


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def write_rows(results: Results, out: TextIO) -> None:
    """Medians and ranges, one line a peer and figure."""
    write = csv.writer(out)
    write.writerow(("peer", "figure", "median", "low", "high", "of_nginx"))
    figures = dict.fromkeys(f"{row.scenario}.{row.figure}" for row in results.rows)
    for peer in results.peers:
        for figure in figures:
            if found := results.middle(peer, figure):
                of_nginx = results.ratio(peer, figure)
                share = f"{of_nginx.median:.4g}" if of_nginx else ""
                numbers = (f"{number:.6g}" for number in msgspec.structs.astuple(found))
                write.writerow((peer, figure, *numbers, share))
