"""Rules that stay keep their counters, and an identity brings rules of its own."""

from __future__ import annotations

import gc

import msgspec
import pytest

from gateway import Identity
from plugins.rate_limit.rules import Limit, Rule
from plugins.rate_limit.standing import KNOWN_MAX, Standing


class Settings(msgspec.Struct):
    rules: tuple[Rule, ...] = ()


def rule(name: str = "r", limit: str = "5/min", **keys: str) -> Rule:
    return Rule(name=name, scope=keys.pop("scope", "key"), limit=limit, **keys)  # type: ignore[arg-type]


def identity(*rates: tuple[str, str]) -> Identity:
    found = Identity()
    found.rates = rates
    return found


def test_rules_are_sorted_by_when_they_are_asked():
    rules = (rule("a"), rule("b", scope="provider"), rule("c", counts="calls"))
    ready = Standing().ready("default", Settings(rules), None)
    assert [limit.name for limit in ready.plain] == ["a"]
    assert [limit.name for limit in ready.by_provider] == ["b"]
    assert [limit.name for limit in ready.calls] == ["c"]


def test_a_rule_that_stays_keeps_its_counters():
    standing = Standing()
    first = standing.ready("default", Settings((rule("a"), rule("b"))), None)
    then = standing.ready("default", Settings((rule("b"), rule("a", "6/min"))), None)
    assert then.plain[0] is first.plain[1]
    assert then.plain[1] is not first.plain[0]


def test_gateways_that_have_the_same_rule_share_it():
    standing = Standing()
    one = standing.ready("default", Settings((rule(),)), None)
    assert standing.ready("other", Settings((rule(),)), None).plain[0] is one.plain[0]


def test_an_identity_brings_its_own():
    standing, settings = Standing(), Settings((rule(),))
    found = standing.ready("default", settings, identity(("key", "9/s"), ("team", "2 concurrent")))
    assert [(limit.name, limit.scopes) for limit in found.plain] == [
        ("r", ("key",)),
        ("key-limit", ("key",)),
        ("team-limit", ("team",)),
    ]
    again = standing.ready("default", settings, identity(("key", "9/s")))
    assert again.plain[1] is found.plain[1]
    assert standing.ready("default", settings, identity()).plain == found.plain[:1]


def test_an_identitys_counters_outlive_a_reload():
    standing = Standing()
    before = standing.ready("default", Settings(), identity(("key", "9/s"))).plain[0]
    before.counters["k"] = before.counter()
    assert standing.ready("default", Settings(), identity(("key", "9/s"))).plain[0] is before


def test_what_an_identity_brings_has_to_be_a_rate():
    with pytest.raises(ValueError, match="no rate"):
        Standing().ready("default", Settings(), identity(("key", "much")))


def test_limits_have_a_share_for_while_a_store_is_away():
    limit = Standing(2).ready("default", Settings((rule(),)), None).plain[0]
    assert limit.local is not None
    assert limit.local.amount == 2
    assert Standing().ready("default", Settings((rule(),)), None).plain[0].local is None


def test_what_identities_bring_is_bounded():
    standing, settings = Standing(), Settings((rule(),))
    kept = [standing.ready("default", settings, None).plain[0]]
    for number in range(2 * KNOWN_MAX):
        standing.ready("default", settings, identity(("key", f"{number + 1}/min")))
    gc.collect()

    limits = [each for each in gc.get_objects() if type(each) is Limit]
    assert len(limits) <= KNOWN_MAX + 10
    assert standing.ready("default", settings, None).plain == tuple(kept)
