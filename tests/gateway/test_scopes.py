"""A request's subject under a scope: whose it is, by every dimension there is."""

from __future__ import annotations

import pytest

from gateway import check_scopes, subject_of
from gateway.scopes import DIMENSIONS, NAME_CHARS_MAX
from gateway.testing import exchange


def test_each_dimension_finds_its_own() -> None:
    made = exchange()
    made.peer = "10.0.0.7:4711"
    made.model = "gpt-5"
    identity = made.known()
    identity.key_id, identity.team, identity.user = "k1", "red", "ann"
    identity.metadata = {"batch": True, "run": 7}

    found = {name: subject_of((name,))(made, "openai") for name in (*DIMENSIONS, "metadata.run")}

    assert found == {
        "gateway": "default",
        "key": "k1",
        "team": "red",
        "user": "ann",
        "provider": "openai",
        "model": "gpt-5",
        "address": "10.0.0.7",
        "metadata.run": "7",
    }
    assert subject_of(("metadata.batch", "team"))(made, None) == ("true", "red")


def test_a_request_without_one_of_them_has_no_subject() -> None:
    made = exchange()
    made.known().team = "red"

    for scopes in (("key",), ("team", "user"), ("team", "metadata.x"), ("provider",)):
        assert subject_of(scopes)(made, None) is None


@pytest.mark.parametrize(
    ("peer", "address"),
    [("10.0.0.7:4711", "10.0.0.7"), ("::1:4711", "::1"), ("unix", "unix"), ("call", "call")],
)
def test_an_address_has_no_port(peer: str, address: str) -> None:
    made = exchange()
    made.peer = peer

    assert subject_of(("address",))(made, None) == address


def test_long_names_are_cut() -> None:
    made = exchange()
    made.model = "m" * 1000

    assert subject_of(("model",))(made, None) == "m" * NAME_CHARS_MAX


@pytest.mark.parametrize("scopes", [(), ("key", "key"), ("keys",), ("metadata.",)])
def test_a_wrong_scope_is_refused(scopes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="wanted one"):
        check_scopes(scopes)
