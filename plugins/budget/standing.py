"""The rules in force, those of all gateways: each with its counters, which rules of a name share.

Settings of a gateway that are new bring all rules of that moment in force; a request that began
under older ones keeps those.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from .counters import Store
from .holds import Entries, Entry
from .rules import Limit, Rule
from .windows import window_of, zone_of

# Budgets that came with identities, whose it is and a text: ("key", "20 USD/month").
Own = tuple[tuple[str, str], ...]
# Different ones that are kept at once.
BORROWED_MAX: Final = 10_000


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
        # Rules that came with identities, by whose they are and their text, and what they make of
        # a gateway's own.
        self._borrowed: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._with: dict[tuple[str, Own], tuple[Entries, Entries]] = {}

    def entries_for(self, name: str, settings: Settings, own: Own) -> Entries:
        """The same, and the budgets that a request's identity brings along."""
        entries = self.entries(name, settings)
        if not own:
            return entries
        kept = self._with.get((name, own))
        if kept is not None and kept[0] is entries:
            return kept[1]
        found = (*entries, *(self._borrow(*one) for one in dict.fromkeys(own)))
        if len(self._with) >= BORROWED_MAX:
            self._with.clear()
        self._with[name, own] = (entries, found)
        return found

    def _borrow(self, whose: str, text: str) -> Entry:
        """A rule that an identity brings. Those of one text share it, each with a counter of its
        own; one that is new is read from the ledger, like a rule that comes by a reload.
        """
        entry = self._borrowed.get((whose, text))
        if entry is not None:
            self._borrowed.move_to_end((whose, text))
            return entry
        name = f"{whose}:{text.strip().replace(' ', '_')}"
        entry = self._ready(Rule(name=name, scope=whose, limit=text))
        self._borrowed[whose, text] = entry
        if len(self._borrowed) > BORROWED_MAX:
            self._borrowed.popitem(last=False)
            self._with.clear()
            self._drop_unused()
        self._fresh((entry,))
        return entry

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
        found |= {entry[0].key: entry for entry in self._borrowed.values()}
        return tuple(found.values())

    def where(self) -> dict[tuple[object, ...], set[str]]:
        """The gateways that each rule is of, by its key."""
        found: dict[tuple[object, ...], set[str]] = {}
        for name, (_, entries) in self._in_force.items():
            for limit, _ in entries:
                found.setdefault(limit.key, set()).add(name)
        found |= {limit.key: set(self._in_force) for limit, _ in self._borrowed.values()}
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
