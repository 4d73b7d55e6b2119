"""What is in a journal comes into the store once, whoever dies in between and however often."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from plugins.ledger import Config
from plugins.ledger.journal import Journal
from plugins.ledger.records import Entry, sums_of
from plugins.ledger.shipper import LOCK_FILE, Shipper
from plugins.ledger.stores import Store, opened
from tests.plugins.ledger.entries import closing, id_of, opening
from tests.plugins.ledger.killed import never_ends
from tests.sizes import FULL, SMALL

ROOT = Path(__file__).resolve().parents[3]
EACH = 400


def journal_in(folder: Path) -> Journal:
    return Journal(folder / "journal", bytes_max=1 << 30, file_bytes=8_192)


@asynccontextmanager
async def shipping(
    folder: Path, journal: Journal, config: Config | None = None
) -> AsyncIterator[Shipper]:
    shipper = Shipper(journal, opened("sqlite", folder), config or Config(), journal.trim)
    shipper.start()
    try:
        yield shipper
    finally:
        assert await asyncio.to_thread(shipper.stop)
        journal.end()


async def until(holds: Callable[[], bool]) -> None:
    patient_until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < patient_until, "it never came to hold"
        await asyncio.sleep(0.02)


async def stored(store: Store) -> list[Entry]:
    await store.open()
    try:
        found = [entry async for entry in store.entries()]
        sums = {group: list(counts) for group, counts in (await store.sums()).items()}
        assert sums == sums_of(found)
        return found
    finally:
        await store.close()


def in_store(folder: Path, address: str = "sqlite") -> dict[str, str]:
    """Give each entry's outcome, and hold that the sums are theirs."""
    found = asyncio.run(stored(opened(address, folder)))
    outcomes = {entry.document["id"]: entry.document["outcome"] for entry in found}
    assert len(outcomes) == len(found)
    return outcomes


def test_what_is_over_is_shipped_and_its_files_go(tmp_path):
    async def story() -> None:
        journal = journal_in(tmp_path)
        async with shipping(tmp_path, journal):
            for n in range(200):
                journal.open(id_of(n), opening(id_of(n)))
                journal.close(id_of(n), closing(id_of(n)))
            assert len(journal.files()) > 2
            await until(lambda: len(journal.files()) == 1)
            journal.open(id_of(999), opening(id_of(999)))
        assert len(list((tmp_path / "journal").glob("*.journal"))) == 1  # one is open

    asyncio.run(story())
    assert in_store(tmp_path) == {id_of(n): "complete" for n in range(200)}


def test_a_stop_ships_what_is_left_and_what_no_journal_could_take(tmp_path):
    async def story() -> None:
        journal = journal_in(tmp_path)
        shipper = Shipper(journal, opened("sqlite", tmp_path), Config(), journal.trim)
        shipper.start()
        for n in range(100):
            journal.close(id_of(n), closing(id_of(n)))
        late = [closing(id_of(n)) for n in range(100, 110)]
        assert await asyncio.to_thread(shipper.stop, late)
        journal.end()

    asyncio.run(story())
    assert len(in_store(tmp_path)) == 110
    assert list((tmp_path / "journal").glob("*.journal")) == []


def test_a_damaged_line_of_a_dead_process_is_kept_and_the_rest_recovered(tmp_path):
    async def story() -> None:
        dead = journal_in(tmp_path)
        dead.close(id_of(1), closing(id_of(1)))
        dead.open(id_of(2), opening(id_of(2)))
        dead.current.write(b'{"id":"nonsense"}\n')
        dead.current.write(b"\xff\xfe\n")
        dead.close(id_of(3), closing(id_of(3)))
        name = dead.current.name
        dead.current.close()
        journal = journal_in(tmp_path)
        async with shipping(tmp_path, journal) as shipper:
            await shipper.ask(shipper.recovered())
        kept = tmp_path / "journal" / f"{name}.damaged"
        assert b"nonsense" in kept.read_bytes()
        assert list((tmp_path / "journal").glob("*.journal")) == []

    asyncio.run(story())
    assert in_store(tmp_path) == {id_of(1): "complete", id_of(2): "orphaned", id_of(3): "complete"}


def test_an_entry_that_the_store_refuses_is_kept_and_the_rest_shipped(tmp_path):
    async def story() -> None:
        journal = journal_in(tmp_path)
        async with shipping(tmp_path, journal):
            for n in range(20):
                facts = {"duration_us": 2**64 - 1} if n == 13 else {}
                journal.close(id_of(n), closing(id_of(n), **facts))
        (kept,) = (tmp_path / "journal").glob("*.damaged")
        assert id_of(13).encode() in kept.read_bytes()

    asyncio.run(story())
    assert set(in_store(tmp_path)) == {id_of(n) for n in range(20)} - {id_of(13)}


