"""What a store of entries does, and how one is chosen."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from gateway import StartError

from .records import Entry

SQLITE_FILE = "ledger.db"


class StoreAway(Exception):
    """The store cannot take anything now; the text says why. Trying again may help."""


class Store(Protocol):
    """Where entries are kept. Every method may raise `StoreAway`, and has then changed nothing.

    All are called by one thread's event loop, one at a time.
    """

    async def open(self) -> None:
        """Connect, and bring the schema up to date."""

    async def close(self) -> None: ...

    async def progress(self, journals: Iterable[str]) -> dict[str, int]:
        """How far each of these journals' files has been taken; those not named are at 0."""

    async def add(self, entries: Sequence[Entry], journal: str, offset: int) -> None:
        """Take entries, their sums and the journal's new offset in one transaction.

        An entry that is there already is left as it is and adds to no sum; so is one whose
        `progress` shows that it was taken.
        """

    async def forget(self, journals: Iterable[str]) -> None:
        """These journals' files are gone."""

    def entries(self, *, since_ms: int = 0, until_ms: int | None = None) -> AsyncIterator[Entry]:
        """All entries of a span of time, oldest first."""

    async def sums(self) -> Mapping[tuple[Any, ...], Sequence[int]]:
        """The kept sums by the hour: `records.DIMENSIONS` to `records.SUMS`."""

    async def expire(self, before_ms: int, limit: int) -> int:
        """Delete up to `limit` of the oldest entries from before then; give how many went."""

    async def size_bytes(self) -> int:
        """What the entries take."""


def opened(address: str, state: Path) -> Store:
    """The store of an address, not connected yet."""
    if address == "sqlite":
        from .sqlite import SqliteStore  # noqa: PLC0415 - only the one that is used is imported

        return SqliteStore(state / SQLITE_FILE)
    if address.startswith(("postgresql://", "postgres://")):
        try:
            module = importlib.import_module(".postgres", __package__)
        except ImportError as error:
            raise StartError(
                f"ledger: {error.name} is not installed, which PostgreSQL needs; "
                'pip install "weir[postgres]"'
            ) from error
        return cast("Store", module.PostgresStore(address))
    raise StartError(
        f'ledger: store = "{address.partition("@")[0]}": wanted "sqlite" or '
        '"postgresql://user@host/database"'
    )
