"""From claims to an identity: which claim says what is the configuration's to name.

A claim is named as it stands in the token, or by a path with full stops into nested ones; with a
question mark behind it, it may be missing. One that is missing otherwise, or is not of the right
kind, refuses the token: a limit or a bill by something that silently went missing is worse than an
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway import Exchange, check_budget, parse_rate

from .tokens import Refused

# Names stand in rows, logs and the keys of counters, which cut them here.
TEXT_CHARS_MAX: Final = 100
# A token says a handful of each; more is a mistake, and costs each request.
ENTRIES_MAX: Final = 32
WHOSE: Final = ("key", "team", "user")

Scalar = str | int | float | bool
Limits = tuple[tuple[str, str], ...]


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which claims say who calls. "org.id" is `id` inside `org`; "org?" may be missing.

    key_id: What requests are counted and logged as.
    name: What that is called.
    team: The team.
    user: The user.
    tags: Words: a list, or a text with spaces between them, such as "scope".
    metadata: What metadata takes, each under the name that is given here.
    rates: Rate limits, kept by `rate_limit`: texts such as "50/min", for the key, or an object of
        such lists for "key", "team" and "user".
    budgets: The same of budgets, kept by `budget`: "200 USD/month".
    """

    key_id: str = "sub"
    name: str = ""
    team: str = ""
    user: str = "sub"
    tags: str = ""
    metadata: tuple[str, ...] = ()
    rates: str = ""
    budgets: str = ""

    def __post_init__(self) -> None:
        if not self.key_id or self.key_id.endswith("?"):
            raise ValueError('key_id: wanted a claim that every token has, such as "sub" or "jti"')


class Known:
    """Who the bearer of one token is. Requests share it, so nobody changes it."""

    __slots__ = ("budgets", "key_id", "metadata", "name", "rates", "tags", "team", "user")

    def __init__(self, claims: Mapping[str, Any], named: Claims) -> None:
        key_id = _name(claims, named.key_id)
        if key_id is None:
            raise Refused("a claim that is needed here is missing")
        self.key_id = key_id
        self.name = _name(claims, named.name)
        self.team = _name(claims, named.team)
        self.user = _name(claims, named.user)
        self.tags = _tags(_found(claims, named.tags))
        self.rates = _limits(_found(claims, named.rates), parse_rate)
        self.budgets = _limits(_found(claims, named.budgets), check_budget)
        self.metadata: dict[str, Scalar] = {}
        for path in named.metadata:
            value = _found(claims, path)
            if value is not None:
                self.metadata[path.removesuffix("?")] = _scalar(value)

    def identify(self, exchange: Exchange) -> None:
        """Say so of a request."""
        identity = exchange.known()
        identity.key_id = self.key_id
        identity.name = self.name
        identity.team = self.team
        identity.user = self.user
        identity.tags = self.tags
        identity.rates = self.rates
        identity.budgets = self.budgets
        if self.metadata:
            identity.metadata = {**identity.metadata, **self.metadata}


def _found(claims: Mapping[str, Any], path: str) -> Any:
    """What a path leads to; None where it may be missing, and is."""
    name = path.removesuffix("?")
    if not name:
        return None
    found: Any = claims.get(name)
    if found is None and "." in name:  # a name may hold full stops itself, as URLs do
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if found is None and name == path:
        raise Refused("a claim that is needed here is missing")
    return found


def _name(claims: Mapping[str, Any], path: str) -> str | None:
    found = _found(claims, path)
    if type(found) is int:
        found = str(found)
    return None if found is None else _text(found)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX:
        raise Refused(f"a claim is no text of 1 to {TEXT_CHARS_MAX} characters, as is wanted here")
    if not value.isprintable():
        raise Refused("a claim holds what cannot be printed")
    return value


def _scalar(value: Any) -> Scalar:
    if isinstance(value, int | float):  # a bool is an int
        return value
    return _text(value)


def _tags(value: Any) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    return tuple(dict.fromkeys(_text(word) for word in _list(words)))


def _limits(value: Any, check: Any) -> Limits:
    """Each with whose it is; `check` raises ValueError for what is no limit."""
    owned = value if isinstance(value, dict) else {"key": value}
    found = []
    for whose, texts in owned.items():
        if whose not in WHOSE:
            raise Refused("a claim has limits for somebody who is not key, team or user")
        for text in _list([texts] if isinstance(texts, str) else texts):
            try:
                check(_text(text))
            except ValueError:
                raise Refused("a claim holds a limit that cannot be read") from None
            found.append((whose, text))
    return tuple(found)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > ENTRIES_MAX:
        raise Refused(f"a claim is no list of up to {ENTRIES_MAX} entries, as is wanted here")
    return value
