"""The rules in force, those of all gateways: each with its counters, which rules of a name share.

Settings of a gateway that are new bring all rules of that moment in force; a request that began
under older ones keeps those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from .counters import Store
from .holds import Entries, Entry
from .rules import Limit, Rule
from .windows import window_of, zone_of


class Settings(Protocol):
    """What a gateway's configuration says of budgets."""

    @property
    def rules(self) -> tuple[Rule, ...]: ...


class Standing:
    """now: gives every gateway's settings, by its name; None before there are any.

    fresh: told of rules whose counters are new.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], Mapping[str, Settings] | None],
        fresh: Callable[[Entries], None],
    ) -> None:
        self._store = store
        self._now = now
        self._fresh = fresh
        self._in_force: dict[str, tuple[Settings, Entries]] = {}

    def entries(self, name: str, settings: Settings) -> Entries:
        """The rules of a gateway's settings, each with its counters."""
        kept = self._in_force.get(name)
        if kept is not None and kept[0] is settings:
            return kept[1]
        now = self._now()
        if now is None or now.get(name) is settings:
            self._renew(now, name, settings)
            return self._in_force[name][1]
        found = tuple(self._ready(rule) for rule in settings.rules)
        self._drop_unused()
        return found

    def every(self) -> Entries:
        """The rules of all gateways; those that share their counters once."""
        found = {e[0].key: e for _, entries in self._in_force.values() for e in entries}
        return tuple(found.values())

    def where(self) -> dict[tuple[object, ...], set[str]]:
        """The gateways that each rule is of, by its key."""
        found: dict[tuple[object, ...], set[str]] = {}
        for name, (_, entries) in self._in_force.items():
            for limit, _ in entries:
                found.setdefault(limit.key, set()).add(name)
        return found

    def _renew(self, now: Mapping[str, Settings] | None, name: str, settings: Settings) -> None:
        """Bring settings in force, those of all gateways at once: they share counters."""
        if now is None:
            now = {each: kept for each, (kept, _) in self._in_force.items()}
        known = self._store.keys()
        self._in_force = {
            each: (kept, tuple(self._ready(rule) for rule in kept.rules))
            for each, kept in {**now, name: settings}.items()
        }
        self._drop_unused()
        fresh = tuple(entry for entry in self.every() if entry[0].key not in known)
        if fresh:
            self._fresh(fresh)

    def _ready(self, rule: Rule) -> Entry:
        limit = Limit(rule)
        make = partial(window_of, limit.period, rule.window, zone_of(rule.zone))
        tally = self._store.tally(limit.key, make)
        for counter in tally.counters.values():
            counter.told = limit.told_of(counter.spent)
        return limit, tally

    def _drop_unused(self) -> None:
        self._store.keep(limit.key for limit, _ in self.every())
