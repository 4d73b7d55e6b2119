"""Lets in those who have a key of this gateway's own, and holds them to what it may.

Keys stand in config.toml, as hashes, or are made, changed and revoked while the gateway runs, and
stand in a store. Both are verified from memory. What a key stands for, with its team, becomes the
request's identity; limits and budgets that come with it are for `rate_limit` and `budget` to keep.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
    consume,
    credential_of,
    hookimpl,
    is_known,
    now_ms,
    parse_duration,
    unauthorized,
)

from .fields import StaticKey, Team
from .format import PREFIX, PREFIX_FORM, digest_of, is_sound
from .grants import Grant
from .keyring import Ring, check_static, missing_secrets, static_ring
from .models import check_models

if TYPE_CHECKING:
    from gateway.plan import Plan

NAME: Final = "api_keys"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call.

    keys: Keys of this file, by their hashes, a table each; the README lists their fields.
    teams: Their teams, a table each.
    prefix: What new keys begin with; some tools want "sk-".
    """

    keys: tuple[StaticKey, ...] = ()
    teams: tuple[Team, ...] = ()
    prefix: str = PREFIX

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

    def check(self, config: Config, _: Path) -> list[str]:
        """What would stop a start, or keep a team's requests from being answered."""
        return list(missing_secrets(config.teams))

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
        if grant.checks:
            grant.check(exchange, now_ms())
        consume(exchange, credential, self._is_ours)
        grant.identify(exchange.known())

    def _is_ours(self, credential: bytes) -> bool:
        digest = digest_of(credential)
        return digest in self._managed or any(digest in ring for ring in self._rings.values())

    def _refuse(self, credential: bytes) -> None:
        """What is to be said of a key that is not known."""
        if credential.count(b".") >= 2:
            return  # a token, which others understand; the line refuses it where nobody does
        raise unauthorized("The key is none of this gateway's.")

    def _ring(self, plan: Plan) -> Ring:
        """The keys of a plan that is new since the start or a reload; older plans are over."""
        ring = static_ring(plan.settings[NAME])
        self._rings = {plan: ring}
        return ring

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
                check_models(exchange, grant, target.provider, target.path, attempt.body)
        except CallerFault as error:
            if exchange.plan.pick and error.status == 403:
                return Skip(error)  # another target may do
            raise
        return None
