"""What is in the journal is what was promised, whatever becomes of its process and its disk."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.ledger.journal import (
    CLOSING_BYTES,
    Journal,
    JournalFailed,
    left_behind,
    lines_of,
    sweep,
)
from plugins.ledger.records import Entry, Opening, record_of
from tests.plugins.ledger.entries import closing, id_of, opening

FILE_BYTES = 16_384
PLENTY = 1 << 30


def journal_in(folder: Path, bytes_max: int = PLENTY) -> Journal:
    return Journal(folder, bytes_max=bytes_max, file_bytes=FILE_BYTES)


def abandon(journal: Journal) -> None:
    """Let go of the locks as the end of a process does, with everything left as it is."""
    for file in journal.files():
        file.close()


def records(folder: Path) -> list[Entry | Opening]:
    found = []
    with contextlib.closing(left_behind(folder)) as processes:
        for files in processes:
            for file in files:
                found += [
                    record
                    for line in lines_of(file.descriptor, 0)[0]
                    if (record := record_of(line))
                ]
    return found


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def until_it_fails(act: Callable[[int], None]) -> tuple[str, int]:
    """Do it again and again; give what it failed with, and how often it had not."""
    for number in range(1_000):
        try:
            act(number)
        except JournalFailed as error:
            return str(error), number
    raise AssertionError("it never failed")


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 30)),
        st.tuples(st.just("close"), st.integers(0, 30)),
        st.tuples(st.sampled_from(["ship", "trim", "renew"]), st.just(0)),
    ),
    max_size=120,
)


class Told:
    """What a journal was told, and what a shipper has taken of it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.open: set[str] = set()
        self.closed: set[str] = set()
        self.shipped: list[Entry] = []

    def do(self, action: str, number: int) -> None:
        id_ = id_of(number)
        match action:
            case "open" if id_ not in self.closed:
                self.journal.open(id_, opening(id_, pad="x" * 40 * number))
                self.open.add(id_)
            case "close" if id_ not in self.closed:
                self.journal.close(id_, closing(id_, pad="x" * 40 * number))
                self.closed.add(id_)
                self.open.discard(id_)
            case "ship":
                self.ship()
            case "trim":
                self.journal.trim()
            case "renew":
                self.journal.renew()

    def ship(self) -> None:
        for file in self.journal.files():
            lines, end = lines_of(file.descriptor, file.shipped, file.at)
            assert end == file.at
            found = [record_of(line) for line in lines]
            self.shipped += [record for record in found if isinstance(record, Entry)]
            file.shipped = end


@given(actions=ACTIONS)
def test_what_was_told_is_shipped_or_left_behind_and_nothing_else_is(actions):
    folder = Path(tempfile.mkdtemp())
    journal = journal_in(folder)
    told = Told(journal)
    try:
        for action in actions:
            told.do(*action)
        assert journal.open_count == len(told.open)
        shipped = [record.document["id"] for record in told.shipped]
        assert len(shipped) == len(set(shipped))

        abandon(journal)
        left = records(folder)
        closed = {record.document["id"] for record in left if isinstance(record, Entry)}
        opened = {record.id for record in left if isinstance(record, Opening)}
        assert closed | set(shipped) == told.closed
        assert opened - closed - set(shipped) == told.open
    finally:
        shutil.rmtree(folder)


@given(actions=ACTIONS)
def test_what_is_shipped_and_closed_leaves_no_file(actions):
    folder = Path(tempfile.mkdtemp())
    journal = journal_in(folder)
    told = Told(journal)
    try:
        for action in actions:
            told.do(*action)
        for number in range(31):
            told.do("close", number)
        told.ship()
        journal.trim()
        assert list(folder.glob("*.journal")) == [journal.current.path]
        journal.end()
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_the_files_of_the_living_are_not_left_behind(tmp_path):
    journal = journal_in(tmp_path)
    journal.open("a", opening(id_of(1)))
    journal.renew()
    assert records(tmp_path) == []

    journal.sealed[0].close()  # as one that is just ending: its newest file may hold the closing
    assert records(tmp_path) == []

    journal.current.close()
    assert len(records(tmp_path)) == 1


def test_a_reader_that_fails_lets_go_of_what_it_locked(tmp_path):
    journal = journal_in(tmp_path)
    journal.open("a", opening(id_of(1)))
    abandon(journal)
    with contextlib.closing(left_behind(tmp_path)) as processes:
        assert len(next(processes)) == 1
    assert len(records(tmp_path)) == 1


