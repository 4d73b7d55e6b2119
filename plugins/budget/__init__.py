"""Keeps spending within budgets: what a request may cost is reserved before it is sent.

Rules are in money or tokens, per key, team, user, provider, model, metadata or gateway, and in
windows from a minute to a year. A request reserves the most that it may use, under all of its rules
or none, and settles for what it did use. Counters are in the memory of one process, or in Redis or
Valkey for all of them; they begin with what the ledger says, where that is enabled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, cast

from aiohttp import web

from gateway import (
    Attempt,
    Doc,
    Endpoint,
    ErrorAnswer,
    Exchange,
    Gateway,
    GatewayError,
    Head,
    Skip,
    Splitter,
    StartError,
    StoreLost,
    get_logger,
    hookimpl,
    now_ms,
)

from .alerts import Alerts
from .ceiling import Ceiling, splitter_of
from .checking import check_needs, check_stream
from .counters import Store
from .demand import demand_of
from .fields import Names, add_fields
from .holds import Entries, Note
from .lines import LineSplitter
from .rebuilding import Ledger, rebuild
from .refusing import blind
from .reporting import Budgets, answered, report
from .reserving import Desk
from .sessions import Session
from .settings import MEMORY, Config
from .standing import Standing

__all__ = ["Config", "Plugin"]

log = get_logger("budget")

NAME: Final = "budget"
LEDGER: Final = "ledger"
# What has ended is in the ledger after this time.
SHIPPED_S: Final = 1.0
UNREAD: Final = "what was spent before has not been read from the ledger yet"


class Plugin:
    """Counts in memory; `Sharing` is the one who asks a store."""

    after = ("usage", "cost")
    reads = "json"
    watches = "upstream"

    def __new__(cls, config: Config) -> Self:
        """One who has to wait for a store is another class: the colour of hooks is fixed."""
        if config.store == MEMORY:
            return super().__new__(cls)
        from .sharing import Sharing  # noqa: PLC0415 - it is made of this one

        return cast("Self", super().__new__(Sharing))

    def __init__(self, config: Config) -> None:
        self.config = config
        self._store = Store(config.counters_max, now_ms)
        patience_s = config.webhook_patience / 1e9
        self._alerts = Alerts(config.webhook, config.webhook_secret, patience_s)
        self._desk = self._made_desk(config)
        self._gateway: Gateway | None = None
        self._ledger: Ledger | None = None
        self._standing = Standing(self._store, self._settings, self._fresh)
        self._prefixes: dict[bytes, Names] = {}
        self._is_blind = False  # until what was spent before has been read

    def idle(self, config: Config) -> tuple[str, ...]:
        # Without any rule there are still those that identities bring.
        stops = any(rule.stop_in_flight for rule in config.rules)
        return () if stops else ("rewrite",)

    def check(self, config: Config, _: Path) -> list[str]:
        """What would stop a start."""
        found = []
        secret = config.webhook_secret
        if config.webhook and secret is not None and secret.missing:
            why = f"webhook_secret: {secret.reference} is {secret.why_missing}"
            found.append(f"{why}; set it, or leave webhook_secret out to send alerts unsigned")
        password = config.store_password
        if password is not None and password.missing:
            found.append(f"store_password: {password.reference} is {password.why_missing}; set it")
        return found

    def _made_desk(self, _: Config) -> Desk:
        return Desk(self._store, self._alerts.tell)

    # -- life --------------------------------------------------------------------------------------

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        self._gateway = gateway
        for text in self.check(self.config, gateway.state_path):
            raise StartError(text)
        check_needs(gateway, is_shared=self.config.store != MEMORY)
        if any("cost" in plan.plugins for plan in gateway.plans.values()):
            self._desk.prices = gateway.require("prices")
        for name, plan in gateway.plans.items():
            if NAME in plan.settings:
                self.entries(name, plan.settings[NAME])
        async with self._alerts.running(), self._storing(gateway):
            yield

    @asynccontextmanager
    async def _storing(self, gateway: Gateway) -> AsyncIterator[None]:
        yield

    @hookimpl
    def endpoints(self, gateway: Gateway) -> list[Endpoint]:
        """Every plugin has begun by now, so a ledger that stands behind this one is there."""
        keeps = any(LEDGER in plan.plugins for plan in gateway.plans.values())
        self._ledger = gateway.require(LEDGER) if keeps else None
        if self._ledger is not None and self._standing.every():
            self._begin(gateway, self._ledger)
        doc = Doc("What is spent, reserved and left of each budget.", answers={200: Budgets})
        return [Endpoint("GET", "/api/budgets", self._report, doc=doc)]

    def _begin(self, gateway: Gateway, ledger: Ledger) -> None:
        """Read what was spent before, before the first caller is let in."""
        self._is_blind = True
        gateway.trouble(NAME, UNREAD)
        gateway.first(self._rebuild(gateway, ledger), "budget-rebuild")

    def entries(self, name: str, config: Config) -> Entries:
        """The rules of a gateway's settings, each with its counters."""
        return self._standing.entries(name, config)

    def _entries_of(self, exchange: Exchange) -> Entries:
        """The rules that an exchange is under; its identity may bring some along."""
        identity = exchange.identity
        own = () if identity is None else identity.budgets
        return self._standing.entries_for(exchange.gateway, exchange.settings[NAME], own)

    def _settings(self) -> dict[str, Config] | None:
        if self._gateway is None:
            return None
        plans = self._gateway.plans.items()
        return {name: plan.settings[NAME] for name, plan in plans if NAME in plan.settings}

    def _fresh(self, entries: Entries) -> None:
        """Rules have come by a reload: what was spent before them is in the ledger."""
        if self._ledger is not None and self._gateway is not None:
            work = self._catch_up(self._ledger, entries, self._store.clock())
            self._gateway.task(work, "budget-catch-up")

    async def _rebuild(self, gateway: Gateway, ledger: Ledger) -> None:
        await rebuild(ledger, self._standing.every, self._standing.where, self._store, self._desk)
        self._is_blind = False
        gateway.trouble(NAME, None)

    async def _catch_up(self, ledger: Ledger, entries: Entries, now_ms: int) -> None:
        """What was spent before rules came by a reload. Requests go on meanwhile."""
        await asyncio.sleep(SHIPPED_S)
        await rebuild(
            ledger, lambda: entries, self._standing.where, self._store, self._desk, now_ms
        )

    # -- the line ----------------------------------------------------------------------------------

    @hookimpl
    def limit(self, exchange: Exchange) -> None:
        note = self._noted(exchange)
        if note is None:
            return
        if self._is_blind and any(limit.hard for limit, _ in note.entries):
            raise blind()
        provider = exchange.provider
        if provider is not None and not exchange.plan.pick:  # else it is known in `send`
            check_stream(exchange, note, provider.name, exchange.path)
            self._desk.reserve(exchange, note, provider.name)

    def _noted(self, exchange: Exchange) -> Note | None:
        """The note of an exchange that has rules and may use something."""
        entries = self._entries_of(exchange)
        demand = demand_of(exchange) if entries else None
        if demand is None:
            return None
        if exchange.model is None:
            exchange.model = demand.model  # of a session, whose cost is by that in the end
        note = exchange.notes[NAME] = Note(demand, entries)
        return note

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> Any:
        note = exchange.notes.get(NAME)
        if note is None or (attempt.number == 0 and attempt.target.provider.name == note.provider):
            return None
        check_stream(exchange, note, attempt.target.provider.name, attempt.target.path)
        try:
            self._desk.retarget(exchange, attempt, note)
        except GatewayError as error:
            return skipped(exchange, note, error)
        note.refused = None
        return None

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        note = exchange.notes.get(NAME)
        if note is not None:
            names = self._prefixes.get(exchange.prefix)
            if names is None:
                names = self._prefixes[exchange.prefix] = Names(exchange.prefix)
            add_fields(head.headers, names, note)

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Ceiling | None:
        note = exchange.notes.get(NAME)
        splitter = None if note is None else splitter_of(exchange)
        if note is None or splitter is None:
            return None
        stops = [hold.limit for hold in note.holds if hold.limit.rule.stop_in_flight]
        if not stops:
            return None
        return self._ceiling(exchange, note, self._desk.held(exchange, note, stops), splitter)

    def _ceiling(
        self, exchange: Exchange, note: Note, held: int, splitter: Splitter | LineSplitter
    ) -> Ceiling:
        return Ceiling(self._desk, exchange, note, held, splitter)

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Session | None:
        attempt = exchange.attempt
        if attempt is None or attempt.status != 101:
            return None
        note = exchange.notes.get(NAME)
        return None if note is None else Session(self._desk, exchange, note)

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        note = exchange.notes.get(NAME)
        if note is not None:
            self._desk.settle(exchange, note)
        elif exchange.attempts and exchange.usage is not None:
            self._desk.count(exchange, self._entries_of(exchange))

    async def _report(self, _: web.Request) -> web.Response:
        plans = {} if self._gateway is None else self._gateway.plans
        for name, plan in plans.items():
            if NAME in plan.settings:  # perhaps nobody has asked since a reload
                self.entries(name, plan.settings[NAME])
        try:
            found = await self._reported()
        except StoreLost as error:
            return answered(ErrorAnswer(f"The store of budgets is away: {error}."), 503)
        return answered(found)

    async def _reported(self) -> Budgets:
        return report(self._standing.every(), self._store.clock())


def skipped(exchange: Exchange, note: Note, error: GatewayError) -> Skip:
    """Where only this target has no room, another one may."""
    refused = note.refused
    if refused is not None and refused[0].is_by_provider and exchange.plan.pick:
        return Skip(error)
    raise error
