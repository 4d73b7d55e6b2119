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
from functools import partial
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
    StartError,
    get_logger,
    hookimpl,
    now_ms,
    parse_duration,
)

from .alerts import Alerts
from .ceiling import Ceiling
from .counters import Store
from .demand import demand_of
from .holds import Entries, Entry, Note
from .rebuilding import Ledger, rebuild
from .refusing import blind
from .reporting import Budgets, report
from .reserving import Desk
from .rules import Limit, Rule
from .windows import window_of, zone_of

log = get_logger("budget")

NAME: Final = "budget"
LEDGER: Final = "ledger"
# What has ended is in the ledger after this time.
SHIPPED_S: Final = 1.0
_FIELDS: Final = (b"limit", b"remaining", b"reset")
_Names = tuple[bytes, bytes, bytes, frozenset[bytes]]
_KIND: Final = frozenset({b"content-type"})
_CODING: Final = frozenset({b"content-encoding"})
_READABLE: Final = (b"", b"identity", b"gzip", b"x-gzip", b"deflate")


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

    def __init__(self, config: Config) -> None:
        self.config = config
        self._store = Store(config.counters_max, now_ms)
        patience_s = config.webhook_patience / 1e9
        self._alerts = Alerts(config.webhook, config.webhook_secret, patience_s)
        self._desk = Desk(self._store, self._alerts.tell)
        self._gateway: Gateway | None = None
        self._ledger: Ledger | None = None
        self._in_force: dict[str, tuple[Config, Entries]] = {}
        self._prefixes: dict[bytes, _Names] = {}
        self._is_blind = False  # until what was spent before has been read

    def idle(self, config: Config) -> tuple[str, ...]:
        if not config.rules:
            # After a reload that took all rules away somebody has to let go of their counters.
            had_some = any(entries for _, entries in self._in_force.values())
            rest = ("send", "answer", "rewrite", "settle")
            return rest if had_some else ("limit", *rest)
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
        _check(gateway)
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
        if keeps and self._every():
            self._is_blind = True
            gateway.trouble(NAME, "what was spent before has not been read from the ledger yet")
            gateway.first(self._rebuild(gateway, gateway.require(LEDGER)), "budget-rebuild")
        self._ledger = gateway.require(LEDGER) if keeps else None
        doc = Doc("What is spent, reserved and left of each budget.", answers={200: Budgets})
        return [Endpoint("GET", "/api/budgets", self._report, doc=doc)]

    def entries(self, name: str, config: Config) -> Entries:
        """The rules of a gateway's settings, each with its counters."""
        kept = self._in_force.get(name)
        if kept is not None and kept[0] is config:
            return kept[1]
        if self._is_current(name, config):
            self._renew(name, config)
            return self._in_force[name][1]
        found = tuple(self._ready(rule) for rule in config.rules)
        self._drop_unused()
        return found

    def _renew(self, name: str, config: Config) -> None:
        """Bring settings in force, those of all gateways at once: they share counters."""
        settings = {each: kept for each, (kept, _) in self._in_force.items()}
        if self._gateway is not None:
            plans = self._gateway.plans.items()
            settings = {each: plan.settings[NAME] for each, plan in plans if NAME in plan.settings}
        settings[name] = config
        known = self._store.keys()
        self._in_force = {
            each: (kept, tuple(self._ready(rule) for rule in kept.rules))
            for each, kept in settings.items()
        }
        self._drop_unused()
        fresh = tuple(entry for entry in self._every() if entry[0].key not in known)
        if fresh and self._ledger is not None and self._gateway is not None:
            work = self._catch_up(self._ledger, fresh, self._store.clock())
            self._gateway.task(work, "budget-catch-up")

    def _ready(self, rule: Rule) -> Entry:
        limit = Limit(rule)
        make = partial(window_of, limit.period, rule.window, zone_of(rule.zone))
        tally = self._store.tally(limit.key, make)
        for counter in tally.counters.values():
            counter.told = limit.told_of(counter.spent)
        return limit, tally

    def _drop_unused(self) -> None:
        self._store.keep(limit.key for limit, _ in self._every())

    def _is_current(self, name: str, config: Config) -> bool:
        """Whether these are a gateway's settings of now: a request keeps those it began under."""
        gateway = self._gateway
        if gateway is None:
            return True
        return name in gateway.plans and gateway.plans[name].settings.get(NAME) is config

    def _every(self) -> Entries:
        """The rules of all gateways; those that share their counters once."""
        found = {e[0].key: e for _, entries in self._in_force.values() for e in entries}
        return tuple(found.values())

    def _where(self) -> dict[tuple[object, ...], set[str]]:
        """The gateways that each rule is of, by its key."""
        found: dict[tuple[object, ...], set[str]] = {}
        for name, (_, entries) in self._in_force.items():
            for limit, _ in entries:
                found.setdefault(limit.key, set()).add(name)
        return found

    async def _rebuild(self, gateway: Gateway, ledger: Ledger) -> None:
        await rebuild(ledger, self._every, self._where, self._store, self._desk)
        self._is_blind = False
        gateway.trouble(NAME, None)

    async def _catch_up(self, ledger: Ledger, entries: Entries, now_ms: int) -> None:
        """What was spent before rules came by a reload. Requests go on meanwhile."""
        await asyncio.sleep(SHIPPED_S)
        await rebuild(ledger, lambda: entries, self._where, self._store, self._desk, now_ms)

    # -- the line ----------------------------------------------------------------------------------

    @hookimpl
    def limit(self, exchange: Exchange) -> None:
        entries = self.entries(exchange.gateway, exchange.settings[NAME])
        demand = demand_of(exchange) if entries else None
        if demand is None:
            return
        if self._is_blind and any(limit.hard for limit, _ in entries):
            raise blind()
        note = exchange.notes[NAME] = Note(demand, entries)
        provider = exchange.provider
        if provider is not None and not exchange.plan.pick:  # else it is known in `send`
            self._desk.reserve(exchange, note, provider.name)

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> Any:
        note = exchange.notes.get(NAME)
        if note is None or (attempt.number == 0 and attempt.target.provider.name == note.provider):
            return None
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
        if not kinds or not kinds[0][1].lstrip().lower().startswith(b"text/event-stream"):
            return None
        codings = attempt.response.among(_CODING)
        if any(coding.strip().lower() not in _READABLE for _, coding in codings):
            return None
        held = note.demand.output
        if held is None:
            held = min(limit.output_default for limit in stops)
        return Ceiling(self._desk, exchange, note, held)

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
        found = report(self._every(), self._store.clock())
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")


def _check(gateway: Gateway) -> None:
    """What rules need. `StartError` with the way out."""
    workers = gateway.config.server.workers
    if workers > 1:
        raise StartError(
            f"budgets are counted in the memory of one process, and server.workers is {workers}; "
            'set server.workers = 1, or take "budget" out of `enabled`'
        )
    for name, plan in gateway.plans.items():
        rules = plan.settings[NAME].rules if NAME in plan.plugins else ()
        needed = {"usage"} if rules else set()
        if any(Limit(rule).in_usd for rule in rules):
            needed.add("cost")
        missing = sorted(needed - set(plan.plugins))
        if missing:
            raise StartError(
                f'the gateway "{name}" has budgets and does not know what is used: enable '
                f'{" and ".join(missing)} there, before "budget"'
            )
