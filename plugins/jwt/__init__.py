"""Says who calls by a token of somebody else's: JWTs of an OIDC provider, or of an own issuer.

A token stands where a key would (`gateway.credential_of`), is verified with the public keys of its
issuer, and never goes up. Its claims become `exchange.identity`, limits among them.

Beside `api_keys` neither plugin knows of the other. This one takes what has the shape of a token,
two full stops in it, and refuses it with a 401 where it is not good. It leaves all else alone, and
requests whose caller is known already. Whom nobody knows in the end is refused by the core
(`identifies`), so the order of the two does not matter, and no bad token is tried as a key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway import (
    CallerFault,
    Exchange,
    Gateway,
    OwnFault,
    StartError,
    consume,
    credential_of,
    hookimpl,
    is_known,
    unauthorized,
)

from .settings import FILE, Config, faults
from .tokens import Refused, Token, is_token

if TYPE_CHECKING:
    from .keys import Key
    from .verifying import Verifier

__all__ = ["Config", "Plugin"]

NAME: Final = "jwt"
NO_KEYS: Final = "token_keys_unavailable"
UNUSABLE: Final = "The keys that tokens are verified with cannot be read now; try again later."


class Plugin:
    """See the module's docstring."""

    identifies = True

    def __init__(self, config: Config) -> None:
        self._gateway: Gateway | None = None
        # By gateway; a reload brings other settings, which are equal as a rule.
        self._verifiers: dict[str, tuple[Config, Verifier]] = {}

    def check(self, config: Config, _: Path) -> list[str]:
        """What would stop a start."""
        try:
            asyncio.run(_opened(config))
        except StartError as error:
            return [str(error)]
        return []

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        self._gateway = gateway
        for name, plan in gateway.plans.items():
            if NAME in plan.plugins:
                config = plan.settings[NAME]
                verifier = self._equal(config)
                if verifier is None:
                    verifier = await _opened(config)
                    verifier.source.start(gateway)
                    gateway.first(verifier.source.first(), "jwt-keys-first")
                self._verifiers[name] = (config, verifier)
        yield
        # What reads keys are the gateway's tasks, and it ends them.

    @hookimpl
    def authenticate(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        shown = credential_of(exchange)
        if shown is None or not is_token(shown) or is_known(exchange):
            return None
        verifier = self._verifier(exchange)
        digest = hashlib.sha256(shown).digest()
        known = verifier.recall(digest)
        if known is not None:
            known.identify(exchange)
            consume(exchange, shown)
            return None
        try:
            token = verifier.examine(shown)
        except Refused as refused:
            raise _refusal(refused) from None
        key = verifier.key_of(token)
        if key is None:
            return _later(exchange, verifier, token, shown)
        _take(exchange, verifier, token, key, shown)
        return None

    def owns(self, exchange: Exchange, credential: bytes) -> bool:
        """Whether a credential is a token for this gateway, which must not go up."""
        return is_token(credential) and self._verifier(exchange).owns(credential)

    def _verifier(self, exchange: Exchange) -> Verifier:
        """The verifier of the exchange's gateway."""
        config = exchange.settings[NAME]
        found = self._verifiers.get(exchange.gateway)
        return found[1] if found is not None and found[0] is config else self._renew(exchange)

    def _renew(self, exchange: Exchange) -> Verifier:
        """The same after a reload: what was equal before stays, with all that it remembers."""
        gateway, config = self._gateway, exchange.settings[NAME]
        assert gateway is not None
        verifier = self._equal(config)
        if verifier is None:
            try:
                verifier = _made(config)
            except StartError as error:
                raise OwnFault(UNUSABLE, status=503, code=NO_KEYS, detail=str(error)) from error
            verifier.source.start(gateway)
        else:
            verifier.source.again()  # a file may have changed with the configuration
        self._verifiers[exchange.gateway] = (config, verifier)
        self._sweep(gateway)
        return verifier

    def _equal(self, config: Config) -> Verifier | None:
        return next((have for said, have in self._verifiers.values() if said == config), None)

    def _sweep(self, gateway: Gateway) -> None:
        """Stop reading keys for settings that no gateway has any more."""
        settings = [plan.settings.get(NAME) for plan in gateway.plans.values()]
        for name, (config, verifier) in tuple(self._verifiers.items()):
            if config not in settings:
                verifier.source.stop()
                del self._verifiers[name]


async def _opened(config: Config) -> Verifier:
    """A verifier, with the keys of its file. `StartError` with the way out."""
    verifier = _made(config)
    place = verifier.source.place
    if place.startswith(FILE):
        try:
            await verifier.source.load()
        except (OSError, ValueError, TimeoutError) as error:
            raise StartError(f"jwt: {place} cannot be used: {error}") from error
    return verifier


def _made(config: Config) -> Verifier:
    for fault in faults(config):
        raise StartError(f"jwt: {fault}")
    try:
        from .opening import opened  # noqa: PLC0415 - what it imports is an extra
    except ImportError as error:
        raise StartError(
            f"jwt: {error.name} is not installed, which tokens are verified with; "
            'pip install "weir[jwt]"'
        ) from error
    try:
        return opened(config)
    except OSError as error:  # an SSLError is one
        raise StartError(f"jwt: ca_file cannot be used: {error}") from error


async def _later(exchange: Exchange, verifier: Verifier, token: Token, shown: bytes) -> None:
    """Wait for the keys to be read once more, if they may be, and decide then."""
    reading = verifier.source.again()
    if reading is not None:
        await asyncio.wait([reading])
    key = verifier.key_of(token)
    if key is not None:
        _take(exchange, verifier, token, key, shown)
    elif verifier.source.keys is None:
        raise OwnFault(
            UNUSABLE,
            status=503,
            code=NO_KEYS,
            headers=((b"Retry-After", b"5"),),
        )
    else:
        raise _refusal(Refused("it is signed by a key that its issuer does not list"))


def _take(exchange: Exchange, verifier: Verifier, token: Token, key: Key, shown: bytes) -> None:
    try:
        known = verifier.verify(token, key, hashlib.sha256(shown).digest())
    except Refused as refused:
        raise _refusal(refused) from None
    known.identify(exchange)
    consume(exchange, shown)


def _refusal(refused: Refused) -> CallerFault:
    return unauthorized(f"The token is not accepted: {refused}.", "invalid_token")
