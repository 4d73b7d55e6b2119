"""What the proxy's processes use, where they run, and their ends.

CPU is user and system time of a process and all its descendants, every thread counted, those that
ended too. The kernel's ticks in /proc are 10 ms, a tenth of what 200 streams cost nginx in a
second; so the sum is read from each process's CPU clock, and ticks only tell user from system.
Memory is the sum of resident sets, which counts shared pages once per process, for nginx as for us.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
STOP_TIMEOUT_S = 5.0
OPEN_FILES_WANTED = 65_536


class Usage(NamedTuple):
    """CPU spent so far and memory held now; not a number where the platform has no /proc."""

    cpu_s: float
    user_s: float
    rss_bytes: float


UNKNOWN = Usage(float("nan"), float("nan"), float("nan"))


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that matter here, in ticks and pages."""

    parent: int
    user: int
    system: int
    pages: int


def parse_stat(text: str) -> Stat:
    """A command's name may hold blanks and brackets, so counting starts behind the last one."""
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(int(fields[1]), int(fields[11]), int(fields[12]), int(fields[21]))


def stats() -> dict[int, Stat]:
    """Every process there is. One that ends while we look is left out."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                found[int(folder.name)] = parse_stat((folder / "stat").read_text())
    return found


def family(pid: int, known: dict[int, Stat]) -> set[int]:
    """The process and all that descend from it."""
    members = {pid} & known.keys()
    while more := {child for child, stat in known.items() if stat.parent in members} - members:
        members |= more
    return members


def usage(pid: int | None) -> Usage:
    if pid is None or not PROC.joinpath("self/stat").exists():
        return UNKNOWN
    known = stats()
    members = family(pid, known)
    if not members:
        return UNKNOWN
    return Usage(
        sum(cpu_s(member, known[member]) for member in members),
        sum(known[member].user for member in members) / TICKS,
        float(sum(known[member].pages for member in members) * os.sysconf("SC_PAGE_SIZE")),
    )


def cpu_s(pid: int, stat: Stat) -> float:
    """Read the process's CPU clock, to the nanosecond.

    The clock's number is what clock_getcpuclockid(3) would give: the process inverted, three bits
    to the left, and 2 for time as the scheduler counts it.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return (stat.user + stat.system) / TICKS


def can_pin() -> bool:
    return hasattr(os, "sched_setaffinity")


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Children started inside run on that core from their first instruction, with every thread."""
    if core is None or not can_pin():
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_open_files() -> int:
    """Thousands of streams are thousands of descriptors; gives what was got."""
    try:
        import resource  # noqa: PLC0415  # not on every platform
    except ImportError:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(OPEN_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def end_on_terminate() -> None:
    """SIGTERM unwinds like Ctrl-C, so that children are stopped by the same code.

    A shell starts what runs in the background with SIGINT ignored, so it is switched on first.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


@contextlib.contextmanager
def child(
    command: list[str],
    *,
    core: int | None = None,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a group of its own; the whole group is gone when the block is left."""
    with on_core(core):
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, wait, insist. The group is killed either way: a child's child must not stay."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def first_line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes:
    """The line a server prints when it is ready; raises where it ends or takes too long."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    os.set_blocking(descriptor, False)
    until = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        with contextlib.suppress(BlockingIOError):
            piece = os.read(descriptor, 4096)
            if not piece:
                raise ChildProcessError("it ended before it was ready")
            line += piece
            continue
        if time.monotonic() > until:
            raise TimeoutError(f"it was not ready within {timeout_s:g} s")
        time.sleep(0.001)
    return line
