"""Keeps spending within budgets: what a request may cost is reserved before it is sent.

Rules are in money or tokens, per key, team, user, provider, model, metadata or gateway, and in
windows from a minute to a year. A request reserves the most that it may use, under all of its rules
or none, and settles for what it did use. Counters are in the memory of one process; at its start
they are read from the ledger, where that is enabled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from gateway import (
    Attempt,
    Doc,
    Duration,
    Endpoint,
    Exchange,
    Gateway,
    GatewayError,
    Head,
    Secret,
    Skip,
    Splitter,
    StartError,
    get_logger,
    hookimpl,
    now_ms,
    parse_duration,
)

from .alerts import Alerts
from .ceiling import Ceiling
from .checking import check_needs, check_stream
from .counters import Store
from .demand import demand_of
from .holds import Entries, Note
from .lines import LineSplitter
from .rebuilding import Ledger, rebuild
from .refusing import blind
from .reporting import Budgets, report
from .reserving import Desk
from .rules import Rule
from .sessions import Session
from .standing import Standing

log = get_logger("budget")

NAME: Final = "budget"
LEDGER: Final = "ledger"
# What has ended is in the ledger after this time.
SHIPPED_S: Final = 1.0
_FIELDS: Final = (b"limit", b"remaining", b"reset")
_Names = tuple[bytes, bytes, bytes, frozenset[bytes]]
# Streams that can be ended: of events, and Ollama's lines of JSON.
EVENTS: Final = b"text/event-stream"
LINES: Final = b"application/x-ndjson"
_KIND: Final = frozenset({b"content-type"})


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be spent.

    rules: The budgets, a table each; the README lists their keys.
    webhook: Where alerts are posted to, as JSON; empty means nowhere. It is fixed at start.
    webhook_secret: Signs them, HMAC-SHA256 in weir-signature.
    webhook_patience: How long one is tried again.
    counters_max: Counters kept at most, one for each rule and subject. It is fixed at start.
    """

    rules: tuple[Rule, ...] = ()
    webhook: str = ""
    webhook_secret: Secret | None = None
    webhook_patience: Duration = parse_duration("5m")
    counters_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"rules: two are named {twice}; give one another name")
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ValueError('webhook: wanted an address such as "https://alerts.example/weir"')


