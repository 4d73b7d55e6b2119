"""Rules are read strictly, and a limit knows its own numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from plugins.rate_limit.rules import Limit, Rule, borrowed, named


def rule(**keys: Any) -> Rule:
    return Rule(**{"name": "r", "scope": "key", "limit": "50/min", **keys})


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"name": "a b"}, "name: wanted 1 to 100 printable"),
        ({"scope": "planet"}, 'scope: of the rule r: "planet" is none'),
        ({"scope": ()}, "scope: of the rule r: wanted one or several"),
        ({"limit": "lots"}, 'limit: of the rule r: "lots" is no rate'),
        ({"limit": "999999999999999/30days"}, "limit: of the rule r: it is too large"),
        ({"scope": ("key", "provider"), "counts": "calls"}, "before a provider is known"),
    ],
)
def test_what_is_wrong_is_said(keys, fault):
    with pytest.raises(ValueError, match=fault):
        rule(**keys)


def test_unknown_keys_and_words_are_refused():
    for table in ({"burst": 5}, {"shape": "leaky"}, {"mode": "off"}, {"counts": "all"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"name": "r", "scope": "key", "limit": "5/s", **table}, Rule)


def test_a_limit_has_the_numbers_of_its_rule():
    limit = Limit(rule(limit="100k tokens/hour", shape="sliding", scope=("team", "model")))
    assert (limit.amount, limit.window_s, limit.unit) == (100_000, 3600, "tokens")
    assert (limit.is_tokens, limit.is_requests, limit.is_slots) == (True, False, False)
    assert limit.shape.kind == "sliding"
    assert limit.shown == b"100000"
    assert Limit(rule(limit="8 concurrent", shape="fixed")).shape.kind == "slots"


def test_a_share_of_a_limit_is_never_nothing():
    assert Limit(rule(), 8).amount == 6
    assert Limit(rule(limit="3/min"), 8).amount == 1


def test_the_name_in_a_shared_store_changes_with_the_rule():
    keys = {
        Limit(rule(**keys)).key
        for keys in ({}, {"limit": "51/min"}, {"shape": "fixed"}, {"name": "s"})
    }
    assert len(keys) == 4
    assert all(key.startswith(b"{weir}:") for key in keys)


def test_limits_of_identities_are_rules():
    assert borrowed("team", "5/s") == Rule(name="team-limit", scope="team", limit="5/s")
    with pytest.raises(ValueError, match="no rate"):
        borrowed("key", "much")


def test_whose_a_counter_is_can_be_said():
    assert named(Limit(rule()), "k1") == 'key "k1"'
    assert named(Limit(rule(scope=("team", "model"))), ("a", "b")) == 'team "a", model "b"'