def test_a_record_that_is_cut_short_does_not_count(tmp_path):
    journal = journal_in(tmp_path)
    journal.open(id_of(1), opening(id_of(1)))
    at = journal.current.at
    with files_end_at(at + 10), pytest.raises(JournalFailed):
        journal.close(id_of(1), closing(id_of(1)))
    assert journal.is_open(id_of(1))
    assert lines_of(journal.current.descriptor, 0)[1] == at
    assert os.pread(journal.current.descriptor, 100, at) == bytes(100)

    journal.close(id_of(1), closing(id_of(1)))
    abandon(journal)
    assert [type(record) for record in records(tmp_path)] == [Opening, Entry]


def test_what_is_open_can_be_closed_on_a_full_disk(tmp_path):
    journal = journal_in(tmp_path)
    with files_end_at(journal.current.capacity):
        fault, opened = until_it_fails(lambda n: journal.open(id_of(n), opening(id_of(n))))
        assert "File too large" in fault
        assert opened > 4
        for number in range(opened):
            journal.close(id_of(number), closing(id_of(number), pad="x" * (CLOSING_BYTES - 500)))
        # What nobody promised has no room, sooner or later.
        until_it_fails(lambda n: journal.close(id_of(1_000 + n), closing(id_of(1_000 + n))))
    assert journal.open_count == 0
    assert list(tmp_path.glob(".*")) == []


def test_the_closings_of_old_files_have_room_in_the_newest(tmp_path):
    journal = journal_in(tmp_path)
    for number in range(100):
        journal.open(id_of(number), opening(id_of(number)))
    assert len(journal.sealed) >= 1
    capacity = journal.current.capacity
    with files_end_at(capacity):
        for number in range(100):
            journal.close(id_of(number), closing(id_of(number), pad="x" * (CLOSING_BYTES - 500)))
    assert journal.open_count == 0


def test_the_journal_is_bounded(tmp_path):
    journal = journal_in(tmp_path, bytes_max=4 * FILE_BYTES)

    def open_and_close(number: int) -> None:
        journal.open(id_of(number), opening(id_of(number)))
        journal.close(id_of(number), closing(id_of(number)))

    assert "journal_bytes_max" in until_it_fails(open_and_close)[0]
    held = sum(file.stat().st_size for file in tmp_path.glob("*.journal"))
    assert held <= 4 * FILE_BYTES

    for file in journal.files():
        file.shipped = file.at
    journal.trim()
    journal.renew()
    journal.open(id_of(2_000), opening(id_of(2_000)))


def test_what_stays_open_moves_to_the_newest_file(tmp_path):
    journal = journal_in(tmp_path)
    journal.open(id_of(0), opening(id_of(0)))
    journal.open(id_of(0), opening(id_of(0), n=2))
    for _ in range(30):
        journal.renew()
        for file in journal.files():
            file.shipped = file.at
        journal.trim()
    assert len(journal.files()) <= 11
    abandon(journal)
    left = records(tmp_path)
    assert {(record.id, record.n) for record in left if isinstance(record, Opening)} == {
        (id_of(0), 1),
        (id_of(0), 2),
    }


def test_a_file_with_a_damaged_record_is_kept_aside(tmp_path):
    journal = journal_in(tmp_path)
    journal.current.is_damaged = True
    name = journal.current.name
    journal.end()
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.damaged"]


def test_a_hole_does_not_hide_what_is_behind_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(opening(id_of(1)) + bytes(100) + closing(id_of(1)) + bytes(50) + b'{"cut')
    with path.open("rb") as file:
        lines, end = lines_of(file.fileno(), 0)
    assert [type(record_of(line)) for line in lines] == [Opening, Entry]
    assert end == len(opening(id_of(1)) + bytes(100) + closing(id_of(1)))


def test_files_that_were_never_finished_are_swept_away_but_not_those_being_made(tmp_path):
    old, new, lock = tmp_path / ".a-000000", tmp_path / ".b-000000", tmp_path / "lock"
    for path in (old, new, lock):
        path.touch()
    now = lock.stat().st_mtime
    os.utime(old, (now - 120, now - 120))
    descriptor = os.open(lock, os.O_RDWR)
    sweep(tmp_path, descriptor)
    os.close(descriptor)
    assert not old.exists()
    assert new.exists()


def test_the_disk_has_what_was_synced_and_a_file_that_is_gone_is_no_failure(tmp_path):
    journal = journal_in(tmp_path)
    journal.open(id_of(1), opening(id_of(1)))
    journal.renew()
    journal.open(id_of(2), opening(id_of(2)))
    journal.sync()
    assert [file.synced for file in journal.files()] == [file.at for file in journal.files()]

    journal.close(id_of(1), closing(id_of(1)))
    journal.current.close()
    journal.sync()


def test_nobody_else_may_read_it(tmp_path):
    journal = journal_in(tmp_path / "journal")
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert journal.current.path.stat().st_mode & 0o777 == 0o600
