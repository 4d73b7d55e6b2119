"""WebSocket frames written and read by hand, for both ends of a test (RFC 6455 section 5.2)."""

from __future__ import annotations

import zlib
from itertools import cycle

from gateway.handshake import accept_of
from gateway.testing import Visit, Wire

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x01\x7f\x80\xfe"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ASKING = (
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Key", KEY),
    (b"Sec-WebSocket-Version", b"13"),
)


def frame(
    opcode: int, payload: bytes = b"", *, mask: bytes = b"", fin: bool = True, packed: bool = False
) -> bytes:
    first = opcode | (128 if fin else 0) | (64 if packed else 0)
    size = len(payload)
    second = 128 if mask else 0
    if size < 126:
        head = bytes([first, second | size])
    elif size < 65536:
        head = bytes([first, second | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, second | 127]) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))
    return head + mask + payload


def bye(code: int = 1000, mask: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big"), mask=mask)


def read_frame(wire: Wire) -> tuple[int, bytes]:
    """Read a frame off a wire; its opcode and its payload, unmasked."""
    first, second = b"".join(wire.sized(2))
    size = second & 127
    if size > 125:
        size = int.from_bytes(b"".join(wire.sized(8 if size == 127 else 2)), "big")
    mask = b"".join(wire.sized(4)) if second & 128 else b"\0"
    payload = b"".join(wire.sized(size))
    return first & 15, bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))


def packed(message: bytes, packer: zlib._Compress) -> bytes:
    """Compress a message as RFC 7692 section 7.2.1 says."""
    return (packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def switch(visit: Visit, *fields: tuple[bytes, bytes], accept: bytes | None = None) -> bytes:
    """Give the head of the 101 that answers a visit's request."""
    key = visit.request.get(b"sec-websocket-key") or b""
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    lines.append(b"Sec-WebSocket-Accept: " + (accept or accept_of(key)))
    lines += [b"%b: %b" % field for field in fields]
    return b"\r\n".join([*lines, b"", b""])
