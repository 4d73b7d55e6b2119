"""The configuration's keys fit together, or do not start."""

from __future__ import annotations

import pytest

from plugins.api_keys import Config
from plugins.api_keys.fields import StaticKey, Team
from plugins.api_keys.format import digest_of
from plugins.api_keys.keyring import missing_secrets, static_ring

A, B = (digest_of(key).hex() for key in (b"a", b"b"))


def test_a_ring_finds_keys_by_their_digests():
    keys = (StaticKey(name="x", hash=A), StaticKey(name="y", hash=B, id="why", team="t"))
    ring = static_ring(Config(keys=keys, teams=(Team(name="t", rate_limits=("1/min",)),)))

    assert set(ring) == {digest_of(b"a"), digest_of(b"b")}
    assert ring[digest_of(b"a")].key_id == "x"
    why = ring[digest_of(b"b")]
    assert (why.key_id, why.name, why.rates) == ("why", "y", (("team", "1/min"),))
    assert not why.is_managed


def test_a_teams_provider_keys_go_with_its_keys(monkeypatch):
    monkeypatch.setenv("TEAMS_KEY", "sk-of-the-team")
    team = Team(name="t", provider_keys={"openai": "env:TEAMS_KEY", "groq": "env:NOT_THERE"})
    config = Config(keys=(StaticKey(name="x", hash=A, team="t"),), teams=(team,))
    (grant,) = static_ring(config).values()

    assert grant.provider_keys["openai"].reveal() == b"sk-of-the-team"
    (text,) = missing_secrets(config.teams)
    assert "team t: groq: env:NOT_THERE is not set" in text


@pytest.mark.parametrize(
    ("keys", "teams", "fault"),
    [
        ((StaticKey(name="x", hash=A), StaticKey(name="x", hash=B)), (), "keys: two are x"),
        ((StaticKey(name="x", hash=A), StaticKey(name="y", hash=A)), (), "keys: two are"),
        ((), (Team(name="t"), Team(name="t")), "teams: two are t"),
        ((StaticKey(name="x", hash=A, team="t"),), (), "there is no team t; add"),
    ],
)
def test_what_does_not_fit_together_is_refused(keys, teams, fault):
    with pytest.raises(ValueError, match=fault):
        Config(keys=keys, teams=teams)
