"""Keeps callers within limits of requests, tokens and concurrency; what may be used is reserved.

Rules are per key, team, user, provider, model, address, metadata or gateway, each a token bucket, a
fixed window or a sliding one; limits that come with an identity are rules of their own. A request
takes what it needs of all of its rules or of none, and settles for what it did use. Counters are in
the memory of one process, or in Redis or Valkey for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast

import msgspec

from gateway import (
    Attempt,
    Duration,
    Exchange,
    Gateway,
    GatewayError,
    Head,
    Secret,
    Skip,
    StartError,
    get_logger,
    hookimpl,
    parse_duration,
)

from .checking import check_needs, faults_of
from .fields import Names, add_fields
from .holds import Note, Ready, backs
from .memory import Crowded, Memory, Refused
from .refusing import crowded, lost, refusal
from .reporting import Report
from .rules import Limit, Rule
from .shared import Shared, Unknown
from .standing import Standing

log = get_logger("rate_limit")

NAME: Final = "rate_limit"
MEMORY: Final = "memory"
# Between two sweeps, and between two steps of one.
_SWEEP_S: Final = 1.0
_STEP_S: Final = 0.02


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ask how much.

    rules: The limits, a table each; the README lists their keys.
    store: "memory" for one process, or "redis://host:6379/0" (rediss:// with TLS, unix:// for a
        socket) for all that share it. It is one for all gateways, fixed at start.
    store_user: The name to log in to it with; empty means the default one's.
    store_password: The password to log in to it with.
    store_timeout: How long a request waits for it.
    on_store_lost: While it is away, "local" counts in each process, "refuse" answers 503.
    nodes: How many gateways share it, with equally many workers each; while it is away each worker
        lets through its share. Fixed at start.
    counters_max: Counters kept at most in each process, one for each rule and subject. Fixed at
        start.
    """

    rules: tuple[Rule, ...] = ()
    store: str = MEMORY
    store_user: str = ""
    store_password: Secret | None = None
    store_timeout: Duration = parse_duration("50ms")
    on_store_lost: Literal["local", "refuse"] = "local"
    nodes: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    counters_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"rules: two are named {twice}; give one another name")
        for fault in faults_of(self.store):
            raise ValueError(f"store: {fault}")


