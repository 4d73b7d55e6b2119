"""What an answer's fields say, the quick way and field by field."""

from __future__ import annotations

from typing import cast

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.framing import BAD_CODING, _sort_slowly, is_reason_safe, sort_fields
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


NAMES = st.sampled_from(
    [
        b"A", b"x-hop", b"X-100%", b"Content-Length", b"content-type", b"Content-Type",
        b"Content-Encoding", b"Transfer-Encoding", b"transfer-encoding", b"Connection",
        b"connection", b"Keep-Alive", b"TE", b"Upgrade", b"Set-Cookie",
    ]
)  # fmt: skip
VALUES = st.sampled_from(
    [b"", b"5", b"%b%d%", b"chunked", b"Chunked", b"gzip", b"close", b"keep-alive", b"x-hop",
     b"close, x-hop", b"Close", b"a/b", b"identity"]
)  # fmt: skip


@hypothesis.given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(["1.1", "1.0"]))
def test_the_quick_way_and_the_long_one_come_to_the_same(fields, version):
    quick, long = answer(), answer()

    wrong = sort_fields(quick, flat(fields), version)
    assert wrong == _sort_slowly(long, fields, version)
    if not wrong:
        found = [
            (each.headers.items, each.passed.text(), each.length, each.kind, each.coding)
            for each in (quick, long)
        ]
        assert found[0] == found[1]
        assert quick.is_coded is long.is_coded


def test_heads_of_one_shape_have_each_their_own_values():
    names = (b"X-A", b"Connection", b"X-Hop", b"Content-Length")
    for values, passed in [
        ((b"1", b"close", b"h", b"5"), [(b"X-A", b"1"), (b"X-Hop", b"h")]),
        ((b"2", b"x-hop", b"h", b"6"), [(b"X-A", b"2")]),
        ((b"3", b"keep-alive", b"i", b"7"), [(b"X-A", b"3"), (b"X-Hop", b"i")]),
    ]:
        found = answer()
        assert sort_fields(found, flat(list(zip(names, values, strict=True))), "1.1") == ""
        assert found.headers.items == passed
        assert (found.passed.text(), found.length) == (written(passed), values[3])


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
