"""A process that keeps a ledger and is killed: `python -m tests.plugins.ledger.killed ...`.

Arguments: the state folder, the store's address, the first number and the one past the last. It
writes an opening and a closing for each number, some closings late and some never, and says on
standard output what is written, after it is. Then it waits for its shipper and ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from plugins.ledger import Config
from plugins.ledger.journal import Journal
from plugins.ledger.shipper import Shipper
from plugins.ledger.stores import opened
from tests.plugins.ledger.entries import attempt, closing, id_of, opening

FILE_BYTES = 20_000
LATE_BY = 7


def never_ends(number: int) -> bool:
    return number % 10 == 9


def made(number: int) -> bytes:
    return closing(id_of(number), attempt(cost_nanousd=number, key=f"k{number % 3}"))


def say(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\n".encode())


async def run(state: Path, address: str, first: int, last: int) -> None:
    journal = Journal(state / "journal", bytes_max=1 << 30, file_bytes=FILE_BYTES)
    shipper = Shipper(journal, opened(address, state), Config(), journal.trim)
    shipper.start()
    say("begun", first)
    for number in range(first, last + LATE_BY):
        if number < last:
            journal.open(id_of(number), opening(id_of(number)))
            say("open", number)
        ended = number - LATE_BY
        if first <= ended < last and not never_ends(ended):
            journal.close(id_of(ended), made(ended))
            say("closed", ended)
        await asyncio.sleep(0.001)
    await shipper.ask(shipper.recovered())
    await asyncio.to_thread(shipper.stop)
    journal.end()
    say("ended", last)


if __name__ == "__main__":
    folder, store, *numbers = sys.argv[1:]
    asyncio.run(run(Path(folder), store, *map(int, numbers)))
