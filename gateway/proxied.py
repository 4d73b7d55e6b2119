"""The PROXY protocol, versions 1 and 2: what a proxy says of the caller before its first byte.

Specified in HAProxy's doc/proxy-protocol.txt. A receiver must not guess whether the header is
there, so who is to send one is settled before (`server.trusted_proxies`). It is taken off the
socket to the byte, because what follows belongs to the next reader, TLS for one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V1: Final = b"PROXY "
# The longest line of version 1, its end included (section 2.1).
V1_BYTES_MAX: Final = 107
# Signature, version and command, family, length (section 2.2).
V2_START_BYTES: Final = 16
# Addresses take 216 at most; what may follow them (TLVs) is some more. 65,551 could be announced.
V2_BYTES_MAX: Final = 4096

# Family and transport of version 2, with the bytes of an address: TCP over IPv4, over IPv6.
_V2_FAMILIES: Final = {0x11: 4, 0x21: 16}
_V1_FAMILIES: Final = {b"TCP4": 4, b"TCP6": 6}


class BadHeader(Exception):
    """What came is no PROXY header."""


async def read_header(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> str | None:
    """Take the header off the socket; the caller's "ADDRESS:PORT", or None where the proxy speaks
    for itself. Raises `BadHeader`.
    """
    header = b""
    while True:
        await _readable(loop, sock)
        try:
            seen = sock.recv(V2_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            continue  # it was not for us
        if not seen:
            raise BadHeader("closed before its end" if header else "closed without one")
        size = size_of(header + seen)
        wanted = len(seen) if size is None else min(len(seen), size - len(header))
        header += sock.recv(wanted)
        if size is not None and len(header) >= size:
            return caller_of(header)


def size_of(start: bytes) -> int | None:
    """How long the header is that begins so, None if that cannot be known yet; then all of `start`
    belongs to it. Raises `BadHeader`.
    """
    if start[: len(SIGNATURE)] == SIGNATURE[: len(start)]:
        if len(start) < V2_START_BYTES:
            return None
        size = V2_START_BYTES + int.from_bytes(start[14:16])
        if size > V2_BYTES_MAX:
            raise BadHeader(f"of {size} bytes")
        return size
    if start[: len(_V1)] != _V1[: len(start)]:
        raise BadHeader("there is none")
    end = start.find(b"\r\n", 0, V1_BYTES_MAX) + 2
    if end < 2 and len(start) >= V1_BYTES_MAX:
        raise BadHeader("a line without end")
    return end if end >= 2 else None


def caller_of(header: bytes) -> str | None:
    """The caller that a whole header names."""
    return _second(header) if header.startswith(SIGNATURE) else _first(header)


def _first(header: bytes) -> str | None:
    """Version 1: a line such as `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`."""
    words = header.removesuffix(b"\r\n").split(b" ")
    if words[1] == b"UNKNOWN":
        return None
    version = _V1_FAMILIES.get(words[1])
    if version is None or len(words) != 6:
        raise BadHeader("not as version 1 is written")
    try:
        addresses = [ipaddress.ip_address(word.decode("ascii")) for word in words[2:4]]
        ports = [_port(word) for word in words[4:]]
    except ValueError as error:
        raise BadHeader(f"not as version 1 is written: {error}") from None
    if any(address.version != version for address in addresses):
        raise BadHeader("an address of another family")
    return f"{addresses[0]}:{ports[0]}"


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535:
        raise ValueError("a port that is none")
    return int(word)


def _second(header: bytes) -> str | None:
    version, command = header[12] >> 4, header[12] & 0x0F
    if version != 2 or command > 1:
        raise BadHeader(f"version {version}, command {command}")
    size = _V2_FAMILIES.get(header[13])
    if command == 0 or size is None:
        return None  # LOCAL, as for a health check; or a family without addresses of ours
    addresses = header[V2_START_BYTES:]
    if len(addresses) < 2 * size + 4:
        raise BadHeader("too short for its addresses")
    port = int.from_bytes(addresses[2 * size : 2 * size + 2])
    return f"{ipaddress.ip_address(addresses[:size])}:{port}"


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Wait until there is something to read; whoever calls has the deadline."""
    ready = loop.create_future()
    descriptor = sock.fileno()
    loop.add_reader(descriptor, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
