"""The plugin over a store that all processes share: its hooks wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from gateway import (
    Attempt,
    Exchange,
    Gateway,
    GatewayError,
    RedisLink,
    Splitter,
    StoreLost,
    hookimpl,
)

from . import LEDGER, NAME, UNREAD, Plugin, skipped
from .book import Book
from .ceiling import Ceiling
from .checking import check_stream
from .filling import Filling
from .foreseeing import Foreseeing
from .holds import Entries, Note
from .lines import LineSplitter
from .marking import CLAIM, DONE, FILL, STAND
from .rebuilding import Ledger
from .reporting import Budgets
from .scripts import GIVE, LIST, RENEW, TAKE
from .settings import Config
from .shared import SharedDesk
from .shares import Shares
from .showing import shown

# Between two words that a rule is somebody's.
STAND_S = 60.0


class Sharing(Plugin):
    """Asks the store that all processes share."""

    def _made_desk(self, config: Config) -> SharedDesk:
        self.link = RedisLink(
            config.store,
            (TAKE, GIVE, RENEW, LIST, CLAIM, FILL, DONE, STAND),
            user=config.store_user,
            password=config.store_password,
            deadline_s=config.store_timeout / 1e9,
            on_up=self._up,
        )
        self.book = Book(Shares(1, config.counters_max))
        self._store.clock = self.book.clock
        refuses = config.on_store_lost == "refuse"
        self.desk = SharedDesk(
            self._store, self._alerts.tell, self.link, self.book, refuses=refuses
        )
        self._filling: asyncio.Task[None] | None = None
        return self.desk

    @asynccontextmanager
    async def _storing(self, gateway: Gateway) -> AsyncIterator[None]:
        self.book.shares.share = gateway.config.server.workers * self.config.nodes
        self.book.reads = any(LEDGER in plan.plugins for plan in gateway.plans.values())
        self.desk.spawn, self.desk.unread = gateway.task, self._fill
        async with self.link.running():
            leases = gateway.task(self.desk.leases.keep(), "budget-leases")
            standing = gateway.task(self._stand(), "budget-standing")
            try:
                yield
            finally:
                leases.cancel()
                standing.cancel()

    async def _stand(self) -> None:
        """Say that somebody has these rules."""
        while True:
            await asyncio.sleep(STAND_S)
            markers = [self.book.place(limit).marker for limit, _ in self._standing.every()]
            if markers and self.book.reads:
                with suppress(StoreLost):
                    await self.link.call(STAND, markers, [])

    def _up(self) -> None:
        self.desk.settling.owing.pay()
        self.book.renew_now.set()

    def _begin(self, gateway: Gateway, ledger: Ledger) -> None:
        if self.link.is_up:
            gateway.first(self._filled(gateway, ledger), "budget-rebuild")

    def _fill(self) -> None:
        """Somebody has to read what was spent before."""
        gateway, ledger = self._gateway, self._ledger
        is_running = self._filling is not None and not self._filling.done()
        if gateway is not None and ledger is not None and not is_running:
            self._filling = gateway.task(self._filled(gateway, ledger), "budget-rebuild")

    async def _filled(self, gateway: Gateway, ledger: Ledger, anew: Entries = ()) -> None:
        standing = self._standing
        gateway.trouble(NAME, UNREAD)
        await Filling(
            self.link, self.book, ledger, standing.every, standing.where, lambda: self.desk.prices
        ).run(anew)
        gateway.trouble(NAME, None)

    def _fresh(self, entries: Entries) -> None:
        if self._ledger is not None and self._gateway is not None:
            work = self._filled(self._gateway, self._ledger, entries)
            self._gateway.task(work, "budget-catch-up")

    @hookimpl
    async def limit(self, exchange: Exchange) -> None:  # type: ignore[override]  # waits
        note = self._noted(exchange)
        provider = exchange.provider
        if note is not None and provider is not None and not exchange.plan.pick:
            check_stream(exchange, note, provider.name, exchange.path)
            await self.desk.ask(exchange, note, provider.name)

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> Any:
        note = exchange.notes.get(NAME)
        if note is None or (attempt.number == 0 and attempt.target.provider.name == note.provider):
            return None
        check_stream(exchange, note, attempt.target.provider.name, attempt.target.path)
        try:
            await self.desk.ask_again(exchange, attempt, note)
        except GatewayError as error:
            return skipped(exchange, note, error)
        note.refused = None
        return None

    def _ceiling(
        self, exchange: Exchange, note: Note, held: int, splitter: Splitter | LineSplitter
    ) -> Ceiling:
        return Foreseeing(self.desk, exchange, note, held, splitter)

    async def _reported(self) -> Budgets:
        return await shown(self.link, self.book, self._standing.every())
