"""Answers that are no valid HTTP: a 502 or a cut, and their connection is not used again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    answers,
    chunk,
    chunked,
    head,
    running_gateway,
    says,
    sized,
)

CHUNKED = (b"Transfer-Encoding", b"chunked")
LENGTH = (b"Content-Length", b"5")
# A whole second answer, which must never be taken for the answer to anybody's request.
POISON = sized(b"POISON")


def ok(fields: bytes, body: bytes = b"hello") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + body


# Nothing may have gone out when these are seen: a 502.
HEADS = {
    "two_lengths": ok(b"Content-Length: 5\r\nContent-Length: 6"),
    "length_twice": ok(b"Content-Length: 5\r\nContent-Length: 5"),
    "list_of_lengths": ok(b"Content-Length: 5, 5"),
    "length_with_plus": ok(b"Content-Length: +5"),
    "length_with_minus": ok(b"Content-Length: -5"),
    "length_in_hex": ok(b"Content-Length: 0x5"),
    "length_with_letter": ok(b"Content-Length: 5x"),
    "huge_length": ok(b"Content-Length: 99999999999999999999999"),
    "empty_length": ok(b"Content-Length:"),
    "length_beside_coding": ok(b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    "coding_beside_length": ok(b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
    "coding_gzip": ok(b"Transfer-Encoding: gzip"),
    "coding_list": ok(b"Transfer-Encoding: gzip, chunked", chunked(b"hello")),
    "coding_chunked_first": ok(b"Transfer-Encoding: chunked, gzip", chunked(b"hello")),
    "coding_chunked_twice": ok(b"Transfer-Encoding: chunked, chunked", chunked(b"hello")),
    "coding_fields_twice": ok(b"Transfer-Encoding: chunked\r\n" * 2 + b"A: b", chunked(b"hello")),
    "coding_unknown": ok(b"Transfer-Encoding: xchunked"),
    "empty_coding": ok(b"Transfer-Encoding:"),
    "coding_in_http_1_0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(b"hello"),
    "folded_field": ok(b"Content-Length: 5\r\nA: b\r\n c"),
    "space_before_colon": ok(b"Content-Length: 5\r\nA : b"),
    "no_colon": ok(b"Content-Length: 5\r\nA"),
    "bare_lf": ok(b"Content-Length: 5\nA: b"),
    "bare_cr": ok(b"Content-Length: 5\r\nA: b\rc"),
    "value_with_nul": ok(b"Content-Length: 5\r\nA: b\x00c"),
    "value_with_control": ok(b"Content-Length: 5\r\nA: b\x01c"),
    "value_with_delete": ok(b"Content-Length: 5\r\nA: b\x7fc"),
    "name_with_space": ok(b"Content-Length: 5\r\nA b: c"),
    "reason_with_control": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 5\r\n\r\nhello",
    "reason_with_cr": b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
    "status_too_long": b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
    "status_not_a_number": b"HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello",
    "status_0": b"HTTP/1.1 000 OK\r\nContent-Length: 5\r\n\r\nhello",
    "version_2": b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "version_0_9": b"hello",
    "not_http": b"220 mail.example.com ESMTP\r\n\r\n",
    "switching_protocols_unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
    b"Connection: Upgrade\r\n\r\nhello",
    "too_many_fields": ok(b"A: b\r\n" * 2000 + b"Content-Length: 5"),
    "head_too_large": ok(b"A: " + b"b" * 600_000 + b"\r\nContent-Length: 5"),
    "a_request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "endless_interim_answers": b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" * 20_000,
}
# The head is fine, and may be out already when these are seen: a 502 or a cut behind what was good.
BODIES = {
    "size_not_hex": (head(200, CHUNKED), b"zz\r\nhello\r\n0\r\n\r\n", b""),
    "size_with_minus": (head(200, CHUNKED), b"-5\r\nhello\r\n0\r\n\r\n", b""),
    "size_with_0x": (head(200, CHUNKED), b"0x5\r\nhello\r\n0\r\n\r\n", b""),
    "size_beyond_64_bits": (head(200, CHUNKED), b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n", b""),
    "size_ended_by_lf": (head(200, CHUNKED), b"5\nhello\r\n0\r\n\r\n", b""),
    "second_size_not_hex": (head(200, CHUNKED), chunk(b"good") + b"zz\r\nhello", b"good"),
    "chunk_ended_by_lf": (head(200, CHUNKED), b"5\r\nhello\n0\r\n\r\n", b"hello"),
    "chunk_longer_than_its_size": (head(200, CHUNKED), b"3\r\nhello\r\n0\r\n\r\n", b"hel"),
    "extension_with_lf": (head(200, CHUNKED), b"5;a\nb\r\nhello\r\n0\r\n\r\n", b""),
}


@pytest.fixture(scope="module")
def gateway(upstream) -> Iterator[RunningGateway]:
    with running_gateway({"providers": {"openai": upstream.provider()}}) as gateway:
        yield gateway
        assert gateway.crashes == []


def ask(gateway: RunningGateway, method: bytes = b"GET") -> RawAnswer:
    with RawCaller(gateway.port, timeout_s=3) as caller:
        caller.request(method, b"/openai/v1/models")
        return caller.answer(to=method)


def next_is_well(upstream: ScriptedUpstream, gateway: RunningGateway) -> bool:
    """Whether the next caller gets its own answer, and on another connection than the last."""
    used = upstream.requests[-1].connection
    upstream.script = answers(b"well")
    answer = ask(gateway)
    return answer.body == b"well" and upstream.requests[-1].connection is not used


@pytest.mark.parametrize("name", HEADS)
def test_a_bad_head_is_a_502_and_its_connection_is_not_used_again(name, upstream, gateway):
    upstream.script = says(HEADS[name])
    upstream.forget()
    answer = ask(gateway)

    assert (answer.status, answer.is_complete) == (502, True)
    assert b"hello" not in answer.raw
    assert len(upstream.requests) == 1
    assert next_is_well(upstream, gateway)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_cut_where_it_turns_bad(name, apart, upstream, gateway):
    start, rest, good = BODIES[name]

    def script(visit: Visit) -> None:
        visit.read()
        if apart:
            visit.send(start)
            visit.pause(0.03)
            visit.send(rest)
        else:
            visit.send(start + rest)

    upstream.script = script
    upstream.forget()
    answer = ask(gateway)

    if answer.status == 502:
        assert answer.is_complete
    else:
        assert (answer.status, answer.is_complete, answer.body) == (200, False, good)
    assert next_is_well(upstream, gateway)


SURPLUS = {
    "behind_a_length": (b"GET", sized(b"hello")),
    "behind_the_last_chunk": (b"GET", head(200, CHUNKED) + chunked(b"hello")),
    "behind_no_content": (b"GET", head(204)),
    "behind_not_modified": (b"GET", head(304, LENGTH)),
    "behind_an_answer_to_head": (b"HEAD", head(200, LENGTH)),
    "behind_an_empty_body": (b"GET", head(200, (b"Content-Length", b"0"))),
}


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
@pytest.mark.parametrize("name", SURPLUS)
def test_surplus_bytes_reach_nobody(name, pause_s, upstream, gateway):
    method, whole = SURPLUS[name]

    def script(visit: Visit) -> None:
        visit.read()
        if pause_s:
            visit.send(whole)
            visit.pause(pause_s)
            visit.send(POISON)
        else:
            visit.send(whole + POISON)

    upstream.script = script
    upstream.forget()
    answer = ask(gateway, method)
    time.sleep(pause_s * 2)

    # Good so far as it goes, or not good at all; with the surplus it is nothing.
    assert answer.status in (int(whole.split(b" ")[1]), 502)
    assert answer.body in (b"", b"hello") or answer.status == 502
    assert b"POISON" not in answer.raw
    assert next_is_well(upstream, gateway)


def test_a_kept_connection_that_spoke_out_of_turn_is_not_used(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(sized(b"first"))
        visit.pause(0.05)
        visit.send(
            b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        visit.fin()

    upstream.script = script
    upstream.forget()
    assert ask(gateway).body == b"first"
    time.sleep(0.15)

    assert next_is_well(upstream, gateway)


def test_interim_answers_are_not_taken_for_the_answer(upstream, gateway):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    upstream.script = says(interim + sized(b"hello"))
    upstream.forget()

    for _ in range(3):
        answer = ask(gateway)
        assert (answer.status, answer.body, answer.get(b"link")) == (200, b"hello", None)
    assert len({request.connection for request in upstream.requests}) == 1
