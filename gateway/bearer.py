"""The credential that a caller shows to the gateway itself: where it stands, and how it stays here.

Plugins that say who calls (`identifies = True` on the class) share this, and none has to know of
another. Each takes from `credential_of` what has its own shape, and then either sets
`identity.key_id` and calls `consume`, or raises `unauthorized`. What has another shape it leaves
alone, and everything once `is_known`. A request that is unknown after all of them is refused here
(`gateway.plan` puts `refuse_unknown` behind them), so their order does not matter, and one that
passes everything on lets nobody in.

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
    return _in_query(exchange.target) or None


def consume(
    exchange: Exchange, credential: bytes, is_ours: Callable[[bytes], bool] | None = None
) -> None:
    """Keep that credential from going up, wherever the caller wrote it.

    is_ours: whether another one that stands there is the gateway's too, and stays here likewise.
    """
    for pair in _fields(exchange):
        value = _value(pair)
        is_it = pair[1].find(credential) >= 0  # behind any scheme
        if is_it or (value and is_ours is not None and is_ours(value)):
            exchange.consumed += (pair[0].lower(),)
    if exchange.target.find(PARAMETER) >= 0:
        gone = {
            part
            for part in exchange.target.partition(b"?")[2].split(b"&")
            if part.startswith(PARAMETER)
            and (part[4:] == credential or (is_ours is not None and is_ours(part[4:])))
        }
        if gone:
            exchange.target = _without(exchange.target, gone)
            exchange.path = _without(exchange.path, gone)


def is_known(exchange: Exchange) -> bool:
    """Whether somebody has said already who calls. Metadata alone says it not."""
    identity = exchange.identity
    return identity is not None and identity.key_id is not None


def unauthorized(message: str, code: str = "invalid_credential") -> CallerFault:
    """The 401 to raise. message: never quotes the credential."""
    return CallerFault(message, status=401, code=code, headers=(CHALLENGE,))


def refuse_unknown(exchange: Exchange) -> None:
    """Refuse a request of which no plugin said whose it is; the last hook of `authenticate`."""
    if is_known(exchange):
        return
    if credential_of(exchange) is None:
        raise unauthorized(
            "This gateway wants a credential, and the request has none: send it as "
            "Authorization: Bearer, x-api-key or weir-authorization.",
            "missing_credential",
        )
    raise unauthorized("The credential is none that this gateway knows.")


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


def _in_query(target: bytes) -> bytes:
    if target.find(PARAMETER) < 0:
        return b""
    for part in target.partition(b"?")[2].split(b"&"):
        if part.startswith(PARAMETER):
            return part[4:]
    return b""


def _without(target: bytes, gone: set[bytes]) -> bytes:
    """The target without those parameters."""
    path, _, query = target.partition(b"?")
    left = b"&".join([part for part in query.split(b"&") if part not in gone])
    return path + b"?" + left if left else path
