"""What two workers serve of what one serves, and how the work falls to each.

Load and mock share the machine with the gateway. So a pair is asked as well for what is so dear
that the gateway is the limit all the same: prompts of 8 KB with personal data to take out. For what
is not dear, requests per second show the load; what two cores would serve then follows from the CPU
per request of both, for a core serves as many as fit in a second.

The kernel deals connections to workers by a hash of their addresses (SO_REUSEPORT, socket(7)), not
by who is free: of few connections one worker may get all.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import orjson

from bench.peers import ROOT, Peer, Running, gateway
from bench.processes import cpu_s, family, stats

COUNT = 2
DEAR = "redact"
# A plugin is given as a path where it is none of ours.
MODULE = "bench.redact"
PLUGIN = ROOT.joinpath(*MODULE.split(".")).with_suffix(".py")
SENTENCE = (
    "Ask Ms. Jane Roe (jane.roe@mail.example.org), whose card 4111 1111 1111 1111 was charged, "
    "what became of order 4711 of last Tuesday, and whether the parcel for the north has left. "
)
PROMPT = orjson.dumps(
    {
        "model": "bench-1",
        "messages": [{"role": "user", "content": SENTENCE * (8192 // len(SENTENCE))}],
        "stream": False,
    }
)
# How many connections are opened at once to see who gets them: one caller's pool, and a usual load.
FEW, MANY = 4, 32
TRIES = 25
ACCEPTED_TIMEOUT_S = 10.0
ESTABLISHED = "01"
# Closing with this set sends RST, so that no address is left waiting.
RESET = struct.pack("ii", 1, 0)

Share = dict[int, float]


def pair(written: str) -> tuple[Peer, Peer]:
    """The gateway with one worker and with two, with a list of plugins or the dear one."""
    path = written.replace(DEAR, str(PLUGIN))
    one, more = (
        msgspec.structs.replace(gateway(path), workers=count, name=f"weir {written} x{count}")
        for count in (1, COUNT)
    )
    return one, more


def body_for(peer: Peer) -> bytes:
    """Empty for the usual one."""
    return PROMPT if str(PLUGIN) in peer.plugins else b""


def workers_of(pid: int) -> set[int]:
    """The processes that serve: those below the keeper, or the only one there is."""
    return family(pid, stats()) - {pid} or {pid}


def cpu_by_worker(pid: int) -> Share:
    known = stats()
    return {worker: cpu_s(worker, known[worker]) for worker in workers_of(pid) if worker in known}


def least_share(before: Share, after: Share) -> float:
    """What of the workers' CPU the one that did least has spent; half is even between two."""
    spent = [after[worker] - before[worker] for worker in before if worker in after]
    return min(spent) / sum(spent) if sum(spent) else 0.0


def falls(target: Running, count: int, accepted_timeout_s: float = ACCEPTED_TIMEOUT_S) -> list[int]:
    """Open so many connections at once; gives how many each worker got, the most first."""
    assert target.pid is not None
    parts = urlsplit(target.base)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    workers = workers_of(target.pid)
    with contextlib.ExitStack() as stack:
        own = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(address, 5))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            own.append(sock.getsockname()[1])
        until = time.monotonic() + accepted_timeout_s
        while True:
            got = held(workers, address[1], own)
            if sum(got.values()) == count:
                return sorted((got[worker] for worker in workers), reverse=True)
            if time.monotonic() > until:
                raise TimeoutError(f"{sum(got.values())} of {count} connections were accepted")
            time.sleep(0.002)


def held(workers: Iterable[int], port: int, callers: Sequence[int]) -> Counter[int]:
    """Which worker holds how many of the connections to the port from these callers' ports."""
    wanted = inodes(Path("/proc/net/tcp").read_text(), port, callers)
    found: Counter[int] = Counter()
    for worker in workers:
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found[worker] += str(descriptor.readlink()) in wanted
    return found


def inodes(table: str, port: int, callers: Sequence[int]) -> set[str]:
    """Our ends of these connections as /proc/PID/fd names them; see proc_net_tcp in the kernel's
    documentation. An inode of 0 is of a connection that nobody has accepted.
    """
    found = set()
    for line in table.splitlines()[1:]:
        _, here, there, state, *rest = line.split()
        ports = (int(end.partition(":")[2], 16) for end in (here, there))
        if state == ESTABLISHED and next(ports) == port and next(ports) in callers:
            found.add(f"socket:[{rest[5]}]")
    return found


def spread_of(target: Running, count: int) -> tuple[float, float]:
    """Over some tries: the mean share of whoever got least, and how often that was nothing."""
    least = [falls(target, count)[-1] for _ in range(TRIES)]
    return statistics.mean(least) / count, least.count(0) / TRIES
