"""Settings that cannot work are told with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.jwt.settings import Config, faults

GOOD: dict[str, Any] = {"jwks": "https://issuer.example/jwks", "issuer": "https://issuer.example"}


@pytest.mark.parametrize(
    "jwks",
    [
        "https://issuer.example/.well-known/jwks.json",
        "http://127.0.0.1:9000/jwks",
        "http://[::1]/jwks",
        "http://localhost/jwks",
        "file:/etc/weir/jwks.json",
    ],
)
def test_keys_come_by_https_or_from_this_machine(jwks):
    assert faults(Config(jwks=jwks, issuer="i", audience="a")) == []


@pytest.mark.parametrize(
    ("jwks", "said"),
    [
        ("http://issuer.example/jwks", "wanted an https URL"),
        ("http://localhost.example/jwks", "wanted an https URL"),
        ("http://127.0.0.1.example/jwks", "wanted an https URL"),
        ("ftp://127.0.0.1/jwks", "wanted an https URL"),
        ("https:///jwks", "wanted an https URL"),
        ("issuer.example", "wanted an https URL"),
        ("https://a:b@issuer.example/jwks", "no user and password"),
        ("https://[::1/jwks", "jwks: "),
    ],
)
def test_another_address_is_refused(jwks, said):
    with pytest.raises(ValueError, match=said):
        Config(jwks=jwks)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"public_key": "-----BEGIN PUBLIC KEY-----"}, "public_key: wanted"),
        ({"algorithms": ("HS256",)}, "algorithms: wanted some of RS256"),
        ({"algorithms": ("none",)}, "algorithms: wanted"),
        ({"algorithms": ()}, "algorithms: wanted"),
        ({"skew": 3600 * 10**9}, "skew: wanted at most 10m"),
        ({"refresh": 10**6}, "refresh: wanted at least 1s"),
        ({"stale": 10**9}, "stale: wanted at least as long"),
    ],
)
def test_a_key_that_cannot_be_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Config(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"issuer": "i", "audience": "a"}, "wanted one of jwks"),
        ({**GOOD, "audience": "a", "public_key": "file:/k.pem"}, "wanted one of jwks"),
        ({**GOOD, "audience": "a", "issuer": ""}, "issuer: missing"),
        (GOOD, "audience: wanted"),
        ({**GOOD, "audience": ""}, "audience: wanted"),
        ({**GOOD, "audience": ("a", "")}, "audience: wanted"),
        ({**GOOD, "audience": "a", "any_audience": True}, "audience: wanted"),
    ],
)
def test_what_is_missing_is_told(given, said):
    (fault,) = faults(Config(**given))
    assert fault.startswith(said)


def test_any_audience_has_to_be_said():
    assert faults(Config(**GOOD, any_audience=True)) == []
    assert faults(Config(**GOOD, audience=("a", "b"))) == []
