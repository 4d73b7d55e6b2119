"""Claims become an identity as the configuration says, or the token is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import exchange
from plugins.jwt.identities import Claims, Known
from plugins.jwt.tokens import Refused
from tests.plugins.jwt.issuers import claims_of


def known(named: Claims, **claims: Any) -> Known:
    return Known(claims_of(**claims), named)


def refusal(named: Claims, **claims: Any) -> str:
    with pytest.raises(Refused) as caught:
        known(named, **claims)
    assert "very-secret" not in str(caught.value)
    return str(caught.value)


def test_without_a_word_it_is_the_subject():
    found = known(Claims())
    assert (found.key_id, found.user, found.team, found.name) == ("ann", "ann", None, None)
    assert (found.tags, found.rates, found.budgets, found.metadata) == ((), (), (), {})


def test_each_field_takes_the_claim_that_is_named():
    named = Claims(
        key_id="jti",
        name="preferred_username",
        team="org.id",
        user="https://example.com/user.name",
        tags="scope",
        metadata=("region", "org.size", "beta"),
        rates="limits",
        budgets="org.budgets",
    )
    found = known(
        named,
        jti="t-1",
        preferred_username="Ann B.",
        org={"id": 17, "size": 2.5, "budgets": {"team": ["200 USD/month", "1M tokens/day"]}},
        scope="read write read",
        region="eu",
        beta=True,
        limits=["50/min", "100k tokens/min"],
        **{"https://example.com/user.name": "ann@example.com"},
    )
    assert (found.key_id, found.name, found.team) == ("t-1", "Ann B.", "17")
    assert (found.user, found.tags) == ("ann@example.com", ("read", "write"))
    assert found.metadata == {"region": "eu", "org.size": 2.5, "beta": True}
    assert found.rates == (("key", "50/min"), ("key", "100k tokens/min"))
    assert found.budgets == (("team", "200 USD/month"), ("team", "1M tokens/day"))


def test_one_limit_may_stand_alone_and_of_several_owners():
    limits = {"key": "5/min", "team": ["50/min"], "user": ["8 concurrent"]}
    assert known(Claims(rates="limits"), limits="5/min").rates == (("key", "5/min"),)
    assert known(Claims(rates="limits"), limits=limits).rates == (
        ("key", "5/min"),
        ("team", "50/min"),
        ("user", "8 concurrent"),
    )


def test_a_claim_with_a_question_mark_may_be_missing():
    named = Claims(
        name="a?",
        team="b.c?",
        user="d?",
        tags="e?",
        metadata=("f?", "g?"),
        rates="h?",
        budgets="i?",
    )
    found = known(named, b="no object", g=1)
    assert (found.name, found.team, found.user, found.tags) == (None, None, None, ())
    assert (found.metadata, found.rates, found.budgets) == ({"g": 1}, (), ())


@pytest.mark.parametrize(
    "named",
    [
        Claims(key_id="jti"),
        Claims(name="gone"),
        Claims(team="org.gone"),
        Claims(user="sub.gone"),
        Claims(tags="gone"),
        Claims(metadata=("gone",)),
        Claims(rates="gone"),
        Claims(budgets="gone"),
    ],
)
def test_a_claim_that_is_missing_refuses(named):
    assert refusal(named, org={}) == "a claim that is needed here is missing"
    assert refusal(named, gone=None, jti=None, org=None) == "a claim that is needed here is missing"


@pytest.mark.parametrize(
    "value", ["", "x" * 101, 1.5, True, ["a"], {"a": 1}, "very-secret\n", "a\x00", "a\u202e"]
)
def test_a_name_is_a_short_printable_text_or_a_whole_number(value):
    for named in (
        Claims(key_id="claim"),
        Claims(name="claim"),
        Claims(team="claim"),
        Claims(user="claim"),
    ):
        assert "a claim " in refusal(named, claim=value)


@pytest.mark.parametrize("value", ["x" * 101, ["a"], {"a": 1}, ""])
def test_metadata_is_flat(value):
    assert "a claim " in refusal(Claims(metadata=("claim",)), claim=value)


@pytest.mark.parametrize("value", [1, {"a": 1}, [1], [["a"]], ["a"] * 33])
def test_tags_are_words(value):
    assert "a claim " in refusal(Claims(tags="claim"), claim=value)


@pytest.mark.parametrize(
    "value",
    [1, True, ["very-secret"], ["0/min"], [50], {"everybody": "5/min"}, {"key": 5}, ["5/min"] * 33],
)
def test_a_limit_that_cannot_be_read_refuses(value):
    assert "a claim " in refusal(Claims(rates="limits"), limits=value)


@pytest.mark.parametrize("value", ["50/min", "200 EUR/month", ["200 USD"]])
def test_a_budget_that_cannot_be_read_refuses(value):
    assert "a claim " in refusal(Claims(budgets="limits"), limits=value)


def test_a_limit_that_cannot_be_read_is_refused_while_others_can():
    assert "limit that cannot be read" in refusal(Claims(rates="l"), l=["50/min", "very-secret"])


def test_what_a_request_is_told_is_its_own():
    found = known(Claims(metadata=("region",)), region="eu")
    first, second = exchange(), exchange()
    first.known().metadata = {"ticket": "7", "region": "us"}
    found.identify(first)
    found.identify(second)
    first.known().metadata["later"] = True
    assert second.known().metadata == {"region": "eu"}
    assert first.known().metadata == {"ticket": "7", "region": "eu", "later": True}
    assert (first.known().key_id, second.known().key_id) == ("ann", "ann")


@pytest.mark.parametrize("key_id", ["", "jti?"])
def test_every_token_has_to_say_who_it_is(key_id):
    with pytest.raises(ValueError, match="key_id: wanted a claim that every token has"):
        Claims(key_id=key_id)
