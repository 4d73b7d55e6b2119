"""Lines to a file or stream from a thread of their own, so that a slow disk or a stuck reader
never holds the loop.

`put` appends to a bounded queue and returns; it costs a fraction of a microsecond. The thread
wakes once per batch, blanks secrets, and writes many lines with one system call. Lines are made by
those who put them: two threads that both want the interpreter's lock cost more than the work does.
A full queue drops lines and counts them; the count is written as a line of its own as soon as there
is room, because a log with silent holes misleads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import threading
import time
from pathlib import Path
from typing import Final

import orjson

from gateway.secret import scrub

# At 20,000 lines a second, half a second of a stuck disk; at 300 bytes a line, 3 MB.
QUEUE_MAX: Final = 10_000
# Long enough to gather a batch under load, short enough to watch a log live.
BATCH_S: Final = 0.05
# A reader that takes nothing for this long at the end of the process has given up on our lines.
FLUSH_S: Final = 1.0

# Two writers of one stream, such as two logs on standard error, take turns: a pipe cuts what is
# longer than its own atomic size wherever it is full. Those of other processes, such as the workers
# of one gateway, take theirs by a lock of the kernel's, which holds between processes only.
_turns: dict[tuple[int, int], threading.Lock] = {}


class LineWriter:
    """Writes lines, without their line break, to a path or an open file descriptor.

    A path is opened for appending, and again when the file was moved away, so that log rotation
    needs no signal.
    """

    def __init__(self, target: str | Path | int, *, queue_max: int = QUEUE_MAX) -> None:
        self._path = None if isinstance(target, int) else Path(target)
        self.fd = target if isinstance(target, int) else _opened(Path(target))
        self._turn = _turns.setdefault(_identity(self.fd), threading.Lock())
        # One buffer, and not a line each: what one thread makes and another frees goes through the
        # allocator's slow side, and costs more than the copy.
        self._queued = bytearray()
        self._count = 0
        self._queue_max = queue_max
        self._awaited: list[threading.Event] = []
        # Taken for a copy only. A destructor that logs may come in between, in the same thread.
        self._lock = threading.RLock()
        self._asleep = True
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._worker: threading.Thread | None = None
        self._start = threading.Lock()
        self._is_closed = False
        self._reported = 0
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """Queue a line, or drop and count it if the queue is full. Never blocks, in any thread."""
        with self._lock:
            if self._count >= self._queue_max:
                self.dropped += 1
                return
            self._count += 1
            self._queued += line + b"\n"
        if self._asleep:
            self._rouse()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything queued so far is written. False if that takes too long."""
        if not self._queued and self._worker is None:
            return True
        reached = threading.Event()
        with self._lock:
            self._awaited.append(reached)
        self._hurry.set()
        self._rouse()
        return reached.wait(timeout_s)

    def close(self, timeout_s: float = FLUSH_S) -> bool:
        """Flush, end the thread and close the file. False if lines were lost."""
        is_written = self.flush(timeout_s)
        self._is_closed = True
        self._wake.set()
        if self._worker is not None:
            self._hurry.set()
            self._worker.join(timeout_s)
            # A thread that still hangs in a write needs the descriptor; it ends with the process.
            is_written = is_written and not self._worker.is_alive()
        if self._path is not None and (self._worker is None or not self._worker.is_alive()):
            os.close(self.fd)
        return is_written

    def _rouse(self) -> None:
        self._asleep = False
        if self._worker is None:
            with self._start:
                if self._worker is None:
                    thread = threading.Thread(target=self._run, name="lines", daemon=True)
                    self._worker = thread
                    thread.start()
        self._wake.set()

    def _run(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            self._hurry.wait(BATCH_S)
            self._hurry.clear()
            self._wake.clear()
            # From here on a new line wakes us again; one that came just before is drained now.
            self._asleep = True
            self._drain()

    def _drain(self) -> None:
        """Write what there is now. Under load more comes meanwhile, and waits for the next batch: a
        thread that never sleeps would take the interpreter's lock from the loop all the time.
        """
        with self._lock:
            data = bytes(self._queued)
            self._queued.clear()
            self._count = 0
            awaited, self._awaited = self._awaited, []
        if self.dropped > self._reported:
            count, self._reported = self.dropped - self._reported, self.dropped
            data += _own_line("log_lines_dropped", count=count) + b"\n"
        if data:
            if self._path is not None:
                self._reopen_if_moved(self._path)
            self._write_in_turn(scrub(data))
        for reached in awaited:
            reached.set()

    def _write_in_turn(self, data: bytes) -> None:
        with self._turn:
            is_locked = _lock(self.fd)
            try:
                self._write(data)
            finally:
                if is_locked:
                    fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written = os.write(self.fd, view)
                view = view[written:]
            except BlockingIOError:
                # Somebody who shares the stream made it non-blocking; we may wait, the loop does
                # not.
                select.select([], [self.fd], [], BATCH_S)
            except OSError:
                # No disk space, or nobody reads any more: these lines are gone, and counted.
                self.dropped += bytes(view).count(b"\n")
                return

    def _reopen_if_moved(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # a new file that cannot be opened leaves us the old one
            ours = os.fstat(self.fd)
            try:
                there = path.stat()
            except FileNotFoundError:
                there = None
            if there is None or not os.path.samestat(there, ours):
                fd = _opened(path)
                os.close(self.fd)
                self.fd = fd


def _opened(path: Path) -> int:
    # Nobody but the operator and their group reads who asked for what.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _identity(fd: int) -> tuple[int, int]:
    """What a descriptor stands for, which may have others."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _lock(fd: int) -> bool:
    """Keep other processes from writing to a stream; False if that is needless or impossible.

    What is appended to a file is never cut. A lock of flock's would be shared by all who have
    inherited the descriptor.
    """
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISFIFO(mode) and not stat.S_ISSOCK(mode):
            return False
        fcntl.lockf(fd, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _own_line(event: str, **values: object) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return orjson.dumps({"event": event, **values, "level": "warning", "timestamp": stamp})
