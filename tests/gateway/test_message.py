"""Heads as they go over the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway import Attempt, Head, Headers, OwnFault, Target
from gateway.message import CHUNKED, CLOSE, answer_head, reason_of, request_head
from gateway.shapes import Passed, Shapes
from gateway.testing import attempt_of, exchange

LENGTH = b"Content-Length: 2\r\n"


# Fields stand in a template of their shape, or were sorted out one by one.
SHAPES = Shapes(0, lambda name: None)


def came(*fields: tuple[bytes, bytes], one_by_one: bool = False) -> Passed:
    """Give fields as they came from the other side."""
    if one_by_one:
        return Passed.only(list(fields))
    flat = [part for pair in fields for part in pair]
    values = tuple(flat[1::2])
    return Passed(flat, values, SHAPES.work_out(tuple(flat[::2])))


def asked(*fields: tuple[bytes, bytes], passed: Passed | None = None) -> Attempt:
    """Give an attempt that a plugin gave these fields, or one with fields as they came."""
    made = exchange()
    attempt = attempt_of(made)
    attempt = Attempt(0, attempt.target, passed or came((b"X-Came", b"1")), None, 0)
    if passed is None:
        attempt.headers = Headers(fields)
    return attempt


def request(*fields: tuple[bytes, bytes]) -> bytes:
    return request_head(b"POST", asked(*fields), LENGTH)


def answer(*fields: tuple[bytes, bytes]) -> bytes:
    return answer_head(Head(200, b"OK", Headers(fields)), LENGTH)


START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n"


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("is_edited", [False, True])
def test_a_request_is_its_line_then_host_then_the_fields_then_the_framing(is_edited, one_by_one):
    fields = ((b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3"))
    attempt = asked(*fields) if is_edited else asked(passed=came(*fields, one_by_one=one_by_one))

    assert request_head(b"POST", attempt, LENGTH) == (
        START + b"X-B: 1\r\nx-a: 2\r\nX-B: 3\r\n" + LENGTH + b"\r\n"
    )


def test_a_request_without_a_body_has_no_framing():
    assert request_head(b"GET", asked(), b"") == (
        b"GET /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"
    )


def test_the_targets_path_goes_up_and_not_the_callers():
    there = attempt_of(exchange()).target
    elsewhere = Target(there.provider, there.origin, b"/elsewhere?a=%20b")
    attempt = Attempt(0, elsewhere, came(), None, 0)

    assert request_head(b"POST", attempt, b"").startswith(b"POST /elsewhere?a=%20b HTTP/1.1\r\n")


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


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_answer_is_its_line_then_the_fields_then_the_framing(is_ours):
    fields = ((b"Set-Cookie", b"a"), (b"set-cookie", b"b"))
    head = Head(200, b"OK", Headers(fields) if is_ours else Headers.over(came(*fields)))

    assert answer_head(head, CHUNKED) == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    )


# -- fields that came, and what plugins make of them -----------------------------------------------

CAME = ((b"X-B", b"1"), (b"x-100%", b"50%b"), (b"X-Odd", b"a\t\xff"), (b"X-B", b"3"))
CAME_TEXT = b"X-B: 1\r\nx-100%: 50%b\r\nX-Odd: a\t\xff\r\nX-B: 3\r\n"
GOOD = (b"X-Good", b"1")


def up(passed: Passed, edit: Callable[[Headers], None]) -> bytes:
    """Give the fields of a request after an edit of those that came."""
    attempt = asked(passed=passed)
    edit(attempt.headers)
    return request_head(b"POST", attempt, LENGTH).removeprefix(START).removesuffix(LENGTH + b"\r\n")


def down(passed: Passed, edit: Callable[[Headers], None]) -> bytes:
    """Give the fields of an answer after an edit of those that came."""
    head = Head(200, b"OK", Headers.over(passed))
    edit(head.headers)
    text = answer_head(head, LENGTH).removeprefix(b"HTTP/1.1 200 OK\r\n")
    return text.removesuffix(LENGTH + b"\r\n")


both_ways = pytest.mark.parametrize("way", [up, down])


@both_ways
@pytest.mark.parametrize("one_by_one", [False, True])
def test_fields_that_came_go_on_as_they_came(way, one_by_one):
    passed = came(*CAME, one_by_one=one_by_one)

    assert way(passed, lambda headers: None) == CAME_TEXT


@both_ways
@pytest.mark.parametrize("one_by_one", [False, True])
def test_fields_that_are_added_stand_behind_those_that_came(way, one_by_one):
    def edit(headers: Headers) -> None:
        headers.add(b"X-New", b"1")
        headers.set(b"x-newer", b"2")

    passed = came(*CAME, one_by_one=one_by_one)
    assert way(passed, edit) == CAME_TEXT + b"X-New: 1\r\nx-newer: 2\r\n"


@both_ways
@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda headers: headers.set(b"x-a", b"9"), b"X-B: 1\r\nx-a: 9\r\nX-C: 3\r\n"),
        (lambda headers: headers.drop(b"x-b"), b"x-a: 2\r\nX-C: 3\r\n"),
        (lambda headers: headers.drop(b"x-c"), b"X-B: 1\r\nx-a: 2\r\n"),
        (lambda headers: headers.items.clear(), b""),
        (lambda headers: headers.items.reverse(), b"X-C: 3\r\nx-a: 2\r\nX-B: 1\r\n"),
        (
            lambda headers: headers.items.insert(0, GOOD),
            b"X-Good: 1\r\nX-B: 1\r\nx-a: 2\r\nX-C: 3\r\n",
        ),
        (
            lambda headers: headers.items.insert(1, GOOD),
            b"X-B: 1\r\nX-Good: 1\r\nx-a: 2\r\nX-C: 3\r\n",
        ),
    ],
)
def test_fields_that_came_can_be_changed_moved_and_left_out(way, edit, text):
    assert way(came((b"X-B", b"1"), (b"x-a", b"2"), (b"X-C", b"3")), edit) == text


@both_ways
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", UNSAFE)
def test_a_field_that_breaks_a_head_is_found_wherever_it_is_put(name, place, way):
    passed = came((b"X-B", b"1"), (b"X-C", b"3"))

    with pytest.raises(OwnFault):
        way(passed, lambda headers: headers.items.insert(place, UNSAFE[name]))
    with pytest.raises(OwnFault):
        way(passed, lambda headers: headers.set(b"X-B", b"1\r\nX-Evil: 1"))


@both_ways
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_the_cores_own_is_left_out_wherever_it_is_put(place, way):
    fields = (b"connection", b"x-b"), (b"Content-Length", b"5")
    for field in fields:
        passed = came((b"X-B", b"1"), (b"X-C", b"3"))
        text = way(passed, lambda headers, field=field: headers.items.insert(place, field))
        assert text == b"X-B: 1\r\nX-C: 3\r\n"


@both_ways
def test_an_edit_does_not_change_what_came(way):
    passed = came((b"X-B", b"1"), (b"X-C", b"3"))

    for _ in range(2):
        text = way(passed, lambda headers: headers.add(b"X-New", b"1"))
        assert text == b"X-B: 1\r\nX-C: 3\r\nX-New: 1\r\n"
        assert passed.fields == [(b"X-B", b"1"), (b"X-C", b"3")]


# -- status, reason --------------------------------------------------------------------------------


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
        assert answer_head(Head(status, reason, Headers()), CLOSE) == (
            line + b"Connection: close\r\n\r\n"
        )


def test_any_number_of_reasons_is_written_right():
    """Lines are remembered, but an upstream may think of a new reason every time."""
    for number in range(600):
        reason = b"Reason %d" % number
        head = answer_head(Head(200, reason, Headers()), b"")
        assert head == b"HTTP/1.1 200 %b\r\n\r\n" % reason


def test_to_write_a_head_changes_nothing():
    attempt = asked((b"Host", b"a"), (b"X-A", b"1"))
    request_head(b"POST", attempt, LENGTH)
    head = Head(200, b"OK", Headers([(b"Content-Length", b"5")]))
    answer_head(head, LENGTH)

    assert attempt.headers.items == [(b"Host", b"a"), (b"X-A", b"1")]
    assert head.headers.items == [(b"Content-Length", b"5")]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, b"OK"), (404, b"Not Found"), (504, b"Gateway Timeout"), (529, b""), (799, b"")],
)
def test_our_own_answers_have_the_registered_reason(status, reason):
    assert reason_of(status) == reason
