"""Managed keys in PostgreSQL: any number of machines, which hear of a change at once (NOTIFY)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from gateway import look_at_postgres, migrate_postgres
from gateway.postgres import Postgres

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


class PostgresStore(Postgres):
    """A `Store`."""

    def __init__(self, address: str) -> None:
        settings = {"statement_timeout": f"{int(COMMAND_S * 1000)}"}
        super().__init__(address, command_s=COMMAND_S, settings=settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard = asyncio.Event()
        self._listening: Any = None  # the connection that does

    async def check(self) -> None:
        async with self.connected() as db:
            await look_at_postgres(db, __package__, _SCHEMA)
        await self.close()

    async def open(self) -> None:
        async with self.connected() as db:
            if db is self._listening:
                return
            await migrate_postgres(db, __package__, _SCHEMA, _MIGRATION_LOCK)
            self._loop = asyncio.get_running_loop()
            await db.add_listener(CHANNEL, lambda *_: self._heard.set())
            db.add_termination_listener(lambda *_: self._heard.set())
            self._listening = db

    async def fetch(self, text: str, *values: object) -> Sequence[Sequence[Any]]:
        async with self.connected() as db:
            found: Sequence[Sequence[Any]] = await db.fetch(text, *values)
            return found

    @contextlib.asynccontextmanager
    async def changing(self, *, tell: bool) -> AsyncIterator[None]:
        async with self.transaction() as db:
            # One after the other, so that their numbers can be seen in their order.
            await db.execute("SELECT pg_advisory_xact_lock($1)", _CHANGE_LOCK)
            yield
            if tell:
                await db.execute(f"NOTIFY {CHANNEL}")

    async def news(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._heard.wait()
        self._heard.clear()

    def poke(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._heard.set)
