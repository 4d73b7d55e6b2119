from __future__ import annotations

import socket
import struct

import pytest

from gateway.testing.wire import (
    BrokenOff,
    Wire,
    chunk,
    chunked,
    is_chunked,
    parse_head,
    size_of,
    values,
)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.settimeout(0.1)
    with ours, theirs:
        yield ours, Wire(theirs)


def test_a_head_ends_with_its_empty_line_however_it_comes(pair):
    ours, wire = pair
    ours.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody")

    assert wire.head() == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert b"".join(wire.sized(4)) == b"body"


def test_a_chunked_body_gives_every_raw_byte_and_the_body_in_them(pair):
    ours, wire = pair
    raw = b"3;ext=1\r\nabc\r\n2\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\n"
    ours.sendall(raw)

    pairs = list(wire.chunks())

    assert b"".join(part for part, _ in pairs) == raw
    assert b"".join(piece for _, piece in pairs) == b"abc\r\n"


def test_silence_a_fin_and_a_reset_are_told_apart():
    endings = []
    for how in ("silence", "fin", "reset"):
        listener = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        theirs.settimeout(0.1)
        ours.sendall(b"GET")
        if how == "fin":
            ours.shutdown(socket.SHUT_WR)
        wire = Wire(theirs)
        if how == "reset":
            assert b"".join(wire.sized(3)) == b"GET"
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ours.close()
        with pytest.raises(BrokenOff) as broken:
            wire.head()
        endings.append((broken.value.ending, broken.value.raw))
        for sock in (listener, ours, theirs):
            sock.close()

    assert endings == [("silence", b"GET"), ("fin", b"GET"), ("reset", b"")]


def test_fields_keep_their_order_case_and_duplicates():
    start, fields = parse_head(b"HTTP/1.1 200 OK\r\nB: 1\r\na:2 \r\nB:  3\r\n\r\n")

    assert start == b"HTTP/1.1 200 OK"
    assert fields == [(b"B", b"1"), (b"a", b"2"), (b"B", b"3")]
    assert values(fields, b"b") == [b"1", b"3"]


def test_framing_fields_are_understood():
    assert size_of([(b"Content-Length", b"12")]) == 12
    assert size_of([]) is None
    assert is_chunked([(b"transfer-encoding", b"Chunked")])
    assert size_of([(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"3")]) is None


def test_chunks_are_framed():
    assert chunk(b"a" * 16) == b"10\r\n" + b"a" * 16 + b"\r\n"
    assert chunked(b"ab", b"c") == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
