"""The public keys that tokens are judged by: a JWK Set (RFC 7517) or one key in PEM.

A key is for one algorithm's family, so a token cannot have it used as anything else: no secret of
HMAC is among them, and `none` is no algorithm (RFC 8725 section 3.1). PyJWT and cryptography are
imported here and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway import get_logger

from .algorithms import ALGORITHMS

log = get_logger("jwt")

# RFC 7518 section 3.3 wants the least; beyond the most a signature takes milliseconds.
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192
# Issuers keep a handful; each one costs time to read.
KEYS_MAX: Final = 100
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_KINDS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


class Key:
    """One public key. kid: its name in its set. kind: as in `ALGORITHMS`. only: the one algorithm
    that it is for, where the set says so.
    """

    __slots__ = ("_public", "kid", "kind", "only")

    def __init__(self, public: Any, kid: str | None = None, only: str | None = None) -> None:
        self._public = public
        self.kid = kid
        self.kind = _kind_of(public)
        self.only = only

    def fits(self, alg: str) -> bool:
        """Whether it may judge signatures of that algorithm."""
        return ALGORITHMS.get(alg) == self.kind and self.only in (None, alg)

    def verifies(self, alg: str, signed: bytes, signature: bytes) -> bool:
        """Whether that is its signature of those bytes."""
        return bool(jwt.get_algorithm_by_name(alg).verify(signed, self._public, signature))


class KeySet:
    """Keys that hold together. digest: of what they were read from; equal sets are the same."""

    def __init__(self, keys: Sequence[Key], digest: bytes) -> None:
        self._keys = tuple(keys)
        self.digest = digest

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, alg: str, kid: str | None) -> Key | None:
        """The key of that name for that algorithm; without a name the only one that there is. A
        key that has no name itself, such as one in PEM, goes by any.
        """
        found = [key for key in self._keys if key.fits(alg) and _is_named(key, kid)]
        return found[0] if len(found) == 1 else None


def read_set(text: bytes) -> KeySet:
    """The keys of a JWK Set that can verify. ValueError where there is none."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError("it is not JSON") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise ValueError(f"it is no JWK Set of up to {KEYS_MAX} keys")
    keys = []
    for entry in entries:
        try:
            keys.append(_of_jwk(entry))
        except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
            # A set may hold keys for other uses, which are none of ours.
            kid = entry.get("kid") if isinstance(entry, dict) else None
            log.info("key_left_out", kid=str(kid)[:100], reason=type(error).__name__)
    if not keys:
        raise ValueError("it holds no public key that can verify a token")
    return KeySet(keys, hashlib.sha256(text).digest())


def read_pem(text: bytes) -> KeySet:
    """One public key in PEM. ValueError for anything else, a private one among it."""
    try:
        public = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError('it is no public key in PEM ("-----BEGIN PUBLIC KEY-----")') from error
    return KeySet([Key(public)], hashlib.sha256(text).digest())


def _is_named(key: Key, kid: str | None) -> bool:
    return kid is None or key.kid is None or key.kid == kid


def _of_jwk(entry: Any) -> Key:
    """A key of a set; one of several errors where it is not to verify with."""
    kind, kid, only = entry["kty"], entry.get("kid"), entry.get("alg")
    if kind not in _KINDS:
        raise ValueError("not a public key")
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not {"verify"}.issubset(operations):
        raise ValueError("not for signatures")
    if not (kid is None or isinstance(kid, str)) or not (only is None or only in ALGORITHMS):
        raise ValueError("not of an algorithm that is known here")
    algorithm: Any = jwt.get_algorithm_by_name(_KINDS[kind])
    return Key(algorithm.from_jwk(entry), kid, only)


def _kind_of(public: object) -> str:
    """As in `ALGORITHMS`. ValueError for a key that is for none of them."""
    if isinstance(public, RSAPublicKey):
        if not RSA_BITS_MIN <= public.key_size <= RSA_BITS_MAX:
            raise ValueError(f"an RSA key of {public.key_size} bits is too short or too long")
        return "RSA"
    if isinstance(public, Ed25519PublicKey):
        return "Ed25519"
    kind = _CURVES.get(public.curve.name) if isinstance(public, EllipticCurvePublicKey) else None
    if kind is None:
        raise ValueError("it is no RSA, P-256, P-384, P-521 or Ed25519 key")
    return kind
