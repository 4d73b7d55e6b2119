"""What is said about a provider: the rows of providers.toml, and a table of config.toml over one.

Rows are data, so that a vendor with one more quirk costs a line there and no code here. The head of
providers.toml explains the keys.
"""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from gateway.config import ProviderConfig
from gateway.dialects import NONE
from gateway.headers import HOP_BY_HOP, is_field_safe
from gateway.secret import Secret

BASE_URL: Final = "{base_url}"
BEARER: Final = "authorization: Bearer {key}"
_KEY: Final = "{key}"
# Fields that the wire's own rules set; a key in one of them would never arrive.
_NO_CREDENTIAL: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of providers.toml; its head explains the keys."""

    base_url: str = ""
    paths: dict[str, str] = {}
    dialect: str = NONE
    api_key: str | tuple[str, ...] = ()
    credential: str = BEARER
    caller_credentials: tuple[str, ...] = ()
    strip_v1: bool = False
    stream_usage: bool = False
    socket: str = ""


class Credential:
    """The field that carries a provider's key: its name, and what stands around the key."""

    __slots__ = ("_after", "_before", "name")

    def __init__(self, written: str) -> None:
        """Read "authorization: Bearer {key}", or in short "bearer" or the field's name alone."""
        if ":" not in written:
            written = BEARER if written.lower() == "bearer" else f"{written}: {_KEY}"
        name, _, value = written.partition(":")
        before, place, after = value.strip().partition(_KEY)
        self.name = name.strip().encode()
        self._before = before.encode()
        self._after = after.encode()
        is_ours = self.name.lower() in _NO_CREDENTIAL
        if not place or is_ours or not is_field_safe(self.name, self._before + self._after):
            raise ValueError(f'wanted "FIELD: {_KEY}", such as "{BEARER}"')

    def field(self, key: Secret) -> tuple[bytes, bytes]:
        """The field for the wire, with the key in it."""
        return self.name, self._before + key.reveal() + self._after


@functools.cache
def built_in() -> dict[str, Row]:
    """The built-in rows by provider."""
    text = Path(__file__).with_name("providers.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Row])


def overridden(row: Row, settings: ProviderConfig) -> Row:
    """The row with what config says in its place.

    A base URL of one's own is another server: what leads to the row's own goes with it.
    """
    keys = ("base_url", "dialect", "credential", "strip_v1", "stream_usage", "socket")
    changes = {key: getattr(settings, key) for key in keys if getattr(settings, key) is not None}
    if settings.base_url is not None:
        kept = {form: url for form, url in row.paths.items() if url.startswith(BASE_URL)}
        changes = {"paths": kept, "socket": "", **changes}
    return msgspec.structs.replace(row, **changes)
