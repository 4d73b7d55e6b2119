"""What a rule may say, what is told about one that is wrong, and whose spending it counts."""

from __future__ import annotations

import pytest

from gateway import subject_in
from gateway.testing import exchange
from plugins.budget.rules import NANOS_PER_USD, Limit, Rule, amount_of, usd


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("200 USD/month", (200 * NANOS_PER_USD, "USD", "month")),
        ("0.000000001 USD per day", (1, "USD", "day")),
        ("1M tokens/day", (1_000_000, "tokens", "day")),
        ("1.5k tokens / minute", (1_500, "tokens", "minute")),
        ("10 k USD/year", (10_000 * NANOS_PER_USD, "USD", "year")),
        ("1 token/week", (1, "tokens", "week")),
        ("0 USD/hour", (0, "USD", "hour")),
    ],
)
def test_a_limit_is_an_amount_and_a_period(written, found):
    assert amount_of(written) == found


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("limit", "200 EUR/month", '"200 USD/month" or "1M tokens/day"'),
        ("limit", "200 USD/fortnight", "periods are minute, hour, day"),
        ("limit", "1.5 tokens/day", "whole tokens"),
        ("limit", "-1 USD/day", "is none"),
        ("scope", "teem", '"teem" is none; wanted one of gateway, key, team'),
        ("scope", "metadata.", '"metadata.NAME"'),
        ("scope", ("team", "team"), "several different ones"),
        ("scope", (), "wanted one or several"),
        ("zone", "Mars", "no time zone"),
        ("alerts", (0.5, 0.0), "above 0"),
        ("stop_in_flight", True, "only a hard rule"),
    ],
)
def test_a_rule_that_is_wrong_names_key_rule_and_way_out(key, value, words):
    keys = {"name": "team-month", "scope": "team", "limit": "1 USD/day", key: value}
    with pytest.raises(ValueError) as fault:
        Rule(**keys, hard=key != "stop_in_flight")
    assert str(fault.value).startswith(f"{key}: of the rule team-month: ")
    assert words in str(fault.value)


@pytest.mark.parametrize("name", ["", "two words", "x" * 101, "line\n"])
def test_a_name_can_stand_in_a_header(name):
    with pytest.raises(ValueError, match=r"^name: "):
        Rule(name=name, scope="team", limit="1 USD/day")


def subject(scope, made, provider="openai"):
    return Limit(Rule(name="r", scope=scope, limit="1 USD/day")).subject(made, provider)


def test_a_subject_is_what_the_scope_names():
    made = exchange(body=b'{"model": "m"}')
    identity = made.known()
    identity.key_id, identity.team, identity.user = "k", "t", "u"
    identity.metadata = {"id": 7, "ok": True, "name": "n" * 300}
    row = {
        "gateway": "default", "key": "k", "team": "t", "user": "u", "provider": "openai",
        "model": "m", "metadata": identity.metadata,
    }  # fmt: skip
    for scope, found in [
        ("gateway", "default"),
        ("key", "k"),
        ("team", "t"),
        ("user", "u"),
        ("provider", "openai"),
        ("model", "m"),
        ("metadata.id", "7"),
        ("metadata.ok", "true"),
        ("metadata.name", "n" * 100),
        (("team", "model"), ("t", "m")),
        (("team", "metadata.none"), None),
        ("metadata.none", None),
    ]:
        assert subject(scope, made) == found
        scopes = (scope,) if isinstance(scope, str) else tuple(scope)
        assert subject_in(scopes, row) == found  # a ledger's row finds the same counter


@pytest.mark.parametrize("scope", ["key", "team", "user", "metadata.x", "model"])
def test_a_request_without_it_has_no_subject(scope):
    assert subject(scope, exchange(body=b"{}")) is None
    assert subject_in((scope,), {"key": "", "team": "", "user": "", "model": ""}) is None


def test_alerts_are_amounts_in_order():
    limit = Limit(Rule(name="r", scope="team", limit="10 tokens/day", alerts=(1.0, 0.25, 0.5, 0.5)))
    assert limit.shares == [0.25, 0.5, 1.0]
    assert [limit.told_of(spent) for spent in (0, 2, 5, 9, 10, 99)] == [0, 1, 2, 2, 3, 3]


def test_amounts_are_written_exactly():
    assert [usd(n) for n in (0, 1, 1_500_000_000, 10**12, -5)] == [
        "0", "0.000000001", "1.5", "1000", "-0.000000005",
    ]  # fmt: skip
    dollars = Limit(Rule(name="r", scope="team", limit="1 USD/day"))
    assert dollars.header(1_000_000_001) == b"1.000000001 USD"
    assert dollars.written(10**9) == "1 USD"
    assert dollars.shown == b"1 USD/day; r"
    tokens = Limit(Rule(name="r", scope="team", limit="1k tokens/day"))
    assert tokens.header(5) == b"5 tokens"


def test_a_default_of_the_models_most_has_one_of_its_own():
    limit = Limit(Rule(name="r", scope="team", limit="1 USD/day", output_default="model"))
    assert (limit.asks_model, limit.output_default) == (True, 4096)
    limit = Limit(Rule(name="r", scope="team", limit="1 USD/day", cost_default=0.25))
    assert (limit.asks_model, limit.cost_default) == (False, NANOS_PER_USD // 4)
