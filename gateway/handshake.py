"""The handshake that makes a connection a WebSocket (RFC 6455 section 4), as seen by a gateway in
between: what a caller's request must be to go up with its upgrade, and what the 101 must be that
answers it. Everything else stays HTTP.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING, Final

from gateway.headers import named_by_connection
from gateway.websocket import Unreadable

if TYPE_CHECKING:
    from gateway.shapes import Fields

VERSION: Final = b"13"
# What stands in both heads in the place of their framing.
UPGRADE: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64


class Deflate:
    """What permessage-deflate was agreed on (RFC 7692 section 7.1): whether each side begins every
    message anew. Window sizes do not matter to an inflater that has the largest.
    """

    __slots__ = ("client_anew", "server_anew")

    def __init__(self, *, client_anew: bool, server_anew: bool) -> None:
        self.client_anew = client_anew
        self.server_anew = server_anew


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers a key (RFC 6455 section 4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def key_of(fields: Fields) -> bytes | None:
    """The key of a request that asks for a WebSocket as RFC 6455 section 4.1 wants it, else None.

    fields: all of the request's. Whether it is a GET without a body is for the caller to say.
    """
    upgrades, connection, keys, versions = _said(fields, b"sec-websocket-key")
    is_asked = (
        b"upgrade" in named_by_connection(connection)
        and [value.strip().lower() for value in upgrades] == [b"websocket"]
        and [value.strip() for value in versions] == [VERSION]
        and len(keys) == 1
    )
    key = keys[0].strip() if is_asked else b""
    return key if _KEY.fullmatch(key) else None


def wrong_switch(fields: Fields, key: bytes) -> str:
    """What is wrong with the fields of a 101 that answers this key (RFC 6455 section 4.1), or
    nothing.
    """
    upgrades, connection, accepts, _ = _said(fields, b"sec-websocket-accept")
    if [value.strip().lower() for value in upgrades] != [b"websocket"]:
        return "a 101 that does not switch to websocket"
    if b"upgrade" not in named_by_connection(connection):
        return "a 101 without Connection: upgrade"
    if [value.strip() for value in accepts] != [accept_of(key)]:
        return "a 101 with a wrong Sec-WebSocket-Accept"
    return ""


def _said(
    fields: Fields, answer: bytes
) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
    """The values of Upgrade, Connection, the field named, and Sec-WebSocket-Version."""
    names = (b"upgrade", b"connection", answer, b"sec-websocket-version")
    found: tuple[list[bytes], list[bytes], list[bytes], list[bytes]] = ([], [], [], [])
    for values, name in zip(found, names, strict=True):
        values.extend(value for have, value in fields if have.lower() == name)
    return found


def deflate_of(extensions: list[bytes]) -> Deflate | None:
    """What the values of the answer's Sec-WebSocket-Extensions agree on; None for no compression.

    Raises `Unreadable` for an extension that is not known here: what its messages mean is not
    either.
    """
    found = None
    for offer in b",".join(extensions).split(b","):
        name, *parameters = (part.strip().lower() for part in offer.split(b";"))
        if not name:
            continue
        if name != b"permessage-deflate" or found is not None:
            raise Unreadable(f"cannot read the extension {name.decode('latin-1')}")
        found = Deflate(
            client_anew=b"client_no_context_takeover" in parameters,
            server_anew=b"server_no_context_takeover" in parameters,
        )
    return found
