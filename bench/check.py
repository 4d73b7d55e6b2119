"""The bar, and whether a comparison clears it.

A figure that could not be measured does not pass: without nginx, or without /proc, nothing was
shown.
"""

from __future__ import annotations

import math

import msgspec

from bench.compare import Results
from bench.peers import Peer, gateway
from bench.workers import DEAR, pair

NONE = gateway("none")
ISSUE = gateway("issue")
SCENARIOS = ("unary", "sse", "memory")


class Limit(msgspec.Struct, frozen=True):
    """The median must not be above `most`; a ratio is against nginx in the same round. Of a
    `least` it must not be below it.
    """

    peer: Peer
    figure: str
    title: str
    most: float = math.inf
    ratio: bool = False
    least: float = -math.inf


class Verdict(msgspec.Struct, frozen=True):
    limit: Limit
    found: float | None

    @property
    def passed(self) -> bool:
        return self.found is not None and self.limit.least <= self.found <= self.limit.most

    def __str__(self) -> str:
        found = "not measured" if self.found is None else f"{self.found:.2f}"
        word = "ok  " if self.passed else "FAIL"
        limit = self.limit
        least = math.isfinite(limit.least)
        bar = f"at least {limit.least:g}" if least else f"at most {limit.most:g}"
        return f"{word}  {limit.peer.name}: {limit.title}: {found} ({bar})"


LIMITS = (
    Limit(NONE, "unary.cpu_us", "CPU per request, times nginx", 2.4, ratio=True),
    Limit(NONE, "sse.cpu_us", "CPU per chunk, times nginx", 1.4, ratio=True),
    Limit(ISSUE, "unary.cpu_us", "CPU per request, times nginx", 3.0, ratio=True),
    Limit(ISSUE, "sse.cpu_us", "CPU per chunk, times nginx", 1.5, ratio=True),
    Limit(NONE, "memory.idle_mb", "idle memory, MB", 60),
    Limit(ISSUE, "memory.idle_mb", "idle memory, MB", 60),
    Limit(NONE, "memory.start_s", "start to first answer, s", 1),
    Limit(ISSUE, "memory.start_s", "start to first answer, s", 1),
    Limit(NONE, "memory.stream_kb", "KB per open stream", 15),
    Limit(ISSUE, "memory.stream_kb", "KB per open stream", 15),
)
PAIR = pair(DEAR)
# Of what load and mock leave of two cores.
TWICE = Limit(PAIR[1], "workers.rate", "requests/s, times one worker's", least=1.7)


def judge(results: Results) -> list[Verdict]:
    """One verdict a limit of every peer that took part, and one that nothing failed on the way."""
    verdicts = []
    for limit in LIMITS:
        if limit.peer.name in results.peers:
            ask = results.ratio if limit.ratio else results.middle
            found = ask(limit.peer.name, limit.figure)
            verdicts.append(Verdict(limit, None if found is None else found.median))
    if TWICE.peer.name in results.peers:
        ratio = results.ratio(TWICE.peer.name, TWICE.figure, PAIR[0].name)
        verdicts.append(Verdict(TWICE, None if ratio is None else ratio.median))
    for name in results.peers:
        limit = Limit(Peer(name, ""), "errors", "errors", 0)
        verdicts.append(Verdict(limit, float(results.errors(name))))
    return verdicts
