"""A token is good for what it says and no more, and none that was changed is good."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.jwt.algorithms import ALGORITHMS
from plugins.jwt.identities import Claims
from plugins.jwt.keys import read_pem, read_set
from plugins.jwt.settings import Config
from plugins.jwt.source import Source
from plugins.jwt.tokens import Refused
from plugins.jwt.verifying import Verifier
from tests.plugins.jwt.issuers import AUDIENCE, ISSUER, SigningKey, claims_of, encoded, jwks


@dataclass
class Gate:
    """A verifier, and what an authenticator does with it."""

    verifier: Verifier

    def takes(self, token: bytes) -> bool:
        return self.refusal(token) == ""

    def refusal(self, token: bytes) -> str:
        try:
            found = self.verifier.examine(token)
            key = self.verifier.key_of(found)
            if key is None:
                return "no key"
            self.verifier.verify(found, key, hashlib.sha256(token).digest())
        except Refused as refused:
            return str(refused)
        return ""

    def recalls(self, token: bytes) -> bool:
        return self.verifier.recall(hashlib.sha256(token).digest()) is not None


def gate(*keys: SigningKey, pem: bytes = b"", **changed: Any) -> Gate:
    source = Source(
        "file:/nowhere", read_set, ca_file="", refresh_ns=Config().refresh, stale_ns=Config().stale
    )
    source.keys = read_pem(pem) if pem else read_set(jwks(*keys))
    said: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": (AUDIENCE,),
        "algorithms": tuple(ALGORITHMS),
        "claims": Claims(),
        "skew_ms": 0,
        "remembered_max": 100,
        "source": source,
    }
    return Gate(Verifier(**{**said, **changed}))


@pytest.fixture(scope="module")
def ec(ec_key: SigningKey) -> Gate:
    return gate(ec_key)


def test_a_good_token_is_taken(ec, ec_key):
    assert ec.refusal(ec_key.token()) == ""
    assert ec.refusal(ec_key.token(aud=["other", AUDIENCE], nbf=1, iat=None)) == ""
    assert ec.refusal(ec_key.token({"kid": None, "typ": None})) == ""
    assert ec.refusal(ec_key.token(exp=time.time() + 9.5)) == ""


@pytest.mark.parametrize(
    ("said", "claims"),
    [
        ("it is from another issuer", {"iss": "https://issuer.example/"}),
        ("it is from another issuer", {"iss": None}),
        ("it is from another issuer", {"iss": [ISSUER]}),
        ("it is from another issuer", {"iss": {"0": ISSUER}}),
        ("it is from another issuer", {"iss": 1}),
        ("it is made out to somebody else", {"aud": None}),
        ("it is made out to somebody else", {"aud": "Weir"}),
        ("it is made out to somebody else", {"aud": "weir2"}),
        ("it is made out to somebody else", {"aud": ""}),
        ("it is made out to somebody else", {"aud": []}),
        ("it is made out to somebody else", {"aud": [AUDIENCE, 1]}),
        ("it is made out to somebody else", {"aud": [[AUDIENCE]]}),
        ("it is made out to somebody else", {"aud": {AUDIENCE: True}}),
        ("it is made out to somebody else", {"aud": True}),
        ("it never expires", {"exp": None}),
        ("it has expired", {"exp": 1}),
        ("it has expired", {"exp": 0}),
        ("one of its times is none", {"exp": "99999999999"}),
        ("one of its times is none", {"exp": True}),
        ("one of its times is none", {"exp": -1}),
        ("one of its times is none", {"exp": 1e30}),
        ("one of its times is none", {"exp": 10**40}),
        ("one of its times is none", {"exp": [1]}),
        ("one of its times is none", {"nbf": "1"}),
        ("one of its times is none", {"iat": False}),
        ("a claim that is needed here is missing", {"sub": None}),
        ("a claim is no text", {"sub": ["ann"]}),
    ],
)
def test_a_claim_that_does_not_fit_refuses(ec, ec_key, said, claims):
    assert ec.refusal(ec_key.token(**claims)).startswith(said)


def test_times_are_judged_with_the_skew(ec_key):
    now = time.time()
    strict, loose = gate(ec_key), gate(ec_key, skew_ms=30_000)
    for claims, said in (
        ({"exp": now - 10}, "it has expired"),
        ({"nbf": now + 20}, "it is not valid yet"),
        ({"iat": now + 20}, "it is not valid yet"),
    ):
        assert strict.refusal(ec_key.token(**claims)) == said
        assert loose.takes(ec_key.token(**claims))
    assert loose.refusal(ec_key.token(exp=now - 31)) == "it has expired"
    assert loose.refusal(ec_key.token(nbf=now + 40)) == "it is not valid yet"


def test_any_audience_may_be_taken(ec_key):
    anybody = gate(ec_key, audiences=())
    assert anybody.takes(ec_key.token(aud="somebody"))
    assert anybody.takes(ec_key.token(aud=None))


def test_algorithms_are_those_of_the_configuration(ec_key, ed_key):
    narrow = gate(ec_key, ed_key, algorithms=("EdDSA",))
    assert narrow.takes(ed_key.token())
    assert narrow.refusal(ec_key.token()) == "its algorithm is not taken here"


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "HS256", "HS512", "ES256K", "rs256"]
)
def test_another_algorithm_is_refused(rsa_key, alg):
    head = {"alg": alg, "kid": "rsa-1"}
    unsigned = encoded(json.dumps(head).encode()) + b"." + encoded(json.dumps(claims_of()).encode())
    for signature in (b"", encoded(b"x" * 32), rsa_key.token().rpartition(b".")[2]):
        refusal = gate(rsa_key).refusal(unsigned + b"." + signature)
        assert refusal in ("its algorithm is not taken here", "it is malformed")


def test_a_public_key_is_nobodys_shared_secret(rsa_key):
    """The classic confusion: HMAC with the text of the public key, however it is written."""
    head = encoded(b'{"alg":"HS256","kid":"rsa-1"}')
    text = head + b"." + encoded(json.dumps(claims_of()).encode())
    secrets = [
        rsa_key.pem,
        rsa_key.pem.strip(),
        rsa_key.jwk["n"].encode(),
        json.dumps(rsa_key.jwk).encode(),
        jwks(rsa_key),
        b"",
    ]
    for made in (gate(rsa_key), gate(pem=rsa_key.pem)):
        for secret in secrets:
            mac = hmac.new(secret, text, hashlib.sha256).digest()
            assert made.refusal(text + b"." + encoded(mac)) == "its algorithm is not taken here"


def test_a_key_is_for_its_own_algorithm(rsa_key, ec_key):
    """A signature by one key under the name of another, and one key by another algorithm."""
    both = gate(rsa_key, ec_key)
    assert both.refusal(ec_key.token({"kid": "rsa-1"})) == "no key"
    assert both.refusal(ec_key.token({"alg": "RS256"})) == "no key"
    assert both.refusal(ec_key.token({"alg": "RS256", "kid": "rsa-1"})) == "its signature is wrong"
    assert both.refusal(rsa_key.token({"alg": "PS256"})) == "no key"
    assert (
        gate(pem=rsa_key.pem).refusal(rsa_key.token({"alg": "PS256"})) == "its signature is wrong"
    )


def test_another_key_of_the_same_name_is_refused(ec, ec_key):
    assert ec.refusal(SigningKey("ES256", "ec-1").token()) == "its signature is wrong"


@pytest.mark.parametrize(
    "kid", ["ec-2", "", "EC-1", "ec-1 ", "../ec-1", "file:///dev/null", "' OR 1"]
)
def test_a_name_of_a_key_is_only_a_name(ec, ec_key, kid):
    assert ec.refusal(ec_key.token({"kid": kid})) == "no key"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_comes_with_the_token_is_none(ec, name):
    mallory = SigningKey("ES256", "ec-1")
    brought = {"jwk": mallory.jwk, "jku": "https://evil.example", "x5u": "https://evil.example"}
    token = mallory.token({name: brought.get(name, ["MIIB"])})
    assert "key of its own" in ec.refusal(token)


# -- changes ---------------------------------------------------------------------------------------


def flipped(token: bytes, bit: int) -> bytes:
    changed = bytearray(token)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_no_token_with_a_single_bit_changed_is_taken(alg, ec_key, ed_key, rsa_key):
    signer = {"ES256": ec_key, "EdDSA": ed_key, "RS256": rsa_key}[alg]
    made, token = gate(signer), signer.token()
    assert made.takes(token)
    # One without a name of its key too, so that nothing but the signature decides.
    for whole in (token, signer.token({"kid": None, "typ": None})):
        taken = [bit for bit in range(8 * len(whole)) if made.takes(flipped(whole, bit))]
        assert taken == []


@given(st.data())
def test_no_token_that_was_edited_is_taken(ec_key, data):
    token = ec_key.token()
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 12)))
    letters = st.sampled_from(b"ABCXYZabcxyz0189-_.=+/ \n\x00\xff")
    put = bytes(data.draw(st.lists(letters, max_size=12)))
    changed = token[:start] + put + token[end:]
    assert gate(ec_key).takes(changed) is (changed == token)


@given(st.binary(max_size=200))
def test_no_bytes_are_a_token(ec_key, data):
    assert not gate(ec_key).takes(data)
    assert not gate(ec_key).takes(b".".join(map(encoded, (data[:60], data[60:120], data[120:]))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "org", "scope", "limits"]), JSON)
def test_signed_claims_of_any_kind_are_taken_or_refused(ec_key, name, value):
    named = Claims(
        team="org?", tags="scope?", metadata=("org?",), rates="limits?", budgets="limits?"
    )
    made = gate(ec_key, claims=named)
    token = ec_key.signed(b'{"alg":"ES256"}', json.dumps(claims_of(**{name: value})).encode())
    if made.takes(token):
        found = made.verifier.recall(hashlib.sha256(token).digest())
        assert found is not None
        assert isinstance(found.key_id, str)


@given(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "cty", "x5t", "enc"]), JSON)
def test_signed_headers_of_any_kind_are_taken_or_refused(ec_key, name, value):
    header = {"alg": "ES256", "kid": "ec-1", name: value}
    token = ec_key.signed(json.dumps(header).encode(), json.dumps(claims_of()).encode())
    taken = gate(ec_key).takes(token)
    assert not (taken and (name in ("crit", "b64") or header["alg"] != "ES256"))


# -- memory ----------------------------------------------------------------------------------------


def test_a_good_token_is_remembered_and_a_bad_one_is_not(ec_key):
    made = gate(ec_key)
    good, bad = ec_key.token(), ec_key.token()[:-4] + b"AAAA"
    assert not made.recalls(good)
    assert made.takes(good)
    assert not made.takes(bad)
    assert (made.recalls(good), made.recalls(bad), made.recalls(good[:-1])) == (True, False, False)


def test_a_remembered_token_expires(ec_key):
    made = gate(ec_key, skew_ms=200)
    token = ec_key.token(exp=time.time() + 0.3)
    assert made.takes(token)
    assert made.recalls(token)
    time.sleep(0.6)
    assert not made.recalls(token)
    assert made.refusal(token) == "it has expired"


def test_what_was_verified_by_keys_that_are_gone_is_forgotten(ec_key):
    made = gate(ec_key)
    token = ec_key.token()
    assert made.takes(token)
    made.verifier.source.keys = read_set(jwks(SigningKey("ES256", "ec-1")))
    assert not made.recalls(token)
    assert made.refusal(token) == "its signature is wrong"
    made.verifier.source.keys = None
    assert not made.recalls(token)
    assert made.refusal(token) == "no key"


def test_the_memory_is_bounded_and_the_oldest_goes_first(ec_key):
    made = gate(ec_key, remembered_max=3)
    tokens = [ec_key.token(sub=f"user-{number}") for number in range(5)]
    assert all(map(made.takes, tokens))
    assert list(map(made.recalls, tokens)) == [False, False, True, True, True]


def test_a_token_for_this_gateway_is_told_from_others(ec, ec_key):
    assert ec.verifier.owns(ec_key.token())
    assert ec.verifier.owns(ec_key.token(exp=1))
    for other in (
        ec_key.token(aud="azure"),
        ec_key.token(iss="https://sts.example"),
        b"sk-1",
        b"a.b.c",
    ):
        assert not ec.verifier.owns(other)
