"""PROXY headers, to the byte."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from gateway.proxied import SIGNATURE, V1_BYTES_MAX, BadHeader, caller_of, read_header, size_of

TCP4 = (
    socket.inet_aton("203.0.113.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 80)
)
TCP6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "::1")
    + struct.pack("!HH", 4711, 80)
)


def second(command: int, family: int, rest: bytes, *, version: int = 2) -> bytes:
    start = SIGNATURE + bytes([version << 4 | command, family])
    return start + struct.pack("!H", len(rest)) + rest


WHOLE = [
    (b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n", "203.0.113.7:4711"),
    (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7:4711"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (second(1, 0x11, TCP4), "203.0.113.7:4711"),
    (second(1, 0x21, TCP6), "2001:db8::7:4711"),
    (second(1, 0x11, TCP4 + b"\x04\x00\x02ab"), "203.0.113.7:4711"),  # a TLV behind it
    (second(0, 0x00, b""), None),  # LOCAL
    (second(0, 0x11, TCP4), None),
    (second(1, 0x00, b""), None),  # UNSPEC
    (second(1, 0x31, b"\0" * 216), None),  # a Unix socket on the proxy's side
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"proxy TCP4 203.0.113.7 192.0.2.1 4711 80\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80 1\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 4711 80\r\n",
    b"PROXY TCP4 203.0.113.999 192.0.2.1 4711 80\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 80\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 80\r\n",
    b"PROXY UDP4 203.0.113.7 192.0.2.1 4711 80\r\n",
    b"PROXY TCP4 203.0.113.7 \xff 4711 80\r\n",
    b"PROXY \r\n",
    b"PROXY " + b"x" * V1_BYTES_MAX,
    second(1, 0x11, TCP4[:11]),
    second(1, 0x11, TCP4, version=1),
    second(2, 0x11, TCP4),
    second(1, 0x11, b"x" * 5000),
]


@pytest.mark.parametrize(("header", "expected"), WHOLE)
def test_a_header_names_the_caller(header, expected):
    assert size_of(header + b"GET /") == len(header)
    assert caller_of(header) == expected


@pytest.mark.parametrize(("header", "expected"), WHOLE)
def test_no_beginning_of_a_header_is_taken_for_another(header, expected):
    assert {size_of(header[:end]) for end in range(1, len(header))} <= {None, len(header)}


def taken(*pieces: bytes) -> tuple[str | None, bytes]:
    """Send the pieces, and give the caller that was named with what is left on the socket."""

    async def story() -> tuple[str | None, bytes]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            reading = asyncio.ensure_future(read_header(asyncio.get_running_loop(), ours))
            for piece in pieces:
                theirs.sendall(piece)
                await asyncio.sleep(0.001)
            theirs.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(5):
                found = await reading
            return found, ours.recv(65536)

    return asyncio.run(story())


@pytest.mark.parametrize(("header", "expected"), WHOLE)
def test_what_follows_a_header_stays_on_the_socket(header, expected):
    assert taken(header + b"\x16\x03\x01rest") == (expected, b"\x16\x03\x01rest")


@pytest.mark.parametrize(("header", "expected"), [WHOLE[0], WHOLE[4]])
def test_a_header_may_come_byte_by_byte(header, expected):
    pieces = [header[at : at + 1] for at in range(len(header))]
    assert taken(*pieces, b"rest") == (expected, b"rest")


@pytest.mark.parametrize("header", BAD)
def test_what_is_no_header_is_refused(header):
    with pytest.raises(BadHeader):
        taken(header)


@pytest.mark.parametrize("header", [b"", b"PROXY TCP4", SIGNATURE, SIGNATURE[:3]])
def test_a_header_that_breaks_off_is_refused(header):
    with pytest.raises(BadHeader, match="closed"):
        taken(header)
