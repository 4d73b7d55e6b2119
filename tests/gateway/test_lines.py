from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.lines import LineWriter
from gateway.secret import Secret


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of the smallest size: its reading and its writing end."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield read, write
    for end in (read, write):
        os.close(end)


def drained(fd: int) -> bytes:
    """Read what is there, until nothing came for a while."""
    parts = []
    while select.select([fd], [], [], 0.2)[0]:
        parts.append(os.read(fd, 65_536))
    return b"".join(parts)


def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


def written(path: Path, writer: LineWriter) -> list[bytes]:
    assert writer.close()
    return path.read_bytes().splitlines()


def test_lines_are_appended_in_order(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"before\n")
    writer = LineWriter(path)
    for number in range(1_000):
        writer.put(b"%d" % number)
    assert written(path, writer) == [b"before", *(b"%d" % number for number in range(1_000))]
    assert writer.dropped == 0


def test_a_line_is_there_soon_without_a_flush(tmp_path):
    path = tmp_path / "out"
    writer = LineWriter(path)
    writer.put(b"one")
    until(lambda: path.read_bytes() == b"one\n", 1.0)
    writer.put(b"two")
    until(lambda: path.read_bytes() == b"one\ntwo\n", 1.0)
    assert writer.close()


def test_flush_waits_for_what_was_put_before(tmp_path):
    path = tmp_path / "out"
    writer = LineWriter(path)
    text = b"x" * 99
    count = 5_000
    for _ in range(count):
        writer.put(text)
    assert writer.flush()
    assert path.read_bytes() == (text + b"\n") * count
    assert writer.close()


def test_nothing_to_write_needs_no_thread(tmp_path):
    before = threading.active_count()
    writer = LineWriter(tmp_path / "out")
    assert writer.flush()
    assert writer.close()
    assert threading.active_count() == before
    assert (tmp_path / "out").read_bytes() == b""


def test_secrets_are_blanked_whatever_way_they_came(tmp_path):
    secret = Secret(b"sk-live-in-a-line")
    path = tmp_path / "out"
    writer = LineWriter(path)
    writer.put(b"first " + secret.reveal())
    writer.put(b"second " + secret.reveal() + b"!")
    assert written(path, writer) == [b"first ***", b"second ***!"]


def test_a_stuck_reader_never_holds_the_caller_and_what_is_lost_is_counted(pipe):
    read, write = pipe
    writer = LineWriter(write, queue_max=100)
    line = b"x" * 1_000
    writer.put(line)
    until(lambda: select.select([read], [], [], 0)[0])
    slowest = 0.0
    for _ in range(2_000):
        before = time.perf_counter()
        writer.put(line)
        slowest = max(slowest, time.perf_counter() - before)
    assert slowest < 0.2
    assert writer.dropped > 1_000
    assert not writer.flush(0.05)
    lost = writer.dropped
    lines = drained(read).splitlines()
    counts = [json.loads(text)["count"] for text in lines if text.startswith(b"{")]
    assert sum(counts) == lost
    assert lines.count(line) == 2_001 - lost
    assert all(text == line or b'"event":"log_lines_dropped"' in text for text in lines)
    assert writer.close()


def test_a_stream_that_somebody_made_non_blocking_loses_nothing(pipe):
    read, write = pipe
    os.set_blocking(write, False)
    writer = LineWriter(write)
    for number in range(3_000):
        writer.put(b"%06d" % number)
    assert drained(read).splitlines() == [b"%06d" % number for number in range(3_000)]
    assert writer.dropped == 0
    assert writer.close()


def test_a_reader_that_is_gone_costs_lines_and_nothing_else():
    read, write = os.pipe()
    os.close(read)
    writer = LineWriter(write)
    for _ in range(5):
        writer.put(b"x")
    assert writer.flush()
    until(lambda: writer.dropped == 5)
    assert writer.close()
    os.close(write)


def test_a_full_disk_costs_lines_and_is_told_when_there_is_room_again(tmp_path):
    path = tmp_path / "out"
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(fd)
    writer.put(b"lost")
    assert writer.flush()
    assert writer.dropped == 1
    room = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(room, fd)
    writer.put(b"kept")
    assert writer.close()
    kept, told = path.read_bytes().splitlines()
    assert kept == b"kept"
    assert json.loads(told)["count"] == 1
    os.close(fd)
    os.close(room)


