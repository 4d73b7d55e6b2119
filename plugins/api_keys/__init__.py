"""Lets in those who have a key of this gateway's own, and holds them to what it may.

Keys stand in config.toml, as hashes, or are made, changed and revoked while the gateway runs, and
stand in a store. Both are verified from memory. What a key stands for, with its team, becomes the
request's identity; limits and budgets that come with it are for `rate_limit` and `budget` to keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gateway import (
    Attempt,
    CallerFault,
    Duration,
    Endpoint,
    Exchange,
    Gateway,
    OwnFault,
    Skip,
    StartError,
    StoreAway,
    consume,
    credential_of,
    hookimpl,
    is_known,
    now_ms,
    parse_duration,
    unauthorized,
)

from .api import endpoints
from .book import Update
from .fields import StaticKey, Team
from .format import PREFIX, PREFIX_FORM, digest_of, is_sound
from .grants import Grant
from .keyring import Ring, check_static, missing_secrets, static_ring
from .models import check_models
from .stores import NONE, opened
from .watching import Watcher

if TYPE_CHECKING:
    from gateway.plan import Plan

NAME: Final = "api_keys"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call.

    keys: Keys of this file, by their hashes, a table each; the README lists their fields.
    teams: Their teams, a table each.
    store: Where managed keys are: "sqlite" for a file in the state directory,
        "postgresql://user@host/database", or "none". It is one for all gateways, opened at start.
    prefix: What new managed keys begin with; some tools want "sk-". It is fixed at start.
    grace: How long a key that was in use goes on working while the store is away. It is fixed at
        start.
    revoke_cuts_streams: End what is under way with a key once it is revoked, deleted or disabled.
        It is fixed at start.
    """

    keys: tuple[StaticKey, ...] = ()
    teams: tuple[Team, ...] = ()
    store: str = "sqlite"
    prefix: str = PREFIX
    grace: Duration = parse_duration("60s")
    revoke_cuts_streams: bool = False

    def __post_init__(self) -> None:
        if PREFIX_FORM.fullmatch(self.prefix) is None:
            raise ValueError("prefix: wanted 1 to 20 of A-Z a-z 0-9 _ -")
        check_static(self.keys, self.teams)