class Plugin:
    """Counts in memory; `_Sharing` is the one who asks a store."""

    after = ("metadata", "api_keys", "jwt", "usage")
    reads = "json"

    def __new__(cls, config: Config) -> Self:
        """One who has to wait for a store is another class: the colour of hooks is fixed."""
        return cast("Self", super().__new__(cls if config.store == MEMORY else _Sharing))

    def __init__(self, config: Config) -> None:
        self.config = config
        self._report = Report()
        self.memory = Memory(config.counters_max, self._report.over)
        self.standing = Standing()
        self._names: dict[bytes, Names] = {}

    def idle(self, config: Config) -> tuple[str, ...]:
        """What has nothing to do under these rules; an identity may bring others, of `limit`."""
        idle = []
        if all(rule.counts == "upstream" for rule in config.rules):
            idle.append("prepare")
        if all("provider" not in rule.scopes for rule in config.rules):
            idle.append("send")
        return tuple(idle)

    def check(self, config: Config, _: Path) -> Iterator[str]:
        """What would stop a start."""
        secret = config.store_password
        if secret is not None and secret.missing:
            yield f"store_password: {secret.reference} is {secret.why_missing}; set it"

    # -- life --------------------------------------------------------------------------------------

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        for text in self.check(self.config, gateway.state_path):
            raise StartError(text)
        check_needs(gateway, is_shared=self.config.store != MEMORY)
        self._report.counted = gateway.count
        sweeping = gateway.task(self._sweep(), "rate-limit-sweep")
        try:
            async with self._storing(gateway):
                yield
        finally:
            sweeping.cancel()

    @asynccontextmanager
    async def _storing(self, gateway: Gateway) -> AsyncIterator[None]:
        yield

    async def _sweep(self) -> None:
        while True:
            more = self.memory.sweep()
            await asyncio.sleep(_STEP_S if more else _SWEEP_S)

    # -- the line ----------------------------------------------------------------------------------

    @hookimpl
    def prepare(self, exchange: Exchange) -> None:
        note = self._noted(exchange)
        if note is not None and note.ready.calls:
            self._take(exchange, note, note.ready.calls, None)

    @hookimpl
    def limit(self, exchange: Exchange) -> None:
        note = self._noted(exchange)
        if note is not None:
            limits, provider = self._before(exchange, note)
            self._take(exchange, note, limits, provider)

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> Any:
        note = exchange.notes.get(NAME)
        provider = attempt.target.provider.name
        if note is None or not self._moves(exchange, note, provider):
            return None
        try:
            self._take(exchange, note, note.ready.by_provider, provider)
        except GatewayError as error:
            if exchange.plan.pick:
                return Skip(error)  # another target may have room
            raise
        return None

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        note = exchange.notes.get(NAME)
        if note is not None and note.holds:
            names = self._names.get(exchange.prefix) or self._named(exchange.prefix)
            add_fields(head.headers, names, note)

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        note = exchange.notes.get(NAME)
        if note is not None:
            for hold, back in backs(exchange, note):
                self.memory.give(hold, back)

    # -- inner -------------------------------------------------------------------------------------

    def _noted(self, exchange: Exchange) -> Note | None:
        """The exchange's note, made where it has rules."""
        note: Note | None = exchange.notes.get(NAME)
        if note is None:
            ready = self.standing.ready(
                exchange.gateway, exchange.settings[NAME], exchange.identity
            )
            if ready:
                note = exchange.notes[NAME] = Note(ready)
        return note

    def _before(self, exchange: Exchange, note: Note) -> tuple[tuple[Limit, ...], str | None]:
        """The rules that can be asked before it is known where each attempt goes."""
        ready: Ready = note.ready
        provider = exchange.provider
        if not ready.by_provider or provider is None or exchange.plan.pick:
            return ready.plain, None
        note.provider = provider.name
        return ready.plain + ready.by_provider, provider.name

    def _moves(self, exchange: Exchange, note: Note, provider: str) -> bool:
        """Whether an attempt goes to a provider that nothing is held for yet."""
        if provider == note.provider:
            return False
        note.provider = provider
        return all(hold.provider != provider for hold in note.holds)

    def _take(
        self, exchange: Exchange, note: Note, limits: Iterable[Limit], provider: str | None
    ) -> None:
        try:
            self.memory.take(exchange, note, limits, provider)
        except Refused as refused:
            self._report.refused(refused.wish.limit)
            raise refusal(exchange, self._named(exchange.prefix), refused) from None
        except Crowded as fault:
            raise crowded(fault) from None

    def _named(self, prefix: bytes) -> Names:
        names = self._names[prefix] = self._names.get(prefix) or Names(prefix)
        return names


class _Sharing(Plugin):
    """Asks the store that all processes share."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.shared = Shared(
            config.store,
            self.memory,
            self._report,
            user=config.store_user,
            password=config.store_password,
            deadline_s=config.store_timeout / 1e9,
            refuses=config.on_store_lost == "refuse",
        )

    @asynccontextmanager
    async def _storing(self, gateway: Gateway) -> AsyncIterator[None]:
        self.standing = Standing(gateway.config.server.workers * self.config.nodes)
        async with self.shared.running():
            yield

    @hookimpl
    async def prepare(self, exchange: Exchange) -> None:  # type: ignore[override]  # waits
        note = self._noted(exchange)
        if note is not None and note.ready.calls:
            await self._ask(exchange, note, note.ready.calls, None)

    @hookimpl
    async def limit(self, exchange: Exchange) -> None:  # type: ignore[override]  # waits
        note = self._noted(exchange)
        if note is not None:
            limits, provider = self._before(exchange, note)
            await self._ask(exchange, note, limits, provider)

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> Any:
        note = exchange.notes.get(NAME)
        provider = attempt.target.provider.name
        if note is None or not self._moves(exchange, note, provider):
            return None
        try:
            await self._ask(exchange, note, note.ready.by_provider, provider)
        except GatewayError as error:
            if exchange.plan.pick:
                return Skip(error)  # another target may have room
            raise
        return None

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        note = exchange.notes.get(NAME)
        if note is None:
            return
        theirs = []
        for hold, back in backs(exchange, note):
            if hold.counter is not None:
                self.memory.give(hold, back)
            else:
                theirs.append((hold, back))
        self.shared.give(note, theirs)

    async def _ask(
        self, exchange: Exchange, note: Note, limits: Iterable[Limit], provider: str | None
    ) -> None:
        try:
            await self.shared.take(exchange, note, limits, provider)
        except Refused as refused:
            self._report.refused(refused.wish.limit)
            raise refusal(exchange, self._named(exchange.prefix), refused) from None
        except Crowded as fault:
            raise crowded(fault) from None
        except Unknown:
            raise lost() from None
