"""A connection to PostgreSQL as a store uses it: one, made again when it is lost.

asyncpg, of the extra `postgres`, is imported here. That is why this module is a door of its own,
for the `postgres` modules of plugins, and not behind the main one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import asyncpg

from gateway.migrating import SchemaFault
from gateway.stores import StoreAway, StoreRefused

CONNECT_S: Final = 10.0
# To compile a statement takes longer than any of ours.
_SETTINGS: Final = {"jit": "off"}
REFUSALS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
_TROUBLES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a session that was ended in mid-call gives
    OSError,
    SchemaFault,
    TimeoutError,
)


class Postgres:
    """A server and database, and the connection to it.

    command_s: a statement that takes longer has met a frozen server. settings: of the session.
    """

    def __init__(
        self, address: str, *, command_s: float, settings: Mapping[str, str] | None = None
    ) -> None:
        self._address = address
        self._command_s = command_s
        self._settings = {**_SETTINGS, **(settings or {})}
        self._db: asyncpg.Connection | None = None

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection. One that met a trouble is not used again: nobody knows its state.

        Raises what `meaning` says of an error.
        """
        try:
            if self._db is None or self._db.is_closed():
                self._db = await asyncpg.connect(
                    self._address,
                    timeout=CONNECT_S,
                    command_timeout=self._command_s,
                    server_settings=self._settings,
                )
            db = self._db
            try:
                yield db
            except BaseException as error:
                if not isinstance(error, REFUSALS) and self._db is db:
                    self._db = None
                    db.terminate()
                raise
        except (*REFUSALS, *_TROUBLES) as error:
            raise self.meaning(error) from error

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection within a transaction, which ends with the block.

        Unlike `db.transaction()`, a connection that met a trouble is not asked to roll back: it
        will be let go of, and who is frozen would not answer.
        """
        async with self.connected() as db:
            transaction = db.transaction()
            await transaction.start()
            try:
                yield db
            except REFUSALS:
                await transaction.rollback()
                raise
            await transaction.commit()

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            try:
                await db.close(timeout=CONNECT_S)
            except (*REFUSALS, *_TROUBLES) as error:
                raise self.meaning(error) from error

    def meaning(self, error: BaseException) -> Exception:
        """What an error of asyncpg means to whoever asked."""
        if isinstance(error, REFUSALS):
            return StoreRefused(f"postgresql: {error}")
        return StoreAway(f"postgresql: {error or type(error).__name__}")


def without_nul(value: Any) -> Any:
    """A JSON document as PostgreSQL takes it: its texts hold no U+0000, and a caller may say any
    name.
    """
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {without_nul(name): without_nul(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_nul(inner) for inner in value]
    return value


def count_of(said: str) -> int:
    """How many rows a statement touched: "DELETE 3"."""
    return int(said.rpartition(" ")[2])
