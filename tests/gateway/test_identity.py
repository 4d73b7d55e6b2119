"""An identity knows nothing until somebody says it, and shares nothing with another."""

from __future__ import annotations

from gateway import Identity


def test_an_identity_is_empty_and_its_own() -> None:
    one, other = Identity(), Identity()
    one.metadata["run"] = 7

    facts = (other.key_id, other.name, other.team, other.user, other.grant)
    assert facts == (None,) * 5
    assert (other.rates, other.budgets, other.tags) == ((), (), ())
    assert (other.metadata, dict(other.provider_keys)) == ({}, {})
