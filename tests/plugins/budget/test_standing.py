"""Rules share their counters by name, keep them through reloads, and let go of what nobody uses."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.budget import Config
from plugins.budget.counters import Store
from plugins.budget.holds import Entries
from plugins.budget.rules import Rule
from plugins.budget.standing import Standing
from plugins.budget.unpriced import Tokens


def config(*names: str, **keys: Any) -> Config:
    keys = {"scope": "team", "limit": "1 USD/day", **keys}
    return Config(rules=tuple(Rule(name=name, **keys) for name in names))


class House:
    """Gateways with their settings of now."""

    def __init__(self) -> None:
        self.store = Store(100, lambda: 0)
        self.now: dict[str, Config] | None = None
        self.fresh: list[list[str]] = []
        self.standing = Standing(self.store, lambda: self.now, self._tell)

    def _tell(self, entries: Entries) -> None:
        self.fresh.append([limit.name for limit, _ in entries])


def test_gateways_share_a_rule_of_one_name():
    house = House()
    house.now = {"a": config("x", "y"), "b": config("x", limit="5 USD/day")}
    (first, _), (second,) = (house.standing.entries(name, house.now[name]) for name in "ab")
    assert first[1] is second[1]
    assert first[0].amount != second[0].amount
    assert [limit.name for limit, _ in house.standing.every()] == ["x", "y"]
    assert house.standing.where()[first[0].key] == {"a", "b"}
    assert house.fresh == [["x", "y"]]


def test_a_reload_keeps_counters_and_tells_what_is_new():
    house = House()
    house.now = {"a": config("x")}
    ((_, tally),) = house.standing.entries("a", house.now["a"])
    earlier = house.now["a"]
    house.now = {"a": config("x", "z", limit="9 USD/day")}
    entries = house.standing.entries("a", house.now["a"])
    assert entries[0][1] is tally
    assert house.fresh == [["x"], ["z"]]
    assert house.standing.entries("a", house.now["a"]) is entries
    # A request that began before it keeps its rules, and changes nothing for others.
    assert [limit.name for limit, _ in house.standing.entries("a", earlier)] == ["x"]
    assert house.standing.entries("a", house.now["a"]) is entries


@pytest.mark.parametrize(
    "keys",
    [
        {"limit": "1k tokens/day"},
        {"scope": "user"},
        {"window": "rolling"},
        {"unpriced": "tokens", "token_price": Tokens(input=1, output=2)},
    ],
)
def test_a_rule_that_counts_something_else_begins_anew(keys):
    house = House()
    house.now = {"a": config("x")}
    ((_, tally),) = house.standing.entries("a", house.now["a"])
    house.now = {"a": config("x", **keys)}
    ((_, other),) = house.standing.entries("a", house.now["a"])
    assert other is not tally
    assert len(house.store.keys()) == 1
