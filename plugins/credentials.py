"""Puts the provider's key on a request whose caller brought none.

A caller's own credential passes unchanged, whichever of the fields that the provider's row names it
stands in; so does a key in the query, where the provider takes one there. What held the gateway's
own credential is none of the caller's and is gone by now. Where an attempt goes to another provider
than the caller addressed, the caller's credential stays behind: it is nobody else's to see. Where
the caller's team has a provider key of its own (`identity.provider_keys`), that one goes up.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway import Attempt, Exchange, Secret, hookimpl

# A scheme alone, or nothing: what clients send that were given an empty key.
EMPTY: Final = frozenset({b"", b"bearer", b"basic", b"token", b"key"})
EMPTY_BYTES_MAX: Final = 16  # they may stand among spaces


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set: the keys are the providers' own (`api_key` in their tables)."""


class Plugin:
    """Holds each provider's field ready, as long as its key is the same."""

    def __init__(self, config: Config) -> None:
        self._fields: dict[str, tuple[Secret, bytes, bytes]] = {}

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        target = attempt.target
        provider = target.provider
        names = provider.caller_fields
        addressed = exchange.provider
        if addressed is not None and addressed is not provider and addressed.name != provider.name:
            _drop(attempt, names | addressed.caller_fields)
        elif _is_there(attempt, names):
            return
        else:
            for mark in provider.caller_queries:
                if mark in target.path:
                    return
        key = provider.api_key
        identity = exchange.identity
        if identity is not None and identity.provider_keys:
            key = identity.provider_keys.get(provider.name, key)
        if key is None or key.missing:
            return
        ready = self._fields.get(provider.name)
        if ready is None or ready[0] is not key:
            ready = (key, *provider.credential.field(key))
            self._fields[provider.name] = ready
        attempt.headers.add(ready[1], ready[2])


def _is_there(attempt: Attempt, names: frozenset[bytes]) -> bool:
    """Whether the caller brought a credential. Empty ones are none, and are taken out."""
    found = attempt.among(names)
    for _, value in found:
        if len(value) > EMPTY_BYTES_MAX or value.strip().lower() not in EMPTY:
            return True
    if found:
        _drop(attempt, names)
    return False


def _drop(attempt: Attempt, names: frozenset[bytes]) -> None:
    items = attempt.headers.items
    attempt.headers.items = [pair for pair in items if pair[0].lower() not in names]
