"""What a key and a team may say: the same words in config.toml, in the API and in commands.

All are closed types: what is not listed here is refused and reaches nothing. The text of a fault is
"FIELD: what is wrong", for whoever asks to put it at its place.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from gateway import check_budget, parse_rate

from .format import parse_digest

# Names stand in logs and rows, ids in paths too.
NAME_CHARS_MAX: Final = 100
ID_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}")
ID_WORDS: Final = "wanted up to 100 of A-Z a-z 0-9 _ . : @ -, beginning with a letter or digit"
# One record is a few lines; a thousand patterns in one would be a mistake.
LIST_MAX: Final = 100
TEXT_MAX: Final = 200
UNIX: Final = "unix"
_REFERENCES: Final = ("env:", "file:")
_LISTS: Final = (
    "gateways", "providers", "models", "denied_models", "paths", "rate_limits", "budgets", "tags",
    "networks",
)  # fmt: skip

Scalar = str | int | float | bool


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What keys and teams have in common. An empty list says nothing."""

    gateways: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    denied_models: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    rate_limits: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    expires: str = ""
    metadata: Mapping[str, Scalar] = {}
    tags: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    enabled: bool = True

    def __post_init__(self) -> None:
        for name in _LISTS:
            _check_list(name, getattr(self, name))
        for text in self.rate_limits:
            _blame("rate_limits", parse_rate, text)
        for text in self.budgets:
            _blame("budgets", check_budget, text)
        for text in self.networks:
            _blame("networks", parse_network, text)
        if self.expires:
            _blame("expires", parse_expiry, self.expires)
        _check_metadata(self.metadata)


class Key(Rules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key: whose it is, and what it may.

    name: What it is called in lists and logs.
    team: The team that it belongs to, and never exceeds.
    user: Who uses it.
    gateways: Of which gateways it is; empty is all.
    providers: Where it may lead, such as "openai" or "azure-*".
    models: The only models that may be asked for, such as "gpt-5*".
    denied_models: Models that may not be, whatever else allows them.
    paths: What may be asked for behind the provider's name, such as "v1/chat/*".
    rate_limits: Such as "50/min" or "100k tokens/min"; kept by `rate_limit`.
    budgets: Such as "200 USD/month"; kept by `budget`.
    expires: When it ends, such as "2026-12-31" or "2026-12-31T12:00Z".
    metadata: What its requests say of themselves; callers cannot change it.
    tags: Words to find it by.
    networks: Whence it may be used, such as "10.0.0.0/8"; "unix" is the socket.
    enabled: Whether it works.
    """

    name: str
    team: str = ""
    user: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("name", self.name)
        for field in ("team", "user"):
            if getattr(self, field):
                check_name(field, getattr(self, field))


class StaticKey(Key, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key of config.toml.

    hash: Its SHA-256 in hex, as `weir keys hash` prints it.
    id: What it is counted and logged as; its name where left out.
    """

    hash: str
    id: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _blame("hash", parse_digest, self.hash)
        if self.id:
            check_id("id", self.id)


class Team(Rules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A team: what none of its keys exceeds.

    name: What keys call it.
    provider_keys: By provider, "env:NAME" or "file:/path": its own key in place of the provider's.
    """

    name: str
    provider_keys: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_id("name", self.name)
        for provider, text in self.provider_keys.items():
            if not text.startswith(_REFERENCES):
                raise ValueError(
                    f'provider_keys: {provider}: wanted "env:NAME" or "file:/path", never the key'
                )


def parse_expiry(text: str) -> int:
    """A time in milliseconds since 1970, in UTC where it does not say. ValueError for none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is no time; wanted such as "2026-12-31T12:00Z"') from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp() * 1000)


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network; None for "unix". ValueError for none."""
    if text == UNIX:
        return None
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'{error}; wanted a network such as "10.0.0.0/8", or "unix"') from None


def check_name(field: str, text: str) -> None:
    """ValueError where that is no name."""
    if not 1 <= len(text) <= NAME_CHARS_MAX or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"{field}: wanted 1 to {NAME_CHARS_MAX} printable characters, no space around them"
        )


def check_id(field: str, text: str) -> None:
    """ValueError where that cannot be an id."""
    if ID_FORM.fullmatch(text) is None:
        raise ValueError(f"{field}: {ID_WORDS}")


def _check_list(name: str, values: tuple[str, ...]) -> None:
    if len(values) > LIST_MAX:
        raise ValueError(f"{name}: wanted at most {LIST_MAX}")
    if not all(value and len(value) <= TEXT_MAX and value.isprintable() for value in values):
        raise ValueError(f"{name}: each is a printable text of 1 to {TEXT_MAX} characters")


def _check_metadata(metadata: Mapping[str, Scalar]) -> None:
    if len(metadata) > LIST_MAX:
        raise ValueError(f"metadata: wanted at most {LIST_MAX} entries")
    for name, value in metadata.items():
        is_long = isinstance(value, str) and len(value) > TEXT_MAX
        if not name or len(name) > TEXT_MAX or is_long:
            raise ValueError(f"metadata: wanted names and values of up to {TEXT_MAX} characters")


def _blame(field: str, parse: object, text: str) -> None:
    assert callable(parse)
    try:
        parse(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
