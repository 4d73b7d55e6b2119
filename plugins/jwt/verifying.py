"""Whether a token is good, for the settings of one gateway; and a memory of those that are.

What costs little comes first: form, claims, times; then the signature. A good token is remembered
by its SHA-256 until it expires or the keys change, so each of its other requests costs a hash and
a look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway import now_ms

from .identities import Claims, Known
from .keys import Key, KeySet
from .source import Source
from .tokens import Refused, Token, parse


class Verifier:
    """See the module's docstring. audiences: empty where any will do. source: where keys come
    from.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audiences: tuple[str, ...],
        algorithms: tuple[str, ...],
        claims: Claims,
        skew_ms: int,
        remembered_max: int,
        source: Source,
    ) -> None:
        self._issuer = issuer
        self._audiences = audiences
        self._algorithms = algorithms
        self._claims = claims
        self._skew_ms = skew_ms
        self._remembered_max = remembered_max
        self.source = source
        self._keys: KeySet | None = None  # by which those remembered were verified
        self._remembered: dict[bytes, tuple[int, Known]] = {}

    def recall(self, digest: bytes) -> Known | None:
        """Whose a token is that was found good before. digest: its SHA-256."""
        found = self._remembered.get(digest)
        if found is None:
            return None
        if self._keys is not self.source.keys:
            self._remembered.clear()
            return None
        if now_ms() >= found[0]:
            del self._remembered[digest]
            return None
        return found[1]

    def examine(self, shown: bytes) -> Token:
        """A token of which all is right but perhaps its signature; `Refused` where it is not."""
        token = parse(shown)
        if token.alg not in self._algorithms:
            raise Refused("its algorithm is not taken here")
        self._check(token.claims)
        return token

    def key_of(self, token: Token) -> Key | None:
        """The key that has to have signed it; None while no such key is known."""
        keys = self.source.keys
        return None if keys is None else keys.find(token.alg, token.kid)

    def verify(self, token: Token, key: Key, digest: bytes) -> Known:
        """Whose a token is; `Refused` where its signature is not that key's."""
        if not key.verifies(token.alg, token.signed, token.signature):
            raise Refused("its signature is wrong")
        known = Known(token.claims, self._claims)
        self._remember(digest, int(token.claims["exp"] * 1000) + self._skew_ms, known)
        return known

    def owns(self, shown: bytes) -> bool:
        """Whether a credential is a token of this issuer for this gateway, good or not."""
        try:
            claims = parse(shown).claims
        except Refused:
            return False
        return claims.get("iss") == self._issuer and self._is_for_us(claims)

    # -- inner -------------------------------------------------------------------------------------

    def _remember(self, digest: bytes, until_ms: int, known: Known) -> None:
        remembered = self._remembered
        if self._keys is not self.source.keys:
            remembered.clear()
            self._keys = self.source.keys
        if len(remembered) >= self._remembered_max:
            del remembered[next(iter(remembered))]  # the oldest
        remembered[digest] = (until_ms, known)

    def _check(self, claims: Mapping[str, Any]) -> None:
        """RFC 7519 section 4.1, and RFC 8725 sections 3.8 and 3.9."""
        if claims.get("iss") != self._issuer:
            raise Refused("it is from another issuer")
        if not self._is_for_us(claims):
            raise Refused("it is made out to somebody else")
        now_s, skew_s = now_ms() / 1000, self._skew_ms / 1000
        expires = _time(claims, "exp")
        if expires is None:
            raise Refused("it never expires")
        if now_s >= expires + skew_s:
            raise Refused("it has expired")
        for name in ("nbf", "iat"):
            begins = _time(claims, name)
            if begins is not None and now_s < begins - skew_s:
                raise Refused("it is not valid yet")

    def _is_for_us(self, claims: Mapping[str, Any]) -> bool:
        wanted = self._audiences
        return not wanted or any(name in wanted for name in _audiences(claims))


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    found = claims.get("aud")
    listed: list[Any] = found if isinstance(found, list) else [found]
    return listed if all(isinstance(name, str) for name in listed) else []


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate: seconds since 1970."""
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 2**53:
        raise Refused("one of its times is none")
    return float(found)
