"""A token reads in one way or not at all."""

from __future__ import annotations

import json

import pytest

from plugins.jwt.tokens import TOKEN_BYTES_MAX, Refused, is_token, parse
from tests.plugins.jwt.issuers import claims_of, encoded

HEADER = b'{"alg":"RS256","kid":"one"}'
CLAIMS = b'{"iss":"https://issuer.example","sub":"ann"}'
SIGNATURE = b"\x01\x02\x03\x04"


def written(header=HEADER, claims=CLAIMS, signature=SIGNATURE) -> bytes:
    return b".".join(map(encoded, (header, claims, signature)))


def refusal(token: bytes) -> str:
    with pytest.raises(Refused) as caught:
        parse(token)
    return str(caught.value)


def test_a_token_reads_as_it_is_written():
    token = parse(written())
    assert (token.alg, token.kid, token.signature) == ("RS256", "one", SIGNATURE)
    assert token.claims == json.loads(CLAIMS)
    assert token.signed == encoded(HEADER) + b"." + encoded(CLAIMS)


def test_a_key_has_not_the_shape_of_a_token():
    assert is_token(b"a.b.c")
    assert not any(map(is_token, (b"sk-weir_abcdef", b"a.b", b"a.b.c.d.e", b"")))


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"..",
        b"a.b.c",
        written() + b"=",
        written() + b"\n",
        b" " + written(),
        written().replace(b".", b"..", 1),
        written() + b"." + encoded(SIGNATURE),
        written()[:-1] + b"+",
        written()[:-1] + b"/",
        written()[:-1],
        # Bits behind the end of the signature: the same bytes, in other letters.
        written()[:-1] + bytes([written()[-1] + 1]),
        written(signature=b""),
        written(header=b""),
        written(header=b'{"alg":"RS256"'),
        written(header=b'["alg"]'),
        written(header=b'\xef\xbb\xbf{"alg":"RS256"}'),
        written(header=b'{"alg":"\xff"}'),
        written(header=b'{"kid":"one"}'),
        written(header=b'{"alg":256}'),
        written(header=b'{"alg":null}'),
        written(header=b'{"alg":"RS256","kid":1}'),
        written(header=b'{"alg":"RS256","kid":["one"]}'),
        written(header=b'{"alg":"RS256","kid":{"$ne":""}}'),
        written(claims=b"null"),
        written(claims=b'{"exp":NaN}'),
        written(claims=b'{"exp":1e999}'),
        written(claims=b'{"sub":"ann"} {}'),
        written(claims=b"[" * 5000 + b"]" * 5000),
        written(claims=b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"}"),
    ],
)
def test_what_is_no_token_is_malformed(token):
    assert refusal(token) == "it is malformed"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        (b'{"alg":"none","alg":"RS256"}', CLAIMS),
        (b'{"alg":"RS256","kid":"one","kid":"one"}', CLAIMS),
        (HEADER, b'{"sub":"ann","sub":"eve"}'),
        (HEADER, b'{"sub":"ann","\\u0073ub":"eve"}'),
        (HEADER, b'{"org":{"id":1,"id":2}}'),
        (HEADER, b'{"orgs":[{"id":1},{"id":2,"id":3}]}'),
        (HEADER, b'{"":1,"":2}'),
    ],
)
def test_a_name_that_stands_twice_is_malformed(header, claims):
    assert refusal(written(header, claims)) == "it is malformed"


def test_colons_and_quotes_in_texts_are_no_members():
    claims = {"a:b": 'c":"d', "e\\": {"f": ["g:h", {"i\\\\": ':"'}]}, "j": "\\"}
    assert parse(written(claims=json.dumps(claims).encode())).claims == claims


def test_a_token_is_bounded_before_it_is_read():
    just = encoded(b'{"a":"' + b"x" * 12_000 + b'"}')
    assert len(parse(written(claims=b'{"a":"' + b"x" * 12_000 + b'"}')).signed) > len(just)
    assert refusal(b"a" * (TOKEN_BYTES_MAX + 1)) == "it is too long"
    assert refusal(written(claims=b'{"a":"' + b"x" * 13_000 + b'"}')) == "it is too long"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_header_may_not_bring_a_key(name):
    header = json.dumps({"alg": "RS256", name: None}).encode()
    assert "key of its own" in refusal(written(header))


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": True}])
def test_a_header_may_not_ask_for_an_extension(header):
    assert "extension" in refusal(written(json.dumps({"alg": "RS256", **header}).encode()))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+JWT"])
def test_an_access_token_may_say_so(typ):
    assert parse(written(json.dumps({"alg": "RS256", "typ": typ}).encode())).alg == "RS256"


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE", "", 1, None])
def test_a_token_of_another_kind_is_refused(typ):
    header = json.dumps({"alg": "RS256", "typ": typ}).encode()
    assert refusal(written(header)) == "it is a token of another kind"


def test_no_refusal_quotes_the_token():
    token = written(claims=json.dumps(claims_of(sub="very-secret")).encode()) + b"!"
    assert "very-secret" not in refusal(token)
    assert token.decode()[:20] not in refusal(token)
