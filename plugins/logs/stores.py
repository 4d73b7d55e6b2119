"""What a store of rows does, and how one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from gateway import StoreAway, open_store

from .records import Change, LogRow, Query

SQLITE_FILE: Final = "logs.db"
# A question that takes longer is given up: a few conditions less, or a shorter span of time, and it
# will do.
QUERY_S: Final = 20.0


class TooSlow(StoreAway):
    """A question took longer than `QUERY_S`."""


class Store(Protocol):
    """Where rows are kept. Every method may raise `StoreAway`, and has then changed nothing.

    All are called by one thread's event loop, one at a time, and may hold up that thread. A process
    that reads while another writes has a store of its own.
    """

    async def check(self) -> None:
        """See whether `open` would do, and change nothing. `StoreAway` says why not."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date."""

    async def close(self) -> None: ...

    async def add(self, rows: Sequence[LogRow]) -> None:
        """Take rows in one transaction; one whose id is there already is left as it is.

        May raise `StoreRefused`.
        """

    async def get(self, id_: bytes) -> LogRow | None:
        """The row of an id with its bodies; None where there is none."""

    async def find(self, query: Query) -> list[LogRow]:
        """Rows as asked for, at most `query.limit`. ValueError for a field that nobody has."""

    async def count(self, query: Query) -> int:
        """How many rows there are, whatever `query.limit` says."""

    async def newest(self) -> int:
        """The arrival of the row that came last; 0 without any."""

    async def change(self, id_: bytes, change: Change) -> LogRow | None:
        """Change a row and give it, with its bodies; None where there is none."""

    async def delete(self, query: Query) -> int:
        """Delete at most `query.limit` rows, the oldest first; how many went."""

    async def bound_of(self, bytes_max: int) -> bytes | None:
        """The id below which rows have to go for the rest to take about so many bytes; None where
        it is less already.
        """

    async def expire(self, bound: bytes, limit: int) -> int:
        """Delete up to `limit` of the oldest rows below an id; how many went."""


def opened(address: str, state: Path) -> Store:
    """The store of an address, not connected yet. StartError for one that nobody knows.

    address: "sqlite" for a file in the state directory, or "postgresql://user@host/database".
    """
    return cast("Store", open_store(address, state / SQLITE_FILE, __package__))
