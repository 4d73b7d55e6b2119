"""What an answer's fields say, the quick way and field by field."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import cast

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.framing import BAD_CODING, _sort_slowly, is_reason_safe, sort_fields
from gateway.upstream import Answer, Upstream

DATE = (b"Date", b"1")
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
        ([DATE], [DATE], None, False),
        ([(b"A", b"1"), LENGTH, DATE, (b"b", b"2")],
         [(b"A", b"1"), DATE, (b"b", b"2")], b"5", False),
        ([CHUNKED, DATE], [DATE], None, True),
        ([(b"transfer-encoding", b" Chunked "), DATE], [DATE], None, True),
        ([(b"Connection", b"close"), DATE, LENGTH], [DATE], b"5", False),
        ([(b"Connection", b"x-hop, keep-alive"), (b"X-Hop", b"1"), DATE], [DATE], None, False),
        ([(b"Keep-Alive", b"timeout=5"), DATE, (b"TE", b"x"), (b"Upgrade", b"h2")],
         [DATE], None, False),
        ([(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), DATE],
         [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), DATE], None, False),
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
    fields = [(b"Content-Type", b"text/event-stream"), (b"Content-Encoding", b"gzip"), DATE]

    assert sort_fields(found, flat(fields), "1.1") == ""
    assert (found.kind, found.coding) == (b"text/event-stream", b"gzip")
    assert found.headers.items == fields
    assert found.passed.text() == written(fields)


def test_two_types_pass_and_the_last_counts():
    found = answer()
    fields = [(b"Content-Type", b"a/b"), (b"Content-Type", b"c/d"), DATE]

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
        b"connection", b"Keep-Alive", b"TE", b"Upgrade", b"Set-Cookie", b"Date", b"DATE",
    ]
)  # fmt: skip
VALUES = st.sampled_from(
    [b"", b"5", b"%b%d%", b"chunked", b"Chunked", b"gzip", b"close", b"keep-alive", b"x-hop",
     b"close, x-hop", b"Close", b"a/b", b"identity", b"date"]
)  # fmt: skip


def undated(items: list[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Give fields without a Date of ours at their end, and whether there is one."""
    is_ours = items[-1][0] == b"Date" and is_now(items[-1][1])
    return (items[:-1] if is_ours else items), is_ours


def is_now(value: bytes) -> bool:
    """Whether that is a Date of this minute."""
    if not value.endswith(b" GMT"):
        return False
    return abs(parsedate_to_datetime(value.decode()).timestamp() - time.time()) < 60


@hypothesis.given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(["1.1", "1.0"]))
def test_the_quick_way_and_the_long_one_come_to_the_same(fields, version):
    quick, long = answer(), answer()

    wrong = sort_fields(quick, flat(fields), version)
    assert wrong == _sort_slowly(long, fields, version)
    if not wrong:
        found = [
            (*undated(each.headers.items), each.length, each.kind, each.coding)
            for each in (quick, long)
        ]
        assert found[0] == found[1]
        for each in (quick, long):
            assert each.passed.text() == written(each.headers.items)
        assert quick.is_coded is long.is_coded


def test_heads_of_one_shape_have_each_their_own_values():
    names = (b"Date", b"Connection", b"X-Hop", b"Content-Length")
    for values, passed in [
        ((b"1", b"close", b"h", b"5"), [(b"Date", b"1"), (b"X-Hop", b"h")]),
        ((b"2", b"x-hop", b"h", b"6"), [(b"Date", b"2")]),
        ((b"3", b"keep-alive", b"i", b"7"), [(b"Date", b"3"), (b"X-Hop", b"i")]),
    ]:
        found = answer()
        assert sort_fields(found, flat(list(zip(names, values, strict=True))), "1.1") == ""
        assert found.headers.items == passed
        assert (found.passed.text(), found.length) == (written(passed), values[3])


# -- Date ------------------------------------------------------------------------------------------

# Heads without a Date that goes on, and what goes on of them besides.
UNDATED: dict[str, tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]] = {
    "nothing": ([], []),
    "usual": ([(b"A", b"1"), LENGTH, (b"b", b"2")], [(b"A", b"1"), (b"b", b"2")]),
    "chunked": ([CHUNKED, (b"A", b"1")], [(b"A", b"1")]),
    "like_it": ([(b"Dated", b"1"), (b"Last-Modified", b"2"), (b"X-Date", b"3")],) * 2,
    "field_by_field": ([(b"A", b"1"), (b"Connection", b"x-hop"), (b"X-Hop", b"1")], [(b"A", b"1")]),
    "of_the_hop": ([(b"Connection", b"date"), (b"Date", b"1"), (b"A", b"1")], [(b"A", b"1")]),
    "two_types": ([(b"Content-Type", b"a/b"), (b"Content-Type", b"c/d")],) * 2,
}


@pytest.mark.parametrize("name", UNDATED)
def test_a_head_without_a_date_gets_one_behind_its_fields(name):
    fields, passed = UNDATED[name]
    for _ in range(2):  # as seen for the first time, and as remembered
        found = answer()
        assert sort_fields(found, flat(fields), "1.1") == ""
        *others, (date, value) = found.headers.items
        assert (others, date) == (passed, b"Date")
        assert is_now(value)
        assert found.passed.text() == written(found.headers.items)
        assert found.passed.has(b"date")


@pytest.mark.parametrize("fields", [[LENGTH, (b"A", b"1")], [(b"Connection", b"b"), LENGTH]])
def test_a_remembered_head_gets_the_date_of_its_own_time(fields):
    def dated() -> bytes:
        found = answer()
        sort_fields(found, flat(fields), "1.1")
        assert found.length == b"5"
        return found.headers.items[-1][1]

    first = dated()
    time.sleep(1.05)
    assert parsedate_to_datetime(dated().decode()) > parsedate_to_datetime(first.decode())


@pytest.mark.parametrize(
    "dates",
    [
        [(b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT")],
        [(b"DATE", b"")],
        [(b"date", b"today")],
        [(b"Date", b"1"), (b"date", b"2")],
    ],
)
@pytest.mark.parametrize("others", [[], [(b"A", b"1")], [(b"Connection", b"x-hop")]])
def test_a_date_that_is_there_stays_as_it_is(dates, others):
    found = answer()

    assert sort_fields(found, flat([*dates, *others]), "1.1") == ""
    assert found.headers.items == [*dates, *(pair for pair in others if pair[0] == b"A")]


@pytest.mark.parametrize("connection", [b"upgrade", b"close"])
def test_a_101_is_not_dated(connection):
    found = answer()
    found.status = 101
    fields = [(b"Upgrade", b"websocket"), (b"Connection", connection), (b"A", b"1")]

    assert sort_fields(found, flat(fields), "1.1") == ""
    assert found.headers.items == [(b"A", b"1")]


# -- reason ----------------------------------------------------------------------------------------


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
