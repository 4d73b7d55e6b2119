"""A key may what it and its team both allow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import CallerFault, Exchange, Identity
from gateway.testing import exchange
from plugins.api_keys.fields import Key, Team
from plugins.api_keys.grants import NEVER_MS, Grant, Models

NOW = 1_800_000_000_000


def grant(team: Team | None = None, **fields: Any) -> Grant:
    return Grant("id", Key(name="a", team="" if team is None else team.name, **fields), team)


def refused(made: Grant, asked: Exchange, now_ms: int = NOW) -> tuple[int, str] | None:
    try:
        made.check(asked, now_ms)
    except CallerFault as fault:
        return fault.status, fault.code
    return None


def asked(path: bytes = b"v1/chat/completions", peer: str = "127.0.0.1:50000") -> Exchange:
    made = exchange(path=path)
    made.peer = peer
    return made


def test_a_key_without_rules_is_not_looked_at():
    made = grant()
    assert (made.checks, made.binds, made.expires_ms) == (False, False, NEVER_MS)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"enabled": False}, (401, "invalid_credential")),
        ({"expires": "2020-01-01"}, (401, "invalid_credential")),
        ({"expires": "2099-01-01"}, None),
        ({"gateways": ("staging",)}, (403, "gateway_not_allowed")),
        ({"gateways": ("staging", "default")}, None),
        ({"networks": ("10.0.0.0/8",)}, (403, "address_not_allowed")),
        ({"networks": ("10.0.0.0/8", "127.0.0.0/8")}, None),
        ({"networks": ("unix",)}, (403, "address_not_allowed")),
        ({"paths": ("v1/embeddings",)}, (403, "path_not_allowed")),
        ({"paths": ("/v1/chat/*",)}, None),
    ],
)
def test_what_a_key_or_its_team_forbids_is_refused(fields, wanted):
    assert refused(grant(**fields), asked()) == wanted
    assert refused(grant(Team(name="t", **fields)), asked()) == wanted


@pytest.mark.parametrize(
    "path",
    [
        b"v1/chat/../embeddings",
        b"v1/chat/%2e%2e/embeddings",
        b"v1/chat/%2E./embeddings",
        b"v1/chat//embeddings",
        b"v1/chat/..%2fembeddings",
        b"v1/chat\\..\\embeddings",
    ],
)
def test_a_path_that_others_read_otherwise_is_refused(path):
    assert refused(grant(paths=("v1/chat/*",)), asked(path)) == (403, "path_not_allowed")


def test_a_query_is_no_part_of_a_path():
    assert refused(grant(paths=("v1/models",)), asked(b"v1/models?after=..")) is None


def test_the_moment_of_expiry_is_too_late():
    made = grant(expires="2027-01-15T08:00:00Z")
    assert made.expires_ms == NOW
    assert refused(made, asked(), NOW - 1) is None
    assert refused(made, asked(), NOW) is not None


def test_the_earlier_end_counts():
    team = Team(name="t", expires="2027-01-01")
    made = Grant("id", Key(name="a", expires="2028-01-01"), team, until_ms=5)
    assert made.expires_ms == 5
    assert grant(team, expires="2028-01-01").expires_ms == grant(team).expires_ms < NOW


@pytest.mark.parametrize(
    ("peer", "networks", "is_near"),
    [
        ("10.1.2.3:99", ("10.0.0.0/8",), True),
        ("11.1.2.3:99", ("10.0.0.0/8",), False),
        ("::ffff:10.1.2.3:99", ("10.0.0.0/8",), True),
        ("fd00::1:99", ("fd00::/8",), True),
        ("fe00::1:99", ("fd00::/8",), False),
        ("unix", ("unix",), True),
        ("unix", ("10.0.0.0/8",), False),
        ("", ("0.0.0.0/0",), False),
        ("call", ("0.0.0.0/0",), False),
    ],
)
def test_an_address_is_within_a_network_or_not(peer, networks, is_near):
    made = grant(networks=networks)
    for _ in range(2):  # the second time it is remembered
        assert (refused(made, asked(peer=peer)) is None) == is_near


def test_addresses_are_not_remembered_without_end():
    made = grant(networks=("10.0.0.0/8",))
    for number in range(2_000):
        made.check(asked(peer=f"10.0.{number // 256}.{number % 256}:1"), NOW)
    assert len(made._addresses) <= 256


def test_both_have_to_allow_an_address():
    made = grant(Team(name="t", networks=("10.1.0.0/16",)), networks=("10.0.0.0/8",))
    assert refused(made, asked(peer="10.1.0.1:1")) is None
    assert refused(made, asked(peer="10.2.0.1:1")) is not None


def test_providers_are_those_that_both_allow():
    made = grant(Team(name="t", providers=("openai", "azure-*")), providers=("azure-*", "groq"))
    made.check_provider("azure-openai")
    for name in ("openai", "groq", "anthropic"):
        with pytest.raises(CallerFault) as caught:
            made.check_provider(name)
        assert (caught.value.status, caught.value.code) == (403, "provider_not_allowed")


@pytest.mark.parametrize(
    ("rules", "model", "passes"),
    [
        ({"models": ("gpt-5*",)}, "gpt-5-mini", True),
        ({"models": ("gpt-5*",)}, "GPT-5-mini", False),
        ({"models": ("gpt-5*",)}, "openai/gpt-5", False),
        ({"denied_models": ("gpt-5*",)}, "gpt-5-mini", False),
        ({"denied_models": ("gpt-5*",)}, "GPT-5-Mini", False),
        ({"denied_models": ("gpt-5*",)}, "openai/gpt-5", False),
        ({"denied_models": ("gpt-5*",)}, "gpt-4", True),
        ({"models": ("gpt-*",), "denied_models": ("gpt-5-pro",)}, "gpt-5-pro", False),
        ({"models": ("gpt-*",), "denied_models": ("gpt-5-pro",)}, "gpt-5", True),
    ],
)
def test_models_that_pass(rules, model, passes):
    assert Models(Key(name="a", **rules)).allows(model) == passes


NAMES = st.sampled_from(["a", "ab", "abc", "b", "x/a"])
PATTERNS = st.lists(st.sampled_from(["a*", "*b*", "b", "abc"]), max_size=2).map(tuple)


@given(PATTERNS, PATTERNS, PATTERNS, PATTERNS, NAMES)
def test_a_key_never_exceeds_its_team(models, denied, team_models, team_denied, name):
    team = Team(name="t", models=team_models, denied_models=team_denied)
    made = grant(team, models=models, denied_models=denied)
    alone = Grant("t", Key(name="t", models=team_models, denied_models=team_denied), None)

    def passes(one: Grant) -> bool:
        try:
            one.check_model(name)
        except CallerFault:
            return False
        return True

    assert passes(made) <= passes(alone)
    assert passes(made) == (passes(alone) and passes(grant(models=models, denied_models=denied)))


def test_limits_and_budgets_of_both_go_along():
    team = Team(name="t", rate_limits=("9/min",), budgets=("5 USD/day",), tags=("x",))
    made = grant(team, rate_limits=("1/min", "2/hour"), budgets=("1 USD/day",), tags=("y", "x"))
    identity = Identity()
    made.identify(identity)

    assert identity.rates == (("key", "1/min"), ("key", "2/hour"), ("team", "9/min"))
    assert identity.budgets == (("key", "1 USD/day"), ("team", "5 USD/day"))
    assert identity.tags == ("y", "x")


def test_a_request_becomes_the_keys():
    team = Team(name="t", metadata={"plan": "free", "cost_centre": 7})
    key = Key(name="Laptop", team="t", user="anna", metadata={"plan": "gold"})
    identity = Identity()
    Grant("key_1", key, team).identify(identity)

    assert (identity.key_id, identity.name) == ("key_1", "Laptop")
    assert (identity.team, identity.user) == ("t", "anna")
    assert identity.metadata == {"plan": "gold", "cost_centre": 7}
    assert isinstance(identity.grant, Grant)


def test_what_is_not_said_is_unknown():
    identity = Identity()
    grant().identify(identity)
    assert (identity.team, identity.user, identity.rates) == (None, None, ())


def test_a_fault_goes_before_all_else():
    made = Grant("id", Key(name="a"), None, fault="This key was revoked.")
    with pytest.raises(CallerFault, match="revoked"):
        made.check(asked(), NOW)
