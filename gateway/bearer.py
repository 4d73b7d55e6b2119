"""The credential that a caller shows to the gateway itself: where it stands, and how it stays here.

Plugins that say who calls (`identifies = True` on the class) share this, and none has to know of
another. Each takes from `credential_of` what has its own shape, and then either sets
`identity.key_id` and calls `consume`, or raises `unauthorized`. What has another shape it leaves
alone, and everything once `is_known`. `gateway.plan` puts a `Guard` behind them: it refuses a
request that is unknown after all of them, so their order does not matter, and one that passes
everything on lets nobody in. Of a request that is known it keeps every other credential here that
one of them says is its own (`owns(exchange, credential)`).

`weir-authorization` (by whatever prefix) goes before all others and leaves them to the caller's own
provider key. Else it is the first field of `FIELDS` that is not empty, then `?key=`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.errors import CallerFault
from gateway.exchange import Exchange
from gateway.shapes import Fields

AUTHORIZATION: Final = b"authorization"
# Where SDKs of providers put a key, the likeliest first.
ORDER: Final = (AUTHORIZATION, b"x-api-key", b"api-key", b"x-goog-api-key")
FIELDS: Final = frozenset(ORDER)
BEARER: Final = b"bearer "
PARAMETER: Final = b"key="
# RFC 9110 section 15.5.2 wants a challenge in every 401.
CHALLENGE: Final = (b"WWW-Authenticate", b"Bearer")


def credential_of(exchange: Exchange) -> bytes | None:
    """What the caller shows to the gateway, whatever it is worth; None for nothing."""
    if exchange.controls is not None:
        own = exchange.control(AUTHORIZATION)
        if own is not None:
            return _bare(own) or None
    found = _fields(exchange)
    if len(found) == 1:
        value = _value(found[0])
        if value:
            return value
    elif found:
        for name in ORDER:
            for pair in found:
                if pair[0].lower() == name:
                    value = _value(pair)
                    if value:
                        return value
    if exchange.target.find(PARAMETER) >= 0:
        for value in _parameters(exchange.target):
            return value
    return None


def consume(exchange: Exchange, credential: bytes) -> None:
    """Keep that credential from going up, wherever the caller wrote it."""
    for pair in _fields(exchange):
        if pair[1].find(credential) >= 0:  # behind any scheme
            exchange.consumed += (pair[0].lower(),)
    if exchange.target.find(PARAMETER) >= 0:
        exchange.target = _without(exchange.target, credential)
        exchange.path = _without(exchange.path, credential)


def is_known(exchange: Exchange) -> bool:
    """Whether somebody has said already who calls. Metadata alone says it not."""
    identity = exchange.identity
    return identity is not None and identity.key_id is not None


def unauthorized(message: str, code: str = "invalid_credential") -> CallerFault:
    """The 401 to raise. message: never quotes the credential."""
    return CallerFault(message, status=401, code=code, headers=(CHALLENGE,))


class Guard:
    """The last hook of `authenticate`, where plugins say who calls. owns: what each of them says of
    a credential, where it says that.
    """

    __slots__ = ("_owns",)

    def __init__(self, owns: tuple[Callable[[Exchange, bytes], bool], ...]) -> None:
        self._owns = owns

    def check(self, exchange: Exchange) -> None:
        """Refuse a request of which no plugin said whose it is; keep what is ours of any other."""
        if not is_known(exchange):
            raise _nobody(exchange)
        fields = _fields(exchange)
        if len(fields) > len(exchange.consumed):
            for pair in fields:
                value = _value(pair)
                if value and pair[0].lower() not in exchange.consumed:
                    self._keep(exchange, value)
        if exchange.target.find(PARAMETER) >= 0:
            for value in _parameters(exchange.target):
                self._keep(exchange, value)

    def _keep(self, exchange: Exchange, credential: bytes) -> None:
        for owns in self._owns:
            if owns(exchange, credential):
                consume(exchange, credential)


def _nobody(exchange: Exchange) -> CallerFault:
    if credential_of(exchange) is None:
        return unauthorized(
            "This gateway wants a credential, and the request has none: send it as "
            "Authorization: Bearer, x-api-key or weir-authorization.",
            "missing_credential",
        )
    return unauthorized("The credential is none that this gateway knows.")


def _fields(exchange: Exchange) -> Fields:
    passed = exchange.passed
    return exchange.headers.among(FIELDS) if passed is None else passed.among(FIELDS)


def _value(pair: tuple[bytes, bytes]) -> bytes:
    """The credential in a field; nothing where its scheme is not Bearer."""
    name, value = pair
    if len(name) != len(AUTHORIZATION) or name.lower() != AUTHORIZATION:
        return value.strip()
    return value[7:].strip() if value[:7].lower() == BEARER else b""


def _bare(value: bytes) -> bytes:
    """The credential in a field of our own, where the scheme may be left out."""
    return (value[7:] if value[:7].lower() == BEARER else value).strip()


def _parameters(target: bytes) -> list[bytes]:
    """The credentials in a query."""
    parts = target.partition(b"?")[2].split(b"&")
    return [part[4:] for part in parts if part.startswith(PARAMETER) and len(part) > 4]


def _without(target: bytes, credential: bytes) -> bytes:
    """The target without a parameter that holds that credential."""
    path, _, query = target.partition(b"?")
    gone = PARAMETER + credential
    left = b"&".join([part for part in query.split(b"&") if part != gone])
    return path + b"?" + left if left else path
