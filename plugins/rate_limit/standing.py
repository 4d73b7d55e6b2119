"""The rules in force: those of each gateway's settings, and those that come with identities.

A rule that stays as it is keeps its counters through reloads, and gateways that have the very same
rule share them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from gateway import Identity

from .holds import Ready
from .rules import Limit, Rule, borrowed

# Sets of limits that identities came with; the rest is made anew each time it is asked for.
KNOWN_MAX: Final = 10_000


class Settings(Protocol):
    """What a gateway's configuration says."""

    @property
    def rules(self) -> tuple[Rule, ...]: ...


class Standing:
    """share: among how many each limit is divided while a shared store is away; 0 for never."""

    def __init__(self, share: int = 0) -> None:
        self._share = share
        self._limits: dict[Rule, Limit] = {}
        self._in_force: dict[str, tuple[Settings, Ready]] = {}
        self._with: dict[tuple[str, tuple[tuple[str, str], ...]], Ready] = {}

    def ready(self, name: str, settings: Settings, identity: Identity | None) -> Ready:
        """The rules for a request. ValueError where an identity brings what is no rate."""
        kept = self._in_force.get(name)
        if kept is None or kept[0] is not settings:
            kept = self._renew(name, settings)
        if identity is None or not identity.rates:
            return kept[1]
        found = self._with.get((name, identity.rates))
        return found if found is not None else self._combined(name, settings, identity.rates)

    def _renew(self, name: str, settings: Settings) -> tuple[Settings, Ready]:
        kept = self._in_force[name] = (settings, self._split(settings.rules))
        self._let_go()
        return kept

    def _let_go(self) -> None:
        """Forget what identities brought, but for those whose counters hold something; those in use
        are back at once.
        """
        self._with.clear()
        rules = {rule for each, _ in self._in_force.values() for rule in each.rules}
        known = self._limits.items()
        self._limits = {rule: limit for rule, limit in known if rule in rules or limit.counters}

    def _combined(self, name: str, settings: Settings, rates: tuple[tuple[str, str], ...]) -> Ready:
        rules = [*settings.rules, *(borrowed(*rate) for rate in dict.fromkeys(rates))]
        if len(self._with) >= KNOWN_MAX:
            self._let_go()
        found = self._with[name, rates] = self._split(rules)
        return found

    def _split(self, rules: Iterable[Rule]) -> Ready:
        limits = [self._limit(rule) for rule in rules]
        upstream = [limit for limit in limits if limit.rule.counts == "upstream"]
        return Ready(
            tuple(limit for limit in limits if limit.rule.counts == "calls"),
            tuple(limit for limit in upstream if not limit.is_by_provider),
            tuple(limit for limit in upstream if limit.is_by_provider),
        )

    def _limit(self, rule: Rule) -> Limit:
        found = self._limits.get(rule)
        if found is None:
            found = self._limits[rule] = Limit(rule)
            if self._share:
                found.local = Limit(rule, self._share)
        return found
