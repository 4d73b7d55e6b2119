"""A grant: what one secret stands for, worked out once from its key and its team.

A key and its team are both asked each time, so a key never exceeds its team. What is forbidden by
either is forbidden; limits and budgets of both go along with the request, each with whose it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from gateway import CallerFault, Exchange, Identity, Secret, unauthorized

from .fields import UNIX, Key, Rules, Scalar, Team, parse_expiry, parse_network
from .globs import Globs, compiled

NEVER_MS: Final = 1 << 62
# Callers' addresses that are remembered for each grant with networks.
_ADDRESSES_MAX: Final = 256

_STRANGE: Final = ("..", "/./", "//", "\\", "%2e", "%2f", "%5c")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NOTHING: Final[Mapping[str, Secret]] = {}


class Models:
    """Which models one record, a key's or a team's, lets pass."""

    __slots__ = ("_allowed", "_denied")

    def __init__(self, rules: Rules) -> None:
        self._allowed = compiled(rules.models) if rules.models else None
        # Whoever allows must be met exactly; who forbids means the model however it is written.
        self._denied = compiled(rules.denied_models, any_case=True) if rules.denied_models else None

    def allows(self, model: str) -> bool:
        denied = self._denied
        if denied is not None and (denied.match(model) or denied.match(model.rpartition("/")[2])):
            return False
        return self._allowed is None or self._allowed.match(model) is not None


class Grant:
    """See the module's docstring. One per secret; the same key's secrets have one each.

    expires_ms: since 1970; `NEVER_MS` for never. fault: why it cannot be used at all, in words;
    empty where it can. checks: whether a request is to be looked at as soon as it is known whose it
    is. models: rules that bind the model really sent. binds: whether there are rules for where a
    request goes. is_managed: it comes from the store. verified_ms: when it was last used with the
    store in reach. uses, used_ms: how often and when; counted up by the requests' loop alone.
    """

    __slots__ = (
        "_addresses",
        "binds",
        "budgets",
        "checks",
        "expires_ms",
        "fault",
        "gateways",
        "is_managed",
        "key_id",
        "metadata",
        "models",
        "name",
        "networks",
        "paths",
        "provider_keys",
        "providers",
        "rates",
        "tags",
        "team",
        "used_ms",
        "user",
        "uses",
        "verified_ms",
    )

    def __init__(
        self,
        key_id: str,
        key: Key,
        team: Team | None,
        provider_keys: Mapping[str, Secret] = _NOTHING,
        *,
        is_managed: bool = False,
        until_ms: int | None = None,
        fault: str = "",
    ) -> None:
        owned: list[tuple[str, Rules]] = [("key", key)]
        if team is not None:
            owned.append(("team", team))
        both = [rules for _, rules in owned]
        self.key_id = key_id
        self.name: str | None = key.name
        self.team: str | None = key.team or None
        self.user: str | None = key.user or None
        self.rates = tuple((whose, text) for whose, r in owned for text in r.rate_limits)
        self.budgets = tuple((whose, text) for whose, r in owned for text in r.budgets)
        self.tags = tuple(dict.fromkeys(tag for rules in both for tag in rules.tags))
        self.metadata: dict[str, Scalar] = {
            **(team.metadata if team is not None else {}),
            **key.metadata,
        }
        self.provider_keys = provider_keys
        ends = [parse_expiry(rules.expires) for rules in both if rules.expires]
        self.expires_ms = min([*ends, NEVER_MS if until_ms is None else until_ms])
        self.fault = fault or _disabled(owned)
        self.gateways = [frozenset(rules.gateways) for rules in both if rules.gateways]
        self.paths = [compiled(_bare(rules.paths)) for rules in both if rules.paths]
        self.networks = [_networks(rules) for rules in both if rules.networks]
        self.providers: list[Globs] = [compiled(r.providers) for r in both if r.providers]
        self.models = [Models(rules) for rules in both if rules.models or rules.denied_models]
        self.binds = bool(self.providers or self.models)
        timed = self.expires_ms != NEVER_MS
        self.checks = bool(
            self.fault or timed or self.gateways or self.paths or self.networks or self.models
        )
        self.is_managed = is_managed
        self.verified_ms = 0
        self.uses = 0
        self.used_ms = 0
        self._addresses: dict[str, bool] = {}

    def identify(self, identity: Identity) -> None:
        """Say whose a request is."""
        identity.key_id = self.key_id
        identity.name = self.name
        identity.team = self.team
        identity.user = self.user
        identity.rates = self.rates
        identity.budgets = self.budgets
        identity.tags = self.tags
        identity.metadata = self.metadata  # replaced by whoever adds to it, never changed
        identity.provider_keys = self.provider_keys
        identity.grant = self

    def check(self, exchange: Exchange, now_ms: int) -> None:
        """Refuse what can be refused before the body is there; `CallerFault` says why."""
        if self.fault:
            raise unauthorized(self.fault)
        if now_ms >= self.expires_ms:
            raise unauthorized("This key has expired.")
        for gateways in self.gateways:
            if exchange.gateway not in gateways:
                raise _forbidden("This key is not for this gateway.", "gateway_not_allowed")
        if self.networks and not self._is_near(exchange.peer):
            raise _forbidden("This key may not be used from this address.", "address_not_allowed")
        if self.paths:
            self._check_path(exchange.path)
        if self.models:
            exchange.reads = "json"

    def check_provider(self, provider: str) -> None:
        """The same, of the provider that an attempt goes to."""
        for globs in self.providers:
            if globs.match(provider) is None:
                raise _forbidden("This key may not use this provider.", "provider_not_allowed")

    def check_model(self, model: str) -> None:
        """The same, of a model that an attempt names."""
        for models in self.models:
            if not models.allows(model):
                raise _forbidden("This key may not use this model.", "model_not_allowed")

    def _check_path(self, path: bytes) -> None:
        bare = path.partition(b"?")[0].decode("latin-1")
        if not is_plain(bare):
            raise _forbidden("This key may use plain paths only.", "path_not_allowed")
        for globs in self.paths:
            if globs.match(bare) is None:
                raise _forbidden("This key may not use this path.", "path_not_allowed")

    def _is_near(self, peer: str) -> bool:
        text = peer if peer == UNIX else peer.rpartition(":")[0]
        known = self._addresses.get(text)
        if known is None:
            known = all(_is_inside(text, networks) for networks in self.networks)
            if len(self._addresses) < _ADDRESSES_MAX:
                self._addresses[text] = known
        return known


def is_plain(path: str) -> bool:
    """Whether everybody reads a path alike: no step up, no slash that is doubled or disguised.

    A rule would see another path than the provider does.
    """
    lower = path.lower()
    return not any(part in lower for part in _STRANGE)


def _disabled(owned: list[tuple[str, Rules]]) -> str:
    return next((f"This {whose} is disabled." for whose, r in owned if not r.enabled), "")


def _bare(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Paths as the line knows them, without the first slash."""
    return tuple(pattern.removeprefix("/") for pattern in patterns)


def _networks(rules: Rules) -> list[Network | None]:
    return [parse_network(text) for text in rules.networks]


def _is_inside(text: str, networks: list[Network | None]) -> bool:
    if text == UNIX:
        return None in networks
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    found = address if mapped is None else mapped
    return any(network is not None and found in network for network in networks)


def _forbidden(message: str, code: str) -> CallerFault:
    return CallerFault(message, status=403, code=code)
