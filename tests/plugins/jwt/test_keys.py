"""A key judges what it was made for, and only public keys for signatures are keys."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from plugins.jwt.algorithms import ALGORITHMS
from plugins.jwt.keys import KEYS_MAX, read_pem, read_set
from plugins.jwt.tokens import parse
from tests.plugins.jwt.issuers import SigningKey, jwks


def listed(*entries) -> bytes:
    return json.dumps({"keys": entries}).encode()


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_each_algorithm_has_a_key_that_judges_it(alg, rsa_key):
    signer = SigningKey(alg, private=rsa_key.private if ALGORITHMS[alg] == "RSA" else None)
    for keys in (read_set(jwks(signer)), read_pem(signer.pem)):
        key = keys.find(alg, signer.kid)
        assert key is not None
        token = parse(signer.token())
        assert key.verifies(alg, token.signed, token.signature)
        assert not key.verifies(alg, token.signed + b"x", token.signature)
        assert not key.verifies(alg, token.signed, token.signature[:-1])
        assert not key.verifies(alg, token.signed, b"")
        others = [other for other in ALGORITHMS if ALGORITHMS[other] != ALGORITHMS[alg]]
        assert not any(key.fits(other) for other in [*others, "none", "HS256", "RS256K", ""])


def test_a_key_that_says_its_algorithm_is_for_no_other(rsa_key):
    key = read_set(jwks(rsa_key)).find("RS256", "rsa-1")
    assert key is not None
    assert [alg for alg in ALGORITHMS if key.fits(alg)] == ["RS256"]


def test_a_key_is_found_by_its_name(rsa_key, ec_key, ed_key):
    keys = read_set(jwks(rsa_key, ec_key, ed_key))
    assert keys.find("ES256", "ec-1") is not None
    assert keys.find("ES256", "rsa-1") is None
    assert keys.find("ES256", "../../ec-1") is None
    assert keys.find("none", "ec-1") is None


def test_without_a_name_it_has_to_be_the_only_one(rsa_key):
    first, second = SigningKey("ES256", "a"), SigningKey("ES256", "b")
    assert read_set(jwks(first, rsa_key)).find("ES256", None) is not None
    assert read_set(jwks(first, second)).find("ES256", None) is None


def test_two_keys_of_one_name_are_none():
    first, second = SigningKey("ES256", "a"), SigningKey("ES256", "a")
    assert read_set(jwks(first, second)).find("ES256", "a") is None


def test_what_is_not_to_verify_with_is_left_out(rsa_key, ec_key, ed_key):
    private = [
        {**key.jwk, **jwt.get_algorithm_by_name(key.alg).to_jwk(key.private, as_dict=True)}
        for key in (rsa_key, ec_key, ed_key)
    ]
    private = [{name: key[name] for name in key if name != "key_ops"} for key in private]
    weak = SigningKey("RS256", bits=1024).jwk
    good = ec_key.jwk
    left_out: list[Any] = [
        *private,
        weak,
        {"kty": "oct", "k": "c2VjcmV0", "kid": "hmac", "alg": "HS256"},
        {**good, "use": "enc"},
        {**good, "use": ["sig"]},
        {**good, "key_ops": ["sign"]},
        {**good, "key_ops": "verify"},
        {**good, "key_ops": 1},
        {**good, "alg": "HS256"},
        {**good, "alg": "none"},
        {**good, "alg": ["ES256"]},
        {**good, "kid": 1},
        {**good, "crv": "secp256k1"},
        {**good, "x": good["y"]},  # a point that is not on the curve
        {**good, "x": "!"},
        {**good, "x": 1},
        {**good, "kty": "EC2"},
        {**good, "kty": ["EC"]},
        {"kty": "OKP", "crv": "Ed448", "x": "A" * 76, "kid": "ed448"},
        {"kty": "RSA", "n": "", "e": "AQAB"},
        {"kty": "RSA"},
        {},
        [],
        "key",
        None,
        7,
    ]
    for entry in left_out:
        with pytest.raises(ValueError, match="no public key that can verify"):
            read_set(listed(entry))
    assert len(read_set(listed(*left_out, good))) == 1


@pytest.mark.parametrize(
    "text",
    [b"", b"<html>", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":7}', b"\xff"],
)
def test_what_is_no_set_is_refused(text):
    with pytest.raises(ValueError, match=r"it is not JSON|no JWK Set|it holds no public key"):
        read_set(text)


def test_a_set_is_bounded(ec_key):
    assert len(read_set(listed(*[ec_key.jwk] * KEYS_MAX))) == KEYS_MAX
    with pytest.raises(ValueError, match="no JWK Set of up to"):
        read_set(listed(*[ec_key.jwk] * (KEYS_MAX + 1)))


def test_a_private_key_in_pem_is_refused(ec_key):
    private = ec_key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in (private, b"", b"secret", ec_key.pem[:80]):
        with pytest.raises(ValueError, match="no public key in PEM"):
            read_pem(text)


def test_a_short_key_in_pem_is_refused():
    with pytest.raises(ValueError, match="1024 bits is too short"):
        read_pem(SigningKey("RS256", bits=1024).pem)


def test_a_key_without_a_name_goes_by_any(ec_key):
    keys = read_pem(ec_key.pem)
    assert keys.find("ES256", None) is keys.find("ES256", "whatever") is not None
    assert keys.find("RS256", None) is None


def test_equal_sets_have_one_digest(ec_key, ed_key):
    assert read_set(jwks(ec_key)).digest == read_set(jwks(ec_key)).digest
    assert read_set(jwks(ec_key)).digest != read_set(jwks(ed_key)).digest
