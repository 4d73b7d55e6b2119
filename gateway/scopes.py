"""Scopes: whose requests a limit counts together, and how the subject of a request is found.

A scope is one dimension or several: `gateway`, `key`, `team`, `user`, `provider`, `model`,
`address` (the caller's), or `metadata.NAME`. A request that has none of one of them is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.exchange import Exchange

METADATA: Final = "metadata."
DIMENSIONS: Final = ("gateway", "key", "team", "user", "provider", "model", "address")
# Names come from callers and are kept for as long as a window; a ledger cuts them alike.
NAME_CHARS_MAX: Final = 100

Subject = str | tuple[str, ...]
Reader = Callable[["Exchange", "str | None"], "str | None"]


def check_scopes(scopes: tuple[str, ...], dimensions: tuple[str, ...] = DIMENSIONS) -> None:
    """ValueError, which says what is wrong, where a scope is not made of those dimensions."""
    if not scopes or len(set(scopes)) < len(scopes):
        raise ValueError("wanted one or several different ones")
    for name in scopes:
        if name not in dimensions and not (name.startswith(METADATA) and name != METADATA):
            raise ValueError(
                f'"{name}" is none; wanted one of {", ".join(dimensions)}, or "metadata.NAME"'
            )


def subject_of(scopes: tuple[str, ...]) -> Callable[[Exchange, str | None], Subject | None]:
    """What finds a request's subject; given the exchange and the name of its target's provider."""
    readers = [_READERS.get(name) or _metadata(name.removeprefix(METADATA)) for name in scopes]
    if len(readers) == 1:
        return readers[0]

    def read(exchange: Exchange, provider: str | None) -> Subject | None:
        found = []
        for reader in readers:
            part = reader(exchange, provider)
            if part is None:
                return None
            found.append(part)
        return tuple(found)

    return read


def subject_in(scopes: tuple[str, ...], row: dict[str, Any]) -> Subject | None:
    """The same of a ledger's row, in which what is not known is missing or empty."""
    found = []
    for name in scopes:
        if name.startswith(METADATA):
            part = plain((row.get("metadata") or {}).get(name.removeprefix(METADATA)))
        else:
            part = cut(row.get(name) or None)
        if part is None:
            return None
        found.append(part)
    return found[0] if len(found) == 1 else tuple(found)


def plain(value: object) -> str | None:
    """A value of the metadata as a name."""
    if value is None or isinstance(value, str):
        return cut(value)
    return cut(str(value).lower() if isinstance(value, bool) else str(value))


def cut(name: str | None) -> str | None:
    """A name, no longer than any is kept."""
    return name if name is None or len(name) <= NAME_CHARS_MAX else name[:NAME_CHARS_MAX]


def _key(exchange: Exchange, _: str | None) -> str | None:
    identity = exchange.identity
    return None if identity is None else cut(identity.key_id)


def _team(exchange: Exchange, _: str | None) -> str | None:
    identity = exchange.identity
    return None if identity is None else cut(identity.team)


def _user(exchange: Exchange, _: str | None) -> str | None:
    identity = exchange.identity
    return None if identity is None else cut(identity.user)


def _address(exchange: Exchange, _: str | None) -> str | None:
    """The caller's, without its port; all of a Unix socket's callers are one."""
    return exchange.peer.rpartition(":")[0] or exchange.peer


def _metadata(name: str) -> Reader:
    def read(exchange: Exchange, _: str | None) -> str | None:
        identity = exchange.identity
        return None if identity is None else plain(identity.metadata.get(name))

    return read


_READERS: Final[dict[str, Reader]] = {
    "gateway": lambda exchange, _: exchange.gateway,
    "key": _key,
    "team": _team,
    "user": _user,
    "provider": lambda _, provider: provider,
    "model": lambda exchange, _: cut(exchange.model),
    "address": _address,
}