def test_while_another_process_recovers_ones_own_entries_go_on(tmp_path):
    async def story() -> None:
        dead = journal_in(tmp_path)
        dead.open(id_of(1), opening(id_of(1)))
        dead.current.close()
        lock = os.open(tmp_path / "journal" / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        journal = journal_in(tmp_path)
        async with shipping(tmp_path, journal) as shipper:
            journal.close(id_of(2), closing(id_of(2)))
            await until(lambda: journal.current.shipped == journal.current.at > 0)
            assert not shipper._has_recovered.is_set()
            os.close(lock)  # as at the other's end
            await shipper.ask(shipper.recovered())

    asyncio.run(story())
    assert in_store(tmp_path) == {id_of(1): "orphaned", id_of(2): "complete"}


def test_a_store_that_is_away_loses_nothing(tmp_path):
    state = tmp_path / "state"

    async def story() -> None:
        journal = journal_in(tmp_path)
        shipper = Shipper(journal, opened("sqlite", state), Config(), journal.trim)
        shipper.start()
        for n in range(300):
            journal.open(id_of(n), opening(id_of(n)))
            journal.close(id_of(n), closing(id_of(n)))
            if n == 200:
                await until(lambda: shipper._away_since is not None)
        assert len(journal.files()) > 5
        state.mkdir()
        await until(lambda: len(journal.files()) == 1)
        assert await asyncio.to_thread(shipper.stop)
        journal.end()

    asyncio.run(story())
    assert len(in_store(state)) == 300


def test_rows_that_are_too_old_go(tmp_path):
    old = 86_400_000  # the second day of 1970

    async def story() -> None:
        journal = journal_in(tmp_path)
        for n in range(50):
            journal.close(id_of(n, old), closing(id_of(n, old)))
        journal.close(id_of(50), closing(id_of(50)))
        async with shipping(tmp_path, journal):
            await until(lambda: journal.current.shipped == journal.current.at)

    asyncio.run(story())
    store = opened("sqlite", tmp_path)

    async def look() -> tuple[int, int]:
        await store.open()
        found = [entry async for entry in store.entries()]
        (counts,) = (await store.sums(())).values()
        await store.close()
        return len(found), counts[0]

    assert asyncio.run(look()) == (1, 51)


class Killed:
    """Runs the process that is killed, as often as it takes, and keeps what it said."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.said: set[tuple[str, int]] = set()
        self.kills = 0

    def run(self, first: int, last: int, *, dies_after_s: float | None) -> bool:
        """Run one process to its end or its death; whether it ended by itself."""
        command = [
            sys.executable,
            "-m",
            "tests.plugins.ledger.killed",
            str(self.folder),
            self.address,
        ]
        with subprocess.Popen(
            [*command, str(first), str(last)], cwd=ROOT, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            said = child.stdout.readline()
            if dies_after_s is not None:
                time.sleep(dies_after_s)
                child.kill()
                self.kills += 1
            said += child.stdout.read()
        for line in said.decode().splitlines():
            word, number = line.split()
            self.said.add((word, int(number)))
        return child.returncode == 0

    def numbers(self, word: str) -> set[int]:
        return {number for said, number in self.said if said == word}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_whatever_moment_it_is_killed_at_each_entry_counts_once(kind, tmp_path, request):
    sizes = FULL if request.config.getoption("--battery") else SMALL
    address = request.getfixturevalue("postgres").database() if kind == "postgres" else kind
    killed = Killed(tmp_path, address)
    random_ = random.Random(sizes.shipper_kills)
    for n in range(sizes.shipper_kills):
        killed.run(n * EACH, (n + 1) * EACH, dies_after_s=random_.uniform(0, 0.6))
    end = (sizes.shipper_kills + 1) * EACH
    assert killed.run(end - EACH, end, dies_after_s=None)
    # What the last one left open is the next one's to find.
    assert killed.run(end, end, dies_after_s=None)

    found = in_store(tmp_path, address)
    opened_, closed = killed.numbers("open"), killed.numbers("closed")
    outcomes = {int(id_[24:], 16) & 0xFFFFFFFF: outcome for id_, outcome in found.items()}
    assert opened_ <= outcomes.keys()
    # One more may have been written in each process that was killed before it could say so.
    assert len(outcomes.keys() - opened_) <= killed.kills
    assert {n for n in closed if outcomes[n] != "complete"} == set()
    assert {n for n in opened_ if never_ends(n) and outcomes[n] != "orphaned"} == set()
    unsaid = {n for n in outcomes if outcomes[n] == "complete"} - closed
    assert len(unsaid) <= killed.kills
    assert list((tmp_path / "journal").glob("*.journal")) == []
    print(f"{killed.kills} kills, {len(outcomes)} entries, {len(closed)} closed")
