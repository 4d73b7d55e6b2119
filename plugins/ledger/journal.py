"""The journal: what a process has promised not to forget, in files that outlive it.

A record is a line, written with one `write()` before the thing that it speaks of is done, so that
it is the kernel's when the process is killed. Files are made at their full size, so that a disk
which fills up later has room for what was begun; what was not written yet is zeros. Each process
holds the lock (flock) of each of its files as long as it lives: a file that can be locked belongs
to a dead one, and whoever locks it first reads it to the end.

`Journal` is the writing side, owned by the event loop's thread. Reading is `lines_of`, for any
thread, and `left_behind`, for files of the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SUFFIX: Final = ".journal"
# A file takes some thousands of records; that is what a reader reads at once, and what is lost of
# the disk to a process that writes nothing.
FILE_BYTES: Final = 4 * 1024 * 1024
# What may be left open in old files before it is written again into the newest, and the old ones
# are let go of: a stream may last for hours.
SEALED_MAX: Final = 8
# What a closing may be longer than its opening, at most times.
_CLOSING_BYTES: Final = 2048


class JournalFailed(Exception):
    """The journal cannot be written; the text says why."""


class File:
    """One file: where its records end, and which of them are open."""

    __slots__ = ("at", "capacity", "descriptor", "name", "open", "path", "shipped")

    def __init__(self, path: Path, descriptor: int, capacity: int) -> None:
        self.path = path
        self.name = path.stem
        self.descriptor = descriptor
        self.capacity = capacity
        self.at = 0
        self.shipped = 0  # how far a shipper has taken it
        self.open: dict[str, list[bytes]] = {}  # openings without a closing, by exchange

    @classmethod
    def make(cls, folder: Path, capacity: int) -> File:
        """Make a file, locked and with room for `capacity` bytes; OSError where there is none."""
        name = str(uuid.uuid4())
        path = folder / f"{name}{SUFFIX}"
        # Under a name that nobody looks for until it is locked.
        early = folder / f".{name}"
        descriptor = os.open(early, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, capacity)
            early.rename(path)
        except OSError:
            os.close(descriptor)
            early.unlink(missing_ok=True)
            raise
        return cls(path, descriptor, capacity)

    def write(self, line: bytes) -> None:
        """Append one record; OSError where it is not there whole."""
        written = os.write(self.descriptor, line)
        if written != len(line):
            os.lseek(self.descriptor, self.at, os.SEEK_SET)
            os.write(self.descriptor, bytes(written))  # zeros: nothing was written
            os.lseek(self.descriptor, self.at, os.SEEK_SET)
            raise OSError(0, "a record was cut short")
        self.at += written

    def close(self) -> None:
        """Let go of file and lock."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    def drop(self) -> None:
        """Remove it; its records are elsewhere."""
        self.path.unlink(missing_ok=True)
        self.close()


class Journal:
    """The files of one process. Methods raise `JournalFailed`, and then nothing was written."""

    def __init__(self, folder: Path, *, bytes_max: int, file_bytes: int = FILE_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._file_bytes = file_bytes
        self._files_max = max(2, bytes_max // file_bytes)
        self.sealed: list[File] = []
        self.current = self._made()

    @property
    def open_count(self) -> int:
        """Exchanges that are open in any file."""
        return sum(len(file.open) for file in self.files())

    def open(self, key: str, line: bytes) -> None:
        """Write down an attempt of exchange `key` before it is made."""
        current = self.current
        reserve = (len(current.open) + 1) * _CLOSING_BYTES
        if current.at + len(line) + reserve > current.capacity:
            self._rotate()
            current = self.current
        self._write(line)
        lines = current.open.get(key)
        if lines is None:
            current.open[key] = [line]
        else:
            lines.append(line)

    def close(self, key: str, line: bytes) -> None:
        """Write down the end of exchange `key`."""
        current = self.current
        if current.at + len(line) > current.capacity:
            self._rotate()
        self._write(line)
        if current.open.pop(key, None) is None or self.sealed:
            for file in self.sealed:
                file.open.pop(key, None)

    def is_open(self, key: str) -> bool:
        """Whether an attempt of that exchange has been written down, and not its end."""
        return key in self.current.open or any(key in file.open for file in self.sealed)

    def files(self) -> list[File]:
        """All files, oldest first."""
        return [*self.sealed, self.current]

    def renew(self) -> None:
        """Go on in a new file, after the present one failed."""
        self._rotate()

    def trim(self) -> None:
        """Remove files whose records have all been shipped and of which nothing is open."""
        while len(self.sealed) > SEALED_MAX and self.sealed[0].open:
            self._carry(self.sealed[0])
        for file in self.sealed.copy():
            if not file.open and file.shipped >= file.at:
                self.sealed.remove(file)
                file.drop()

    def sync(self) -> None:
        """Have the disk take what was written (`fdatasync`); for any thread."""
        os.fdatasync(self.current.descriptor)

    def end(self) -> None:
        """Remove what is shipped and done with; leave the rest, unlocked, to the next process."""
        for file in self.files():
            if not file.open and file.shipped >= file.at:
                file.drop()
            else:
                file.close()
        self.sealed.clear()

    def _made(self) -> File:
        if len(self.sealed) + 1 >= self._files_max:
            raise JournalFailed(
                f"{self.folder} has reached journal_bytes_max: records come faster than the "
                "store takes them"
            )
        try:
            return File.make(self.folder, self._file_bytes)
        except OSError as error:
            raise JournalFailed(f"{self.folder}: {error.strerror or error}") from error

    def _rotate(self) -> None:
        made = self._made()
        self.sealed.append(self.current)
        self.current = made

    def _write(self, line: bytes) -> None:
        try:
            self.current.write(line)
        except OSError as error:
            path = self.current.path
            raise JournalFailed(f"{path}: {error.strerror or error}") from error

    def _carry(self, file: File) -> None:
        """Write what is open in an old file again into the newest one."""
        for key, lines in list(file.open.items()):
            for line in lines:
                self.open(key, line)
            del file.open[key]


def lines_of(descriptor: int, start: int, end: int | None = None) -> tuple[list[bytes], int]:
    """The whole records from `start` on, up to `end` or the file's, and where they end."""
    if end is None:
        end = os.fstat(descriptor).st_size
    data = os.pread(descriptor, end - start, start)
    zero = data.find(b"\0")
    if zero >= 0:
        data = data[:zero]
    whole = data.rfind(b"\n") + 1
    return data[:whole].split(b"\n")[:-1], start + whole


def left_behind(folder: Path) -> Iterator[File]:
    """The files of processes that are gone, each locked by us until it is closed or dropped."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another one has just read and removed it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:
                raise BlockingIOError
        except OSError:
            os.close(descriptor)
            continue
        yield File(path, descriptor, os.fstat(descriptor).st_size)
