"""What an answer's fields say, the quick way and field by field."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.framing import BAD_CODING, is_reason_safe, sort_fields
from gateway.upstream import Answer, Upstream

LENGTH = (b"Content-Length", b"5")
CHUNKED = (b"Transfer-Encoding", b"chunked")


def answer() -> Answer:
    # The fields are all that matters here; the connection is not asked anything.
    return Answer(cast("Upstream", None), is_head=False)


def flat(fields: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [part for pair in fields for part in pair]


def written(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in fields)


@pytest.mark.parametrize(
    ("fields", "passed", "length", "is_coded"),
    [
        ([], [], None, False),
        ([(b"A", b"1"), LENGTH, (b"b", b"2")], [(b"A", b"1"), (b"b", b"2")], b"5", False),
        ([CHUNKED, (b"A", b"1")], [(b"A", b"1")], None, True),
        ([(b"transfer-encoding", b" Chunked ")], [], None, True),
        ([(b"Connection", b"close"), LENGTH], [], b"5", False),
        ([(b"Connection", b"x-hop, keep-alive"), (b"X-Hop", b"1"), (b"Y", b"2")],
         [(b"Y", b"2")], None, False),
        ([(b"Keep-Alive", b"timeout=5"), (b"TE", b"x"), (b"Upgrade", b"h2")], [], None, False),
        ([(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")],
         [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")], None, False),
    ],
)  # fmt: skip
def test_fields_of_the_hop_stay_behind_and_the_framing_is_noted(fields, passed, length, is_coded):
    found = answer()

    assert sort_fields(found, flat(fields), "1.1") == ""
    assert found.headers.items == passed
    assert found.passed.text() == written(passed)
    assert (found.length, found.is_coded) == (length, is_coded)


def test_type_and_coding_are_noted_and_pass():
    found = answer()
    fields = [(b"Content-Type", b"text/event-stream"), (b"Content-Encoding", b"gzip")]

    assert sort_fields(found, flat(fields), "1.1") == ""
    assert (found.kind, found.coding) == (b"text/event-stream", b"gzip")
    assert found.headers.items == fields
    assert found.passed.text() == written(fields)


def test_two_types_pass_and_the_last_counts():
    found = answer()
    fields = [(b"Content-Type", b"a/b"), (b"Content-Type", b"c/d")]

    assert sort_fields(found, flat(fields), "1.1") == ""
    assert found.kind == b"c/d"
    assert found.headers.items == fields
    assert found.passed.text() == written(fields)


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ([(b"Transfer-Encoding", b"gzip")], "1.1"),
        ([(b"Transfer-Encoding", b"gzip, chunked")], "1.1"),
        ([(b"Transfer-Encoding", b"xchunked")], "1.1"),
        ([CHUNKED, CHUNKED], "1.1"),
        ([CHUNKED], "1.0"),
    ],
)
def test_a_coding_that_is_not_plain_chunked_is_wrong(fields, version):
    assert sort_fields(answer(), flat(fields), version) == BAD_CODING


@pytest.mark.parametrize(
    ("reason", "is_safe"),
    [
        (b"OK", True),
        (b"", True),
        (b"Not\tquite", True),
        (b"Gr\xfcezi", True),
        (b"O\x01K", False),
        (b"\x7f", False),
        (b"a\rb", False),
    ],
)
def test_a_reason_with_control_bytes_is_not_repeated(reason, is_safe):
    assert is_reason_safe(reason) is is_safe