class Plugin:
    """See the module's docstring."""

    after = ("usage", "cost")
    reads = "json"
    watches = "upstream"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._store = Store(config.counters_max, now_ms)
        patience_s = config.webhook_patience / 1e9
        self._alerts = Alerts(config.webhook, config.webhook_secret, patience_s)
        self._desk = Desk(self._store, self._alerts.tell)
        self._gateway: Gateway | None = None
        self._ledger: Ledger | None = None
        self._standing = Standing(self._store, self._settings, self._fresh)
        self._prefixes: dict[bytes, _Names] = {}
        self._is_blind = False  # until what was spent before has been read

    def idle(self, config: Config) -> tuple[str, ...]:
        if not config.rules:
            # After a reload that took all rules away somebody has to let go of their counters.
            rest = ("send", "answer", "rewrite", "tap", "settle")
            return rest if self._standing.every() else ("limit", *rest)
        stops = any(rule.stop_in_flight for rule in config.rules)
        return () if stops else ("rewrite",)

    def check(self, config: Config, _: Path) -> list[str]:
        """What would stop a start."""
        secret = config.webhook_secret
        if config.webhook and secret is not None and secret.missing:
            why = f"webhook_secret: {secret.reference} is {secret.why_missing}"
            return [f"{why}; set it, or leave webhook_secret out to send alerts unsigned"]
        return []

    # -- life --------------------------------------------------------------------------------------

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        self._gateway = gateway
        for text in self.check(self.config, gateway.state_path):
            raise StartError(text)
        check_needs(gateway)
        if any("cost" in plan.plugins for plan in gateway.plans.values()):
            self._desk.prices = gateway.require("prices")
        for name, plan in gateway.plans.items():
            if NAME in plan.settings:
                self.entries(name, plan.settings[NAME])
        async with self._alerts.running():
            yield

    @hookimpl
    def endpoints(self, gateway: Gateway) -> list[Endpoint]:
        """Every plugin has begun by now, so a ledger that stands behind this one is there."""
        keeps = any(LEDGER in plan.plugins for plan in gateway.plans.values())
        if keeps and self._standing.every():
            self._is_blind = True
            gateway.trouble(NAME, "what was spent before has not been read from the ledger yet")
            gateway.first(self._rebuild(gateway, gateway.require(LEDGER)), "budget-rebuild")
        self._ledger = gateway.require(LEDGER) if keeps else None
        doc = Doc("What is spent, reserved and left of each budget.", answers={200: Budgets})
        return [Endpoint("GET", "/api/budgets", self._report, doc=doc)]

    def entries(self, name: str, config: Config) -> Entries:
        """The rules of a gateway's settings, each with its counters."""
        return self._standing.entries(name, config)

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
        entries = self.entries(exchange.gateway, exchange.settings[NAME])
        demand = demand_of(exchange) if entries else None
        if demand is None:
            return
        if exchange.model is None:
            exchange.model = demand.model  # of a session, whose cost is by that in the end
        if self._is_blind and any(limit.hard for limit, _ in entries):
            raise blind()
        note = exchange.notes[NAME] = Note(demand, entries)
        provider = exchange.provider
        if provider is not None and not exchange.plan.pick:  # else it is known in `send`
            check_stream(exchange, note, provider.name, exchange.path)
            self._desk.reserve(exchange, note, provider.name)

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> Any:
        note = exchange.notes.get(NAME)
        if note is None or (attempt.number == 0 and attempt.target.provider.name == note.provider):
            return None
        check_stream(exchange, note, attempt.target.provider.name, attempt.target.path)
        try:
            self._desk.retarget(exchange, attempt, note)
        except GatewayError as error:
            refused = note.refused
            if refused is not None and refused[0].is_by_provider and exchange.plan.pick:
                return Skip(error)  # another target may have room
            raise
        note.refused = None
        return None

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        note = exchange.notes.get(NAME)
        if note is None:
            return
        if note.refused is not None:
            limit, tally, counter = note.refused
        else:
            hold = note.tightest
            if hold is None:
                return
            limit, tally, counter = hold.limit, hold.tally, hold.counter
        names = self._prefixes.get(exchange.prefix) or self._named(exchange.prefix)
        headers = head.headers
        if headers.among(names[3]):  # an upstream that is a gateway like this one
            for name in names[3]:
                headers.drop(name)
        left = limit.amount - counter.spent - counter.reserved
        headers.add(names[0], limit.shown)
        headers.add(names[1], limit.header(left if left > 0 else 0))  # noqa: FURB136 - half the cost
        headers.add(names[2], tally.window.shown(counter.resets_ms(tally.window)))

    def _named(self, prefix: bytes) -> _Names:
        first, second, third = (prefix + b"budget-" + each for each in _FIELDS)
        names = self._prefixes[prefix] = (first, second, third, frozenset((first, second, third)))
        return names

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Ceiling | None:
        note, attempt = exchange.notes.get(NAME), exchange.attempt
        if note is None or attempt is None or attempt.response is None:
            return None
        stops = [hold.limit for hold in note.holds if hold.limit.rule.stop_in_flight]
        if not stops or exchange.dialect is None or attempt.status != 200:
            return None
        kinds = attempt.response.among(_KIND)
        kind = kinds[0][1].lstrip().lower() if kinds else b""
        if not kind.startswith((EVENTS, LINES)):
            return None
        splitter = Splitter() if kind.startswith(EVENTS) else LineSplitter()
        held = self._desk.held(exchange, note, stops)
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
            entries = self.entries(exchange.gateway, exchange.settings[NAME])
            self._desk.count(exchange, entries)

    async def _report(self, request: web.Request) -> web.Response:
        plans = {} if self._gateway is None else self._gateway.plans
        for name, plan in plans.items():
            if NAME in plan.settings:  # perhaps nobody has asked since a reload
                self.entries(name, plan.settings[NAME])
        found = report(self._standing.every(), self._store.clock())
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")
