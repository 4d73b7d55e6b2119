"""Managed keys in PostgreSQL: any number of machines, which hear of a change at once (NOTIFY).

asyncpg is imported here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import asyncpg

from gateway import SchemaFault, look_at_postgres, migrate_postgres

from .stores import StoreAway

CONNECT_S: Final = 5.0
# A statement that takes longer has met a frozen server.
COMMAND_S: Final = 2.0
# How often to look where nothing was heard: a notice may be lost with its connection, and a server
# that is gone without a word is found by it.
LOOK_S: Final = 0.5
CHANNEL: Final = "weir_api_keys"
_SCHEMA: Final = "api_keys_schema"
# Any numbers, so long as no other program on the same database takes them (pg_advisory_xact_lock).
_MIGRATION_LOCK: Final = 0x7765696B
_CHANGE_LOCK: Final = 0x7765636B


class PostgresDatabase:
    """A `Database` over one connection, made again when it is lost."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._db: asyncpg.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: asyncio.Event | None = None

    async def check(self) -> None:
        with _away():
            db = await self._connected()
            try:
                await look_at_postgres(db, __package__, _SCHEMA)
            finally:
                await db.close(timeout=COMMAND_S)

    async def open(self) -> None:
        if self._db is not None and not self._db.is_closed():
            return
        with _away():
            db = await self._connected()
            try:
                await migrate_postgres(db, __package__, _SCHEMA, _MIGRATION_LOCK)
                self._loop, self._heard = asyncio.get_running_loop(), asyncio.Event()
                await db.add_listener(CHANNEL, lambda *_: self._hear())
                db.add_termination_listener(lambda *_: self._hear())
            except BaseException:
                db.terminate()
                raise
            self._db = db

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.terminate()  # nobody waits for a server that may be frozen

    async def fetch(self, text: str, *values: object) -> Sequence[Sequence[Any]]:
        with _away():
            found: Sequence[Sequence[Any]] = await self.db.fetch(text, *values)
            return found

    @contextlib.asynccontextmanager
    async def changing(self, *, tell: bool) -> AsyncIterator[None]:
        with _away():
            transaction = self.db.transaction()
            await transaction.start()
            try:
                # One after the other, so that their numbers can be seen in their order.
                await self.db.execute("SELECT pg_advisory_xact_lock($1)", _CHANGE_LOCK)
                yield
                if tell:
                    await self.db.execute(f"NOTIFY {CHANNEL}")
            except (StoreAway, *_TROUBLES):
                raise  # nobody knows the connection's state: it will be let go of
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()

    async def news(self) -> None:
        assert self._heard is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._heard.wait()
        self._heard.clear()

    def poke(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hear)

    @property
    def db(self) -> asyncpg.Connection:
        """The connection; `StoreAway` before `open`."""
        if self._db is None:
            raise StoreAway("postgresql: not connected")
        return self._db

    def _hear(self) -> None:
        if self._heard is not None:
            self._heard.set()

    async def _connected(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._address,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings={"statement_timeout": f"{int(COMMAND_S * 1000)}"},
        )


_TROUBLES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a session that was ended in mid-call gives
    OSError,
    SchemaFault,
    TimeoutError,
)


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """Turn what asyncpg says into what our own understand."""
    try:
        yield
    except _TROUBLES as error:
        raise StoreAway(f"postgresql: {error or type(error).__name__}") from error