def test_a_file_that_was_moved_away_is_made_again(tmp_path):
    path = tmp_path / "out"
    writer = LineWriter(path)
    writer.put(b"one")
    assert writer.flush()
    path.rename(tmp_path / "out.1")
    writer.put(b"two")
    assert writer.flush()
    path.rename(tmp_path / "out.2")
    path.write_bytes(b"")
    writer.put(b"three")
    assert writer.close()
    texts = [(tmp_path / name).read_bytes() for name in ("out.1", "out.2", "out")]
    assert texts == [b"one\n", b"two\n", b"three\n"]


def test_a_new_file_is_closed_to_strangers(tmp_path):
    writer = LineWriter(tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o007 == 0
    assert writer.close()


def test_a_path_that_cannot_be_opened_is_told_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        LineWriter(tmp_path / "none" / "out")


def test_close_ends_the_thread_and_the_descriptor(tmp_path):
    before = threading.active_count()
    writer = LineWriter(tmp_path / "out")
    writer.put(b"x")
    assert writer.close()
    assert threading.active_count() == before
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer.fd)


def test_close_gives_up_on_a_stuck_reader_in_time(pipe):
    read, write = pipe
    writer = LineWriter(write)
    for _ in range(20):
        writer.put(b"x" * 1_000)
    before = time.monotonic()
    assert not writer.close(0.1)
    assert time.monotonic() - before < 2.0
    drained(read)


def test_many_threads_may_put(tmp_path):
    path = tmp_path / "out"
    writer = LineWriter(path)

    def put_many(name: int) -> None:
        for number in range(1_000):
            writer.put(b"%d %d" % (name, number))

    threads = [threading.Thread(target=put_many, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = written(path, writer)
    assert len(lines) == 4_000
    for name in range(4):
        mine = [line for line in lines if line.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, number) for number in range(1_000)]


def test_two_writers_of_one_stream_never_cut_each_others_lines(pipe):
    read, write = pipe
    writers = [LineWriter(write), LineWriter(write)]
    texts = [letter * 3_000 for letter in (b"a", b"b")]
    for _ in range(200):
        for writer, text in zip(writers, texts, strict=True):
            writer.put(text)
    lines = drained(read).splitlines()
    assert sorted(lines) == sorted(texts * 200)
    assert all(writer.close() for writer in writers)


OTHER_PROCESS = """
import sys
from gateway.lines import LineWriter

writer = LineWriter(int(sys.argv[1]))
print(flush=True)
sys.stdin.read()  # ends when all are there
for _ in range(30):
    writer.put(sys.argv[2].encode() * 100_000)
    writer.flush(10)
writer.close(10)
"""


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_processes_that_share_a_stream_never_cut_each_others_lines(kind):
    if kind == "pipe":
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    else:
        read, write = (sock.detach() for sock in socket.socketpair())
    letters = "abc"
    with contextlib.ExitStack() as stack:
        others = []
        for letter in letters:
            command = [sys.executable, "-c", OTHER_PROCESS, str(write), letter]
            other = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[write]
            )
            others.append(stack.enter_context(other))
        os.close(write)
        for other in others:
            assert other.stdout is not None
            assert other.stdout.read(1)
        for other in others:
            assert other.stdin is not None
            other.stdin.close()
        parts = []
        while part := os.read(read, 65_536):
            parts.append(part)
    os.close(read)
    lines = b"".join(parts).decode().splitlines()
    assert sorted(lines) == [letter * 100_000 for letter in letters for _ in range(30)]


def test_one_stream_under_two_descriptors_is_one_all_the_same(pipe):
    read, write = pipe
    again = os.dup(write)
    writers = [LineWriter(write), LineWriter(again)]
    texts = [letter * 6_000 for letter in (b"a", b"b")]
    for _ in range(50):
        for writer, text in zip(writers, texts, strict=True):
            writer.put(text)
    lines = drained(read).splitlines()
    assert sorted(lines) == sorted(texts * 50)
    assert all(writer.close() for writer in writers)
    os.close(again)


def test_put_is_cheap(tmp_path):
    writer = LineWriter(tmp_path / "out", queue_max=1_000_000)
    best = 1.0
    for _ in range(5):
        before = time.perf_counter()
        for _ in range(10_000):
            writer.put(b"a line")
        best = min(best, (time.perf_counter() - before) / 10_000)
    # It takes some 0.1 us; the bound leaves room for a busy machine.
    assert best < 2e-6
    assert writer.close(10)
