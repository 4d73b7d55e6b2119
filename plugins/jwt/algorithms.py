"""The algorithms that a token may be signed by, each with the kind of key that it takes.

RFC 7518 section 3.1 and RFC 8037: the asymmetric ones. No HMAC, whose secret could be a public key,
and no `none`.
"""

from __future__ import annotations

from typing import Final

RSA: Final = "RSA"
ALGORITHMS: Final = {
    "RS256": RSA,
    "RS384": RSA,
    "RS512": RSA,
    "PS256": RSA,
    "PS384": RSA,
    "PS512": RSA,
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}
