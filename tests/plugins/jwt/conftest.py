"""Keys of an issuer, made once: an RSA key takes its time."""

from __future__ import annotations

import pytest

from tests.plugins.jwt.issuers import SigningKey


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    return SigningKey("RS256", "rsa-1")


@pytest.fixture(scope="session")
def ec_key() -> SigningKey:
    return SigningKey("ES256", "ec-1")


@pytest.fixture(scope="session")
def ed_key() -> SigningKey:
    return SigningKey("EdDSA", "ed-1")
