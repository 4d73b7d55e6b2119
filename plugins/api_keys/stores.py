"""What a database of managed keys has to do.

The same SQL goes to SQLite and to PostgreSQL, with `$1` for values (`.records`). What differs is in
the modules sqlite and postgres: connecting, transactions, and how one hears of a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, cast

from gateway import open_store

SQLITE_FILE: Final = "keys.db"
NONE: Final = "none"


class Store(Protocol):
    """Every method may raise `StoreAway` and `StoreRefused`. All are called by one event loop, and
    may hold up its thread; `poke` by any.
    """

    async def check(self) -> None:
        """See whether `open` would do, and change nothing."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date; nothing where that is done."""

    async def close(self) -> None:
        """Let go of the connection; the next `open` makes another."""

    async def fetch(self, text: str, *values: object) -> Sequence[Sequence[Any]]:
        """Run a statement and give its rows."""

    def changing(self, *, tell: bool) -> AbstractAsyncContextManager[None]:
        """A transaction; changes are made one after the other, whoever makes them.

        tell: whether other processes are to look.
        """

    async def news(self) -> None:
        """Wait until there may be a change of another connection, or it is time to look anyway."""

    def poke(self) -> None:
        """End the wait in `news`."""


def opened(address: str, state: Path) -> Store:
    """The store of an address, not connected yet. StartError for one that nobody knows.

    address: "sqlite" for a file in the state directory, or "postgresql://user@host/database".
    """
    return cast("Store", open_store(address, state / SQLITE_FILE, __package__))