class Plugin:
    """See the module's docstring."""

    identifies = True

    def __init__(self, config: Config) -> None:
        self.config = config
        self._rings: dict[Plan, Ring] = {}
        self._managed: Ring = {}
        self._watcher: Watcher | None = None
        self._gateway: Gateway | None = None
        self._lost_ms = 0  # since when the store has been away; 0 while it is there

    def idle(self, config: Config) -> tuple[str, ...]:
        """Without a store it is known now whether any key has rules for where requests go."""
        everyone = (*config.keys, *config.teams)
        binds = any(one.providers or one.models or one.denied_models for one in everyone)
        return () if binds or self.config.store != NONE else ("prepare", "send")

    def check(self, config: Config, state: Path) -> list[str]:
        """What would keep keys, or a team's requests, from being answered for."""
        texts = list(missing_secrets(config.teams))
        if config.store != NONE:
            try:
                asyncio.run(opened(config.store, state).check())
            except (StartError, StoreAway) as error:
                texts.append(f"store: {error}")
        return texts

    # -- life --------------------------------------------------------------------------------------

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        self._gateway = gateway
        for plan in gateway.plans.values():
            if NAME in plan.settings:
                self._ring(plan)
        if self.config.store == NONE:
            yield
            return
        watched, worked = (opened(self.config.store, gateway.state_path) for _ in range(2))
        watcher = self._watcher = Watcher(watched, worked)
        self._managed = watcher.ring
        watcher.start(self._told)
        gateway.first(watcher.looked(), "api-keys-first-look")
        try:
            yield
        finally:
            await asyncio.to_thread(watcher.stop)

    @hookimpl
    def endpoints(self, gateway: Gateway) -> list[Endpoint]:
        watcher = self._watcher
        return [] if watcher is None else endpoints(watcher, self.config.prefix)

    def _told(self, update: Update | None) -> None:
        """The store has said something, or nothing any more."""
        gateway, watcher = self._gateway, self._watcher
        assert gateway is not None
        assert watcher is not None
        if not watcher.is_lost:
            self._lost_ms = 0
        elif not self._lost_ms:
            self._lost_ms = now_ms()
        is_blind = watcher.is_lost and not (watcher.is_loaded and self._may_go_on(self._lost_ms))
        gateway.trouble(NAME, "the store of keys is away" if is_blind else None)
        if update is not None and update.stopped and self.config.revoke_cuts_streams:
            for line in tuple(gateway.lines):
                identity = line.exchange.identity
                if identity is not None and identity.key_id in update.stopped:
                    line.exchange.stop()

    def _may_go_on(self, since_ms: int) -> bool:
        """Whether so old a word of the store still counts."""
        return now_ms() - since_ms <= self.config.grace // 1_000_000

    # -- the line ----------------------------------------------------------------------------------

    @hookimpl
    def authenticate(self, exchange: Exchange) -> None:
        if is_known(exchange):
            return
        credential = credential_of(exchange)
        if credential is None:
            return
        ring = self._rings.get(exchange.plan)
        if ring is None:
            ring = self._ring(exchange.plan)
        digest = sha256(credential).digest()
        grant = ring.get(digest) or self._managed.get(digest)
        if grant is None:
            self._refuse(credential)
            return
        if grant.is_managed:
            now = now_ms()
            if not self._lost_ms:
                grant.verified_ms = now
            elif not self._may_go_on(grant.verified_ms):
                raise _away()
            if grant.checks:
                grant.check(exchange, now)
            grant.used_ms = now
            grant.uses += 1
        elif grant.checks:
            grant.check(exchange, now_ms())
        consume(exchange, credential)
        grant.identify(exchange.known())

    def owns(self, _: Exchange, credential: bytes) -> bool:
        """Whether a credential is one of our keys, which must not go up (`gateway.bearer`)."""
        digest = digest_of(credential)
        return digest in self._managed or any(digest in ring for ring in self._rings.values())

    def _refuse(self, credential: bytes) -> None:
        """What is to be said of a key that is not known."""
        if credential.count(b".") >= 2:
            return  # a token, which others understand; the line refuses it where nobody does
        watcher = self._watcher
        is_blind = watcher is not None and (watcher.is_lost or not watcher.is_loaded)
        if is_blind and is_sound(credential):
            raise _away()  # the store may know it; what its checksum tells is a typo never does
        raise unauthorized("The key is none of this gateway's.")

    def _ring(self, plan: Plan) -> Ring:
        """The keys of a plan that is new since the start or a reload; older plans are over."""
        plans = () if self._gateway is None else self._gateway.plans.values()
        known = self._rings
        self._rings = {
            one: known[one] if one in known else static_ring(one.settings[NAME])
            for one in (*plans, plan)
            if NAME in one.settings
        }
        return self._rings[plan]

    @hookimpl
    def prepare(self, exchange: Exchange) -> None:
        """Refuse what can be refused before anything is counted, or answered from a cache."""
        identity = exchange.identity
        grant = None if identity is None else identity.grant
        if grant.__class__ is not Grant or not grant.binds:
            return
        provider = exchange.provider
        if provider is None or exchange.plan.pick:
            return
        grant.check_provider(provider.name)
        if grant.models and exchange.body is not None:
            check_models(exchange, grant, provider, exchange.path, exchange.body)

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> Skip | None:
        """The same for where it really goes, and what goes there."""
        identity = exchange.identity
        grant = None if identity is None else identity.grant
        if grant.__class__ is not Grant or not grant.binds:
            return None
        target = attempt.target
        try:
            grant.check_provider(target.provider.name)
            if grant.models:
                body = attempt.body
                if body and exchange.body is None and not exchange.depth:
                    body = None  # not sent as JSON, or too large to be read
                check_models(exchange, grant, target.provider, target.path, body)
        except CallerFault as error:
            if exchange.plan.pick and error.status == 403:
                return Skip(error)  # another target may do
            raise
        return None


def _away() -> OwnFault:
    return OwnFault(
        "Keys cannot be verified at the moment; try again.",
        status=503,
        code="keys_unavailable",
        headers=((b"Retry-After", b"2"),),
    )
