"""Reads what a caller says about a request: `weir-metadata`, a flat JSON object of a few entries.

The entries are there for whoever counts, limits or logs by them (`exchange.identity.metadata`).
Where others drop what they do not understand, a header that is not as it should be is refused with
the reason: a limit or a bill by metadata that silently went missing is worse than an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import orjson

from gateway import CallerFault, Exchange, hookimpl

NAME: Final = "metadata"
FIELD: Final = b"metadata"
# Names that a gateway gives itself, as in Cloudflare's `cf.user_id`.
RESERVED: Final = "cf."
# What a message quotes of a key.
QUOTED_MAX: Final = 40


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller may say.

    entries_max: Entries of the object; Cloudflare's AI Gateway takes five.
    """

    entries_max: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 5


class Plugin:
    """Judges the field before anything is reserved or sent."""

    def __init__(self, config: Config) -> None:
        pass  # each gateway has its own settings, which come with the exchange

    @hookimpl
    def prepare(self, exchange: Exchange) -> None:
        written = exchange.control(FIELD)
        if written is None:
            return
        entries = read(written, exchange.settings[NAME].entries_max)
        # What an authenticator knows of the caller is not the caller's to change.
        identity = exchange.known()
        identity.metadata = {**entries, **identity.metadata}


def read(written: bytes, entries_max: int) -> dict[str, str | int | float | bool]:
    """The entries of a metadata field; `CallerFault` says what is wrong with it."""
    try:
        document: Any = orjson.loads(written)
    except orjson.JSONDecodeError as error:
        hint = "" if written.isascii() else "; escape what is not ASCII, as in \\u00e9"
        raise _fault(f"it is not JSON{hint}") from error
    if not isinstance(document, dict):
        raise _fault('it is not an object, such as {"team": "search"}')
    if len(document) > entries_max:
        raise _fault(f"it has {len(document)} entries, and at most {entries_max} are taken")
    for key, value in document.items():
        if not key:
            raise _fault("a key is empty")
        if key.startswith(RESERVED):
            raise _fault(f'the key "{_cut(key)}" begins with "{RESERVED}", which is reserved')
        if not isinstance(value, str | int | float):  # a bool is an int
            raise _fault(f'the value of "{_cut(key)}" is not a string, a number or a boolean')
    return document


def _fault(reason: str) -> CallerFault:
    return CallerFault(
        f"The metadata field cannot be used: {reason}.", status=400, code="invalid_metadata"
    )


def _cut(key: str) -> str:
    return key if len(key) <= QUOTED_MAX else key[: QUOTED_MAX - 3] + "..."
