"""wrk where it is installed: it costs a third of our own generator, which leaves more of the core
to the mock.

It knows closed loops of whole answers only, and counts by status: that bodies are right is our own
generator's to check.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import orjson

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}
REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m)")
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
SHARE = re.compile(r"^\s+(50|75|90|99)%\s+([\d.]+)(us|ms|s|m)", re.MULTILINE)
SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
BAD_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class Told(msgspec.Struct, frozen=True):
    """What wrk printed; latencies in microseconds."""

    requests: int
    seconds: float
    rate: float
    latency_us: dict[int, float]
    errors: dict[str, int]


def installed() -> str | None:
    return shutil.which("wrk")


def parse(text: str) -> Told:
    """Read wrk's table; raises ValueError where it is something else."""
    counted, rate = REQUESTS.search(text), RATE.search(text)
    if counted is None or rate is None:
        raise ValueError(f"not what wrk prints: {text[:200]!r}")
    errors = {}
    if found := SOCKET_ERRORS.search(text):
        names = ("connect", "read", "write", "timeout")
        errors = {name: int(number) for name, number in zip(names, found.groups(), strict=True)}
    if found := BAD_STATUS.search(text):
        errors["status"] = int(found[1])
    return Told(
        requests=int(counted[1]),
        seconds=float(counted[2]) * UNITS[counted[3]] / 1e6,
        rate=float(rate[1]),
        latency_us={
            int(share): float(value) * UNITS[unit] for share, value, unit in SHARE.findall(text)
        },
        errors={name: number for name, number in errors.items() if number},
    )


def script(method: str, body: bytes, fields: dict[str, str]) -> str:
    """The request as Lua, made once: with no function of ours wrk sends the same bytes each time.

    JSON's escapes are good enough for Lua strings of plain text.
    """
    lines = [f'wrk.method = "{method}"', f"wrk.body = {orjson.dumps(body.decode()).decode()}"]
    for name, value in fields.items():
        key, text = (orjson.dumps(part).decode() for part in (name, value))
        lines.append(f"wrk.headers[{key}] = {text}")
    return "\n".join(lines) + "\n"


def run(url: str, lua: Path, connections: int, seconds: float) -> Told:
    """wrk counts in whole seconds. It is given as long again to come to its end."""
    whole = max(1, round(seconds))
    done = subprocess.run(
        [
            installed() or "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{whole}s",
            "--timeout=5s",
            "--latency",
            f"--script={lua}",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=2 * whole + 15,
        check=True,
    )
    return parse(done.stdout)
