"""Heads as they go over the wire."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from gateway import Attempt, Exchange, Head, Headers, OwnFault
from gateway.message import CHUNKED, CLOSE, answer_head, date, reason_of, request_head
from gateway.testing import attempt_of, exchange

LENGTH = b"Content-Length: 2\r\n"


def asked(*fields: tuple[bytes, bytes], method: bytes = b"POST") -> tuple[Exchange, Attempt]:
    """Give an exchange whose attempt has exactly these fields."""
    made = exchange(method)
    attempt = attempt_of(made)
    attempt.headers = Headers(fields)
    return made, attempt


def request(*fields: tuple[bytes, bytes], edited: bool = True, framing: bytes = LENGTH) -> bytes:
    return request_head(*asked(*fields), framing, edited=edited)


def answer(*fields: tuple[bytes, bytes], edited: bool = True, framing: bytes = LENGTH) -> bytes:
    return answer_head(Head(200, b"OK", Headers(fields)), framing, edited=edited)


START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n"


@pytest.mark.parametrize("edited", [False, True])
def test_a_request_is_its_line_then_host_then_the_fields_then_the_framing(edited):
    head = request((b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3"), edited=edited)

    assert head == START + b"X-B: 1\r\nx-a: 2\r\nX-B: 3\r\n" + LENGTH + b"\r\n"


def test_a_request_without_a_body_has_no_framing():
    made, attempt = asked(method=b"GET")

    assert request_head(made, attempt, b"", edited=False) == (
        b"GET /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"
    )


def test_the_targets_path_goes_up_and_not_the_callers():
    made, attempt = asked()
    attempt.target.path = b"/elsewhere?a=%20b"

    assert request_head(made, attempt, b"", edited=True).startswith(
        b"POST /elsewhere?a=%20b HTTP/1.1\r\n"
    )


@pytest.mark.parametrize(
    "name",
    [
        b"Connection", b"Keep-Alive", b"Proxy-Authenticate", b"Proxy-Authorization",
        b"Proxy-Connection", b"TE", b"Trailer", b"Transfer-Encoding", b"Upgrade",
        b"Host", b"Content-Length", b"Expect", b"TRANSFER-ENCODING", b"content-length",
    ],
)  # fmt: skip
def test_what_is_the_cores_own_in_a_request_is_left_out_when_a_plugin_sets_it(name):
    assert request((name, b"chunked"), (b"X-A", b"1")) == START + b"X-A: 1\r\n" + LENGTH + b"\r\n"


@pytest.mark.parametrize(
    "name",
    [b"Connection", b"Transfer-Encoding", b"Content-Length", b"content-LENGTH"],
)
def test_what_is_the_cores_own_in_an_answer_is_left_out_when_a_plugin_sets_it(name):
    assert answer((name, b"5"), (b"X-A", b"1")) == (
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n" + LENGTH + b"\r\n"
    )


UNSAFE = {
    "line_break_in_a_value": (b"X-A", b"1\r\nX-Evil: 1"),
    "end_of_the_head_in_a_value": (b"X-A", b"1\r\n\r\nGET /evil HTTP/1.1"),
    "cr_in_a_value": (b"X-A", b"1\rX-Evil: 1"),
    "lf_in_a_value": (b"X-A", b"1\nX-Evil: 1"),
    "nul_in_a_value": (b"X-A", b"1\x00"),
    "line_break_in_a_name": (b"X-Evil: 1\r\nX-A", b"1"),
    "lf_in_a_name": (b"X\nA", b"1"),
    "nul_in_a_name": (b"X\x00A", b"1"),
    "line_break_at_the_end": (b"X-A", b"1\r\n"),
}


@pytest.mark.parametrize("write", [request, answer])
@pytest.mark.parametrize("name", UNSAFE)
def test_a_field_that_would_break_a_head_is_a_fault_of_ours(name, write):
    with pytest.raises(OwnFault) as caught:
        write((b"X-Good", b"1"), UNSAFE[name])

    assert (caught.value.status, caught.value.code) == (500, "bad_field")
    assert "plugin" in caught.value.detail
    assert "Evil" not in caught.value.message + caught.value.detail


def test_two_broken_fields_do_not_make_up_for_each_other():
    with pytest.raises(OwnFault):
        request((b"X-A", b"1\r\n2"), (b"X-B", b"1"))
    with pytest.raises(OwnFault):
        request((b"X-A", b"1\r2"), (b"X-B", b"1\n2"))


@pytest.mark.parametrize("write", [request, answer])
def test_bytes_beyond_ascii_pass_as_they_are(write):
    assert "X-A: \u00e4\u2028".encode() in write((b"X-A", "\u00e4\u2028".encode()))
    assert b"X-A: \xff\t\xfe\r\n" in write((b"X-A", b"\xff\t\xfe"))


def test_an_answer_is_its_line_then_the_fields_then_the_framing():
    head = answer((b"Set-Cookie", b"a"), (b"set-cookie", b"b"), edited=False, framing=CHUNKED)

    assert head == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, b"OK", b"HTTP/1.1 200 OK\r\n"),
        (200, b"Fine", b"HTTP/1.1 200 Fine\r\n"),
        (200, b"", b"HTTP/1.1 200 \r\n"),  # RFC 9112 section 4: the space stays
        (529, b"Overloaded", b"HTTP/1.1 529 Overloaded\r\n"),
        (418, "\u00e4".encode(), "HTTP/1.1 418 \u00e4\r\n".encode()),
    ],
)
def test_status_and_reason_are_those_of_the_answer(status, reason, line):
    for _ in range(2):
        assert answer_head(Head(status, reason, Headers()), CLOSE, edited=False) == (
            line + b"Connection: close\r\n\r\n"
        )


def test_any_number_of_reasons_is_written_right():
    """Lines are remembered, but an upstream may think of a new reason every time."""
    for number in range(600):
        reason = b"Reason %d" % number
        head = answer_head(Head(200, reason, Headers()), b"", edited=False)
        assert head == b"HTTP/1.1 200 %b\r\n\r\n" % reason


def test_to_write_a_head_changes_nothing():
    made, attempt = asked((b"Host", b"a"), (b"X-A", b"1"))
    request_head(made, attempt, LENGTH, edited=True)
    head = Head(200, b"OK", Headers([(b"Content-Length", b"5")]))
    answer_head(head, LENGTH, edited=True)

    assert attempt.headers.items == [(b"Host", b"a"), (b"X-A", b"1")]
    assert head.headers.items == [(b"Content-Length", b"5")]


def test_the_date_is_now_in_the_one_form_that_is_written():
    written = date()

    assert abs(parsedate_to_datetime(written.decode()).timestamp() - time.time()) < 2
    assert written.endswith(b" GMT")
    assert len(written) == len(b"Sun, 06 Nov 1994 08:49:37 GMT")


def test_the_date_is_made_once_a_second():
    def same_twice() -> bool:
        return date() is date()

    assert same_twice() or same_twice()  # a second may turn between two calls, but not twice
    first = date()
    time.sleep(1.05)
    assert date() != first


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, b"OK"), (404, b"Not Found"), (504, b"Gateway Timeout"), (529, b""), (799, b"")],
)
def test_our_own_answers_have_the_registered_reason(status, reason):
    assert reason_of(status) == reason
