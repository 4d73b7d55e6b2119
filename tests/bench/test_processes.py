from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.processes import TICKS, Stat, child, family, first_line, parse_stat, usage

LINE = (
    "4321 (a (very) odd) S 77 4321 4321 0 -1 4194304 100 0 0 0 "
    "150 50 0 0 20 0 1 0 9000 1000000 2500 18446744073709551615"
)
BUSY = "import time\nuntil = time.process_time() + 0.2\nwhile time.process_time() < until: pass\n"


def test_a_name_with_brackets_does_not_shift_the_fields():
    assert parse_stat(LINE) == Stat(77, 150, 50, 2500)


def test_a_family_is_a_process_and_all_below_it():
    parents = {10: 1, 11: 10, 12: 11, 13: 1, 14: 13}
    known = {pid: Stat(parent, 0, 0, 0) for pid, parent in parents.items()}
    assert family(10, known) == {10, 11, 12}
    assert family(99, known) == set()


def test_what_a_child_of_a_child_burns_is_counted():
    inner = [sys.executable, "-c", BUSY + "time.sleep(60)"]
    outer = f"import subprocess\nsubprocess.run({inner!r})"
    with child([sys.executable, "-c", outer]) as process:
        before = usage(process.pid)
        time.sleep(0.6)
        after = usage(process.pid)
    assert after.cpu_s - before.cpu_s > 0.1
    assert after.rss_bytes > 1_000_000


def test_the_cpu_clock_and_the_ticks_tell_the_same():
    pid = os.getpid()
    stat = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    assert abs(usage(pid).cpu_s - time.process_time()) < 0.05
    assert abs((stat.user + stat.system) / TICKS - time.process_time()) < 0.05


def test_the_end_of_the_block_is_the_end_of_all_children():
    inner = [sys.executable, "-c", "import time; time.sleep(60)"]
    code = f"import subprocess\nprint(subprocess.Popen({inner!r}).pid, flush=True)\nwhile 1: pass"
    with child([sys.executable, "-c", code]) as process:
        grandchild = int(first_line(process, 5))
        os.kill(grandchild, 0)
    until = time.monotonic() + 5
    while time.monotonic() < until and running(grandchild):
        time.sleep(0.01)
    assert not running(grandchild)


def running(pid: int) -> bool:
    """Whoever inherits an orphan reaps it when it likes; until then it is a zombie."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_server_that_ends_before_it_is_ready_is_told_at_once():
    with (
        child([sys.executable, "-c", "print('half', end='')"]) as process,
        pytest.raises(ChildProcessError),
    ):
        first_line(process, 5)


def test_a_server_that_never_gets_ready_is_given_up():
    with (
        child([sys.executable, "-c", "import time; time.sleep(60)"]) as process,
        pytest.raises(TimeoutError),
    ):
        first_line(process, 0.1)
