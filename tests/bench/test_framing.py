from __future__ import annotations

import pytest

from bench.framing import BY_CHUNKS, BY_CLOSE, Body, framing_of

CHUNKED = b"5\r\nhello\r\n0001\r\n \r\n5\r\nworld\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n", 12),
        (b"POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n", 0),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", BY_CHUNKS),
        (b"POST / HTTP/1.1\r\nx-content-length: 3\r\n\r\n", BY_CLOSE),
    ],
)
def test_the_head_tells_how_long_the_body_is(head, expected):
    assert framing_of(head, BY_CLOSE) == expected


@pytest.mark.parametrize("cut", range(len(CHUNKED)))
def test_chunks_are_read_wherever_they_are_split(cut):
    body = Body(BY_CHUNKS)
    first, early = body.feed(CHUNKED[:cut])
    assert (body.done, early) == (False, b"")
    second, rest = body.feed(CHUNKED[cut:] + b"next")
    assert (first + second, rest, body.done) == (b"hello world", b"next", True)


def test_a_sized_body_leaves_what_follows_it():
    body = Body(3)
    assert body.feed(b"ab") == (b"ab", b"")
    assert not body.done
    assert body.feed(b"cde") == (b"c", b"de")
    assert body.done


@pytest.mark.parametrize("bad", [b"five\r\nhello\r\n", b"00\r\n\r\n"])
def test_what_is_no_chunk_is_refused(bad):
    with pytest.raises(ValueError):
        Body(BY_CHUNKS).feed(bad)
