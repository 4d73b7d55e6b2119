"""The journal: what a process has promised not to forget, in files that outlive it.

A record is a line, written with one `write()` before the thing that it speaks of is done, so that
it is the kernel's when the process is killed. Files are made at their full size, with room for the
closings of all that is open, so that a disk which fills up later does not lose the end of what was
begun; what was not written yet is zeros. Each process holds the lock (flock) of each of its files
as long as it lives. Where all files of a process can be locked, that process is dead, and whoever
locks them reads them to the end.

`Journal` is the writing side, owned by the event loop's thread. Reading is `lines_of`, for any
thread, and `left_behind`, for files of the dead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Final

SUFFIX: Final = ".journal"
# What could not be read, or not be stored, stays for somebody to look at.
DAMAGED_SUFFIX: Final = ".damaged"
# A file takes some thousands of records; that is what a reader reads at once, and what is lost of
# the disk to a process that writes nothing.
FILE_BYTES: Final = 4 * 1024 * 1024
# What may be left open in old files before it is written again into the newest, and the old ones
# are let go of: a stream may last for hours.
SEALED_MAX: Final = 8
# What a closing may be longer than its opening, at most times.
CLOSING_BYTES: Final = 2048
# A file that is still being made after so long will never be ready.
_MADE_WITHIN_NS: Final = 60_000_000_000


class JournalFailed(Exception):
    """The journal cannot be written; the text says why."""


class File:
    """One file: where its records end, and which of them are open."""

    __slots__ = (
        "at",
        "capacity",
        "descriptor",
        "is_damaged",
        "is_gone",
        "name",
        "open",
        "path",
        "shipped",
        "synced",
    )

    def __init__(self, path: Path, descriptor: int, capacity: int) -> None:
        self.path = path
        self.name = path.stem
        self.descriptor = descriptor
        self.capacity = capacity
        self.at = 0
        self.shipped = 0  # how far a shipper has taken it
        self.synced = 0  # how far the disk has it, where somebody asked for that
        self.open: dict[str, bytes] = {}  # openings without a closing, by exchange
        self.is_damaged = False  # it holds what nobody could take
        self.is_gone = False

    @classmethod
    def make(cls, folder: Path, name: str, capacity: int) -> File:
        """Make a file, locked and with room for `capacity` bytes; OSError where there is none."""
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
        """Append one record; OSError where it is not there whole, and then none of it counts."""
        written = os.pwrite(self.descriptor, line, self.at)
        if written != len(line):
            with contextlib.suppress(OSError):
                os.pwrite(self.descriptor, bytes(written), self.at)  # zeros: nothing was written
            raise OSError(errno.ENOSPC, "a record was cut short")
        self.at += written

    def sync(self) -> None:
        """Have the disk take what was written; for any thread."""
        at = self.at
        if self.synced >= at:
            return
        try:
            if not self.synced:  # a file is there after a power cut if its folder says so
                folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            os.fdatasync(self.descriptor)
        except OSError:
            if not self.is_gone:  # gone means shipped
                raise
        self.synced = max(self.synced, at)

    def close(self) -> None:
        """Let go of file and lock."""
        self.is_gone = True
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    def drop(self) -> None:
        """Remove it, its records are elsewhere; or keep it aside where one of them is not."""
        if self.is_damaged:
            with contextlib.suppress(FileNotFoundError):
                self.path.rename(self.path.with_suffix(DAMAGED_SUFFIX))
        else:
            self.path.unlink(missing_ok=True)
        self.close()


class Journal:
    """The files of one process. Methods raise `JournalFailed`, and then nothing was written."""

    def __init__(self, folder: Path, *, bytes_max: int, file_bytes: int = FILE_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._process = uuid.uuid4().hex
        self._made_count = 0
        self._file_bytes = file_bytes
        self._bytes_max = bytes_max
        self._promised = 0  # what is kept free for the closings of all that is open
        self.sealed: list[File] = []
        self.current = self._made(0)

    @property
    def open_count(self) -> int:
        """Exchanges that are open in any file."""
        return len({key for file in self.files() for key in file.open})

    def open(self, key: str, line: bytes) -> None:
        """Write down an attempt of exchange `key` before it is made."""
        current, size = self.current, len(line)
        promised = self._promised + size + CLOSING_BYTES
        if current.at + size + promised > current.capacity:
            self._rotate(size + promised)
            current = self.current
        self._write(line)
        before = current.open.get(key)
        current.open[key] = line if before is None else before + line
        self._promised = promised

    def close(self, key: str, line: bytes) -> None:
        """Write down the end of exchange `key`. What was opened has room even on a full disk."""
        current = self.current
        if current.at + len(line) + self._promised > current.capacity:
            self._make_room(key, len(line))
        self._write(line)
        opened = current.open.pop(key, None)
        if opened is not None:
            self._promised -= _promised_to(opened)
        for file in self.sealed:
            opened = file.open.pop(key, None)
            if opened is not None:
                self._promised -= _promised_to(opened)

    def _make_room(self, key: str, size: int) -> None:
        """For a closing, where the newest file may have none left."""
        opened = [file.open[key] for file in self.files() if key in file.open]
        others = self._promised - sum(map(_promised_to, opened))
        current = self.current
        if current.at + size + others > current.capacity:
            try:
                self._rotate(size + others)
            except JournalFailed:
                if not opened or current.at + size > current.capacity:
                    raise

    def is_open(self, key: str) -> bool:
        """Whether an attempt of that exchange has been written down, and not its end."""
        if key in self.current.open:
            return True
        return bool(self.sealed) and any(key in file.open for file in self.sealed)

    def files(self) -> list[File]:
        """All files, oldest first."""
        return [*self.sealed, self.current]

    def renew(self) -> None:
        """Go on in a new file, after the present one failed."""
        self._rotate(self._promised)

    def trim(self) -> None:
        """Remove files whose records have all been shipped and of which nothing is open."""
        if len(self.sealed) > SEALED_MAX and self.sealed[0].open:
            self._carry(self.sealed[0])
        for file in self.sealed.copy():
            if not file.open and file.shipped >= file.at:
                self.sealed.remove(file)
                file.drop()

    def sync(self) -> None:
        """Have the disk take all that was written (`fdatasync`); OSError; for any thread."""
        for file in self.files():
            file.sync()

    def end(self) -> None:
        """Remove what is shipped and done with; leave the rest, unlocked, to the next process.

        No reader may be left: a closed descriptor comes to mean something else.
        """
        for file in self.files():
            if not file.open and file.shipped >= file.at:
                file.drop()
            else:
                file.close()
        self.sealed.clear()

    def _made(self, needed: int) -> File:
        """Make a file that has room for what is needed beside its usual size."""
        capacity = self._file_bytes + needed
        held = sum(file.capacity for file in self.files()) if self._made_count else 0
        if held + capacity > self._bytes_max and self._made_count:
            raise JournalFailed(
                f"{self.folder} has reached journal_bytes_max: records come faster than the "
                "store takes them"
            )
        try:
            name = f"{self._process}-{self._made_count:06d}"
            file = File.make(self.folder, name, capacity)
        except OSError as error:
            raise JournalFailed(f"{self.folder}: {error.strerror or error}") from error
        self._made_count += 1
        return file

    def _rotate(self, needed: int) -> None:
        made = self._made(needed)
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
        for key, opened in list(file.open.items()):
            for line in opened.splitlines(keepends=True):
                self.open(key, line)
            del file.open[key]
            self._promised -= _promised_to(opened)


def _promised_to(opened: bytes) -> int:
    """What is kept free for the closing of an exchange, by its openings."""
    return len(opened) + CLOSING_BYTES * opened.count(b"\n")


def lines_of(descriptor: int, start: int, end: int | None = None) -> tuple[list[bytes], int]:
    """The whole records from `start` on, up to `end` or the file's, and where they end.

    A record begins where the one before ended, one byte for its line end between them.
    """
    if end is None:
        end = os.fstat(descriptor).st_size
    data = os.pread(descriptor, end - start, start)
    whole = data.rfind(b"\n") + 1
    return data[:whole].split(b"\n")[:-1], start + whole


def left_behind(folder: Path) -> Generator[list[File], None, None]:
    """The files of processes that are gone, process by process, locked by us until each is closed
    or dropped.

    A process that is just ending lets go of its files one by one, and the end of an exchange may be
    in the one that it still holds: all or none.
    """
    for process in sorted({_process_of(path) for path in folder.glob(f"*{SUFFIX}")}):
        files: list[File] = []
        try:
            if _lock_all(folder, process, files):
                yield files
        finally:
            for file in files:
                if not file.is_gone:
                    file.close()


def _process_of(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def _lock_all(folder: Path, process: str, files: list[File]) -> bool:
    for path in sorted(folder.glob(f"{process}-*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its process has just ended, and was done with it
        file = File(path, descriptor, os.fstat(descriptor).st_size)
        files.append(file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if os.fstat(descriptor).st_nlink == 0:
            return False
    return bool(files) and len(files) == len(list(folder.glob(f"{process}-*{SUFFIX}")))


def sweep(folder: Path, now: int) -> None:
    """Remove files whose making was cut short by the end of their process.

    now: a descriptor of a file of that folder that has just been written to.
    """
    os.utime(now)
    now_ns = os.fstat(now).st_mtime_ns
    for early in folder.glob(".*-*"):
        with contextlib.suppress(FileNotFoundError):
            if now_ns - early.stat().st_mtime_ns > _MADE_WITHIN_NS:
                early.unlink()
