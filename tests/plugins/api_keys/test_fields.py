"""What keys and teams may say is closed, and each fault names its field."""

from __future__ import annotations

import msgspec
import pytest

from gateway import parse_rate
from plugins.api_keys.fields import (
    Key,
    StaticKey,
    Team,
    check_id,
    check_name,
    parse_expiry,
    parse_network,
)

HASH = "a" * 64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate_limits", ["fast"]),
        ("rate_limits", ["50/fortnight"]),
        ("budgets", ["lots"]),
        ("budgets", ["200 EUR/month"]),
        ("expires", "soon"),
        ("networks", ["10.0.0.1/8"]),
        ("networks", ["everywhere"]),
        ("models", [""]),
        ("models", ["a\nb"]),
        ("models", ["a" * 201]),
        ("models", ["m"] * 101),
        ("metadata", {"": 1}),
        ("metadata", {"a": "b" * 201}),
        ("name", ""),
        ("name", "a\nb"),
        ("name", " a"),
        ("team", "../x\x00"),
        ("user", "a" * 101),
    ],
)
def test_what_is_wrong_is_blamed_on_its_field(field, value):
    with pytest.raises(msgspec.ValidationError, match=rf"^{field}: "):
        msgspec.convert({"name": "a", field: value}, Key)


@pytest.mark.parametrize(
    "document",
    [
        {"name": "a", "modles": []},
        {"name": "a", "hash": HASH},
        {"name": "a", "id": "x"},
        {"name": "a", "models": "gpt-5"},
        {"name": "a", "enabled": "yes"},
        {"name": "a", "metadata": {"a": [1]}},
        {},
    ],
)
def test_what_is_not_known_or_of_another_type_is_refused(document):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document, Key)


def test_all_that_a_key_may_say_is_taken():
    key = msgspec.convert(
        {
            "name": "Anna's laptop",
            "team": "search",
            "user": "anna@example.com",
            "gateways": ["default"],
            "providers": ["openai", "azure-*"],
            "models": ["gpt-5*"],
            "denied_models": ["gpt-5-pro"],
            "paths": ["v1/chat/*"],
            "rate_limits": ["50/min", "100k tokens/hour", "8 concurrent"],
            "budgets": ["200 USD/month", "1M tokens/day"],
            "expires": "2099-12-31T12:00Z",
            "metadata": {"a": "b", "n": 1, "f": 1.5, "t": True},
            "tags": ["x"],
            "networks": ["10.0.0.0/8", "fd00::/8", "unix"],
            "enabled": False,
        },
        Key,
    )
    assert key.metadata == {"a": "b", "n": 1, "f": 1.5, "t": True}
    assert [parse_rate(text).amount for text in key.rate_limits] == [50, 100_000, 8]


def test_a_static_key_needs_a_hash():
    with pytest.raises(ValueError, match=r"^hash: .*weir keys hash"):
        StaticKey(name="a", hash="secret")
    with pytest.raises(ValueError, match=r"^id: "):
        StaticKey(name="a", hash=HASH, id="a b")
    assert StaticKey(name="a", hash=HASH).id == ""


def test_a_team_names_provider_keys_by_reference_only():
    with pytest.raises(ValueError, match=r"^provider_keys: openai: .*never the key") as caught:
        Team(name="t", provider_keys={"openai": "sk-12345678"})
    assert "sk-12345678" not in str(caught.value)
    assert Team(name="t", provider_keys={"openai": "env:A", "b": "file:/x"}).provider_keys


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", ".", "ä", "a" * 101])
def test_a_teams_name_can_stand_in_a_path(name):
    with pytest.raises(ValueError, match=r"^name: "):
        Team(name=name)


def test_times_are_utc_where_they_do_not_say():
    assert parse_expiry("1970-01-02") == 86_400_000
    assert parse_expiry("1970-01-01T00:00:01Z") == 1000
    assert parse_expiry("1970-01-01T01:00:00+01:00") == 0


def test_a_network_is_one_or_the_socket():
    assert parse_network("unix") is None
    assert str(parse_network("10.0.0.0/8")) == "10.0.0.0/8"
    with pytest.raises(ValueError, match='or "unix"'):
        parse_network("10.0.0.1/8")


def test_names_and_ids():
    check_name("name", "Änna's laptop: 2/3 (home)")
    check_id("id", "key_1a.b:c@d-e")
    for text in ("", "a/b", "_a", "a\n"):
        with pytest.raises(ValueError, match=r"^id: "):
            check_id("id", text)
