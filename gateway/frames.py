"""Frames of a WebSocket that are of our own making, and the mask (RFC 6455 sections 5.2, 5.3)."""

from __future__ import annotations

from typing import Final

# RFC 6455 section 7.4.1.
GOING_AWAY: Final = 1001
POLICY: Final = 1008


def close_frame(code: int, *, mask: bytes = b"") -> bytes:
    """A close frame with that code. mask: 4 bytes where it goes to a server (RFC 6455 section
    5.3).
    """
    payload = code.to_bytes(2, "big")
    if not mask:
        return b"\x88\x02" + payload
    return b"\x88\x82" + mask + unmasked(payload, mask, 0)


def text_frame(text: bytes) -> bytes:
    """A message of our own for a caller, whole and not compressed, up to 64 KiB."""
    size = len(text)
    if size > 125:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81" + bytes([size]) + text


def unmasked(data: bytes, mask: bytes, place: int) -> bytes:
    """Take a mask off (or put it on). place: how many bytes of the payload came before."""
    size = len(data)
    turn = place % 4
    key = (mask[turn:] + mask[:turn]) * (size // 4 + 1)
    number = int.from_bytes(data, "little") ^ int.from_bytes(key[:size], "little")
    return number.to_bytes(size, "little")
