"""Where managed keys are kept: what a database has to do, and how one is chosen.

The same SQL goes to SQLite and to PostgreSQL, with `$1` for values; what differs is in `.sqlite`
and `.postgres`: connecting, transactions, and how one hears that something has changed.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, cast

from gateway import StartError

SQLITE_FILE: Final = "keys.db"
NONE: Final = "none"


class StoreAway(Exception):
    """The store cannot do it now; the text says why. Trying again may help."""


class Database(Protocol):
    """Every method may raise `StoreAway`. All are called by one event loop, and may hold up its
    thread; `poke` by any.
    """

    async def check(self) -> None:
        """See whether `open` would do, and change nothing."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Does nothing where it is open."""

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


def opened(address: str, state: Path) -> Database:
    """The database of an address, not connected yet. StartError for one that nobody knows.

    address: "sqlite" for a file in the state directory, or "postgresql://user@host/database".
    """
    if address == "sqlite":
        from .sqlite import SqliteDatabase  # noqa: PLC0415 - only the one that is used is imported

        return SqliteDatabase(state / SQLITE_FILE)
    if address.startswith(("postgresql://", "postgres://")):
        try:
            module = importlib.import_module(".postgres", __package__)
        except ImportError as error:
            raise StartError(
                f"api_keys: {error.name} is not installed, which PostgreSQL needs; "
                'pip install "weir[postgres]"'
            ) from error
        return cast("Database", module.PostgresDatabase(address))
    raise StartError(
        f'api_keys: store = "{address.partition(":")[0]}...": wanted "sqlite", '
        '"postgresql://user@host/database", or "none"'
    )
