"""Tokens taken apart, strictly: a compact JWS (RFC 7515 section 7.1) with claims (RFC 7519).

Nothing is believed here, only read. What two readers could take for two different things is
refused: characters and bits that base64url does not need, names that stand twice, anything that is
not strict JSON. So is every header that would have the token say by which key it is to be judged
(RFC 8725 section 3.10), or that it may only be read by who understands more (`crit`).
"""

from __future__ import annotations

import binascii
import re
from typing import Any, Final

import orjson

# Far beyond what issuers make, and no more than a head of which the token is a part may hold.
TOKEN_BYTES_MAX: Final = 16 * 1024
# Other kinds of JWT must not pass for access tokens (RFC 8725 section 3.11, RFC 9068 section 2.1).
TYPES: Final = frozenset({"jwt", "at+jwt"})
_FORM: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_OWN_KEYS: Final = ("jwk", "jku", "x5u", "x5c")


class Refused(ValueError):
    """A token that is not taken. The text is for its bearer, and quotes nothing of it."""


class Token:
    """A token as it reads. alg, kid: what its header says. claims: not to be believed before the
    signature, over `signed`, has been verified.
    """

    __slots__ = ("alg", "claims", "kid", "signature", "signed")

    def __init__(
        self, alg: str, kid: str | None, claims: dict[str, Any], signed: bytes, signature: bytes
    ) -> None:
        self.alg = alg
        self.kid = kid
        self.claims = claims
        self.signed = signed
        self.signature = signature


def is_token(shown: bytes) -> bool:
    """Whether a credential has the shape of a token, good or bad; keys have no full stop."""
    return shown.count(b".") == 2


def parse(written: bytes) -> Token:
    """Take a token apart; `Refused` says what is wrong."""
    if len(written) > TOKEN_BYTES_MAX:
        raise Refused("it is too long")
    parts = _FORM.fullmatch(written)
    if parts is None:
        raise Refused("it is malformed")
    header = _object(_decoded(parts[1]))
    _check(header)
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or not (kid is None or isinstance(kid, str)):
        raise Refused("it is malformed")
    claims = _object(_decoded(parts[2]))
    return Token(alg, kid, claims, written[: parts.end(2)], _decoded(parts[3]))


def _check(header: dict[str, Any]) -> None:
    """What a header may not say."""
    if "crit" in header or "b64" in header:
        raise Refused("its header asks for an extension that is not understood here")
    if any(name in header for name in _OWN_KEYS):
        raise Refused("its header brings or names a key of its own")
    typ = header.get("typ", "jwt")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in TYPES:
        raise Refused("it is a token of another kind")


def _decoded(part: bytes) -> bytes:
    """The bytes of a part. Bits behind its end have to be 0: else it could be written in many ways
    (RFC 4648 section 3.5).
    """
    text = part.translate(_STANDARD) + b"=" * (-len(part) % 4)
    try:
        found = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise Refused("it is malformed") from None
    if binascii.b2a_base64(found, newline=False) != text:
        raise Refused("it is malformed")
    return found


_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused("it is malformed") from None
    if not isinstance(found, dict) or _members(found) != _STRING.sub(b"", text).count(b":"):
        raise Refused("it is malformed")
    return found


def _members(document: Any) -> int:
    """How many members all objects of a document have: fewer than it has colons outside of strings,
    where a name stands twice.
    """
    count, left = 0, [document]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            count += len(value)
            left += value.values()
        elif isinstance(value, list):
            left += value
    return count
