"""Requests that must not reach an upstream: a clear answer, and what follows them is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from gateway.testing import (
    BrokenOff,
    RawCaller,
    RunningGateway,
    answers,
    exchange_bytes,
    running_gateway,
    sized,
)
from tests.sizes import Sizes

HEADER_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 100_000
# What an attacker would have the gateway take for a request of its own, behind the bad one.
SMUGGLED = b"GET /openai/v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIMITS = {"body_bytes_max": BODY_BYTES_MAX, "header_timeout": "1s", "body_rate_grace": "1s"}


def post(fields: bytes, body: bytes = b"hello") -> bytes:
    return b"POST /openai/v1/x HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n\r\n" + body


def get(start: bytes = b"GET /openai/v1/x HTTP/1.1", fields: bytes = b"Host: localhost") -> bytes:
    return start + b"\r\n" + fields + b"\r\n\r\n"


def chunky(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body)


LENGTHS = {
    "length_beside_coding": b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    "coding_beside_length": b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    "length_twice": b"Content-Length: 5\r\nContent-Length: 5",
    "two_lengths": b"Content-Length: 5\r\nContent-Length: 6",
    "list_of_lengths": b"Content-Length: 5, 5",
    "length_with_plus": b"Content-Length: +5",
    "length_with_minus": b"Content-Length: -5",
    "length_in_hex": b"Content-Length: 0x5",
    "length_with_letter": b"Content-Length: 5x",
    "length_with_underscore": b"Content-Length: 0_5",
    "length_with_space_inside": b"Content-Length: 5 5",
    "length_with_fraction": b"Content-Length: 5.0",
    "length_in_other_digits": "Content-Length: \uff15".encode(),
    "empty_length": b"Content-Length:",
    "huge_length": b"Content-Length: 99999999999999999999999",
}
CODINGS = {
    "coding_gzip": b"Transfer-Encoding: gzip",
    "coding_list": b"Transfer-Encoding: gzip, chunked",
    "coding_chunked_first": b"Transfer-Encoding: chunked, gzip",
    "coding_chunked_twice": b"Transfer-Encoding: chunked, chunked",
    "coding_fields_twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "coding_identity": b"Transfer-Encoding: identity",
    "coding_with_parameter": b"Transfer-Encoding: chunked;q=1",
    "coding_quoted": b'Transfer-Encoding: "chunked"',
    "coding_with_prefix": b"Transfer-Encoding: xchunked",
    "coding_with_control": b"Transfer-Encoding: \x0bchunked",
    "empty_coding": b"Transfer-Encoding:",
}
CHUNKS = {
    "size_not_hex": b"zz\r\nhello\r\n0\r\n\r\n",
    "size_with_minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "size_with_plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "size_with_0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size_with_underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "size_with_space_before": b" 5\r\nhello\r\n0\r\n\r\n",
    "size_empty": b"\r\nhello\r\n0\r\n\r\n",
    "size_beyond_64_bits": b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n",
    "size_ended_by_lf": b"5\nhello\r\n0\r\n\r\n",
    "extension_with_lf": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "chunk_ended_by_lf": b"5\r\nhello\n0\r\n\r\n",
    "chunk_longer_than_its_size": b"3\r\nhello\r\n0\r\n\r\n",
    "last_chunk_ended_by_lf": b"5\r\nhello\r\n0\r\n\n",
    "trailer_without_colon": b"5\r\nhello\r\n0\r\nbad\r\n\r\n",
}
LINES = {
    "bare_lf_everywhere": b"GET /openai/v1/x HTTP/1.1\nHost: localhost\n\n",
    "bare_lf_behind_the_request_line": b"GET /openai/v1/x HTTP/1.1\nHost: localhost\r\n\r\n",
    "bare_lf_behind_a_field": get(fields=b"Host: localhost\nA: b"),
    "bare_cr_in_a_field": get(fields=b"Host: localhost\r\nA: b\rc"),
    "folded_field": get(fields=b"Host: localhost\r\nA: b\r\n c"),
    "folded_by_tab": get(fields=b"Host: localhost\r\nA: b\r\n\tc"),
    "folded_first_field": get(fields=b" Host: localhost"),
    "space_before_colon": get(fields=b"Host: localhost\r\nA : b"),
    "no_colon": get(fields=b"Host: localhost\r\nA"),
    "empty_name": get(fields=b"Host: localhost\r\n: b"),
    "name_with_bracket": get(fields=b"Host: localhost\r\nA(: b"),
    "name_with_control": get(fields=b"Host: localhost\r\nA\x01: b"),
    "name_not_ascii": get(fields="Host: localhost\r\n\u00e4: b".encode()),
    "value_with_nul": get(fields=b"Host: localhost\r\nA: b\x00c"),
    "value_with_control": get(fields=b"Host: localhost\r\nA: b\x01c"),
    "value_with_escape": get(fields=b"Host: localhost\r\nA: \x1b[31m"),
    "value_with_delete": get(fields=b"Host: localhost\r\nA: b\x7fc"),
    "target_with_space": get(b"GET /openai/v1/x y HTTP/1.1"),
    "target_with_tab": get(b"GET /openai/v1/x\ty HTTP/1.1"),
    "target_with_control": get(b"GET /openai/v1/\x01 HTTP/1.1"),
    "target_with_nul": get(b"GET /openai/v1/\x00 HTTP/1.1"),
    "target_with_delete": get(b"GET /openai/v1/\x7f HTTP/1.1"),
    "target_with_fragment": get(b"GET /openai/v1/x#y HTTP/1.1"),
    "tab_for_space": get(b"GET\t/openai/v1/x HTTP/1.1"),
    "no_target": get(b"GET HTTP/1.1"),
    "target_without_slash": get(b"GET openai/v1/x HTTP/1.1"),
    "absolute_form_in_tls": get(b"GET https://localhost/openai/v1/x HTTP/1.1"),
    "absolute_form_elsewhere": get(b"GET http://example.com/openai/v1/x HTTP/1.1"),
    "connect": get(b"CONNECT localhost:443 HTTP/1.1"),
    "connect_to_a_path": get(b"CONNECT /openai/v1/x HTTP/1.1"),
    "options_about_everything": get(b"OPTIONS * HTTP/1.1"),
    "unknown_method": get(b"NONSENSE /openai/v1/x HTTP/1.1"),
    "method_in_small_letters": get(b"get /openai/v1/x HTTP/1.1"),
    "version_0_9": b"GET /openai/v1/x\r\n\r\n",
    "version_0_9_with_fields": get(b"GET /openai/v1/x"),
    "version_1_2": get(b"GET /openai/v1/x HTTP/1.2"),
    "version_2": get(b"GET /openai/v1/x HTTP/2.0"),
    "version_10": get(b"GET /openai/v1/x HTTP/1.10"),
    "version_in_small_letters": get(b"GET /openai/v1/x http/1.1"),
    "preface_of_http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "client_hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
}
HOSTS = {
    "no_host": get(fields=b"A: b"),
    "host_twice": get(fields=b"Host: localhost\r\nHost: localhost"),
    "two_hosts": get(fields=b"Host: localhost\r\nHost: example.com"),
    "empty_host": get(fields=b"Host:"),
    "host_with_space": get(fields=b"Host: local host"),
    "host_with_slash": get(fields=b"Host: localhost/x"),
    "host_with_question_mark": get(fields=b"Host: localhost?x"),
    "host_with_hash": get(fields=b"Host: localhost#x"),
    "host_with_user": get(fields=b"Host: me@localhost"),
    "list_of_hosts": get(fields=b"Host: localhost, localhost"),
    "host_with_letters_for_port": get(fields=b"Host: localhost:http"),
    "host_with_two_ports": get(fields=b"Host: localhost:80:80"),
    "host_with_bracket_open": get(fields=b"Host: [::1"),
    "host_not_ascii": get(fields="Host: l\u00f6calhost".encode()),
    "host_with_percent": get(fields=b"Host: local%68ost"),
    "host_with_backslash": get(fields=b"Host: localhost\\x"),
}
OTHERS = {
    "too_many_fields": get(fields=b"Host: localhost\r\n" + b"A: b\r\n" * 129 + b"C: d"),
    "head_too_large": get(fields=b"Host: localhost\r\nA: " + b"b" * HEADER_BYTES_MAX),
    "target_too_large": get(b"GET /openai/v1/" + b"x" * HEADER_BYTES_MAX + b" HTTP/1.1"),
    "one_endless_field": b"GET / HTTP/1.1\r\nA: " + b"b" * HEADER_BYTES_MAX * 2,
    "unknown_expectation": get(fields=b"Host: localhost\r\nExpect: 200-ok"),
    "body_too_large": post(b"Content-Length: %d" % (BODY_BYTES_MAX + 1), b""),
    "chunks_too_large": chunky(b"1ffff\r\n" + b"x" * 0x1FFFF + b"\r\n0\r\n\r\n"),
    "trailers_too_large": chunky(b"0\r\n" + b"A: bbbbbbbbbbbbbbbbbbbbb\r\n" * 4000 + b"\r\n"),
    "coding_in_http_1_0": b"POST /openai/v1/x HTTP/1.0\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
BAD = {
    **{name: post(fields) for name, fields in {**LENGTHS, **CODINGS}.items()},
    **{name: chunky(body) for name, body in CHUNKS.items()},
    **LINES,
    **HOSTS,
    **OTHERS,
}
# Where it is not a plain 400; several where good servers differ.
STATUSES = {
    "huge_length": {400, 413},
    "coding_gzip": {400, 501},
    "coding_list": {400, 501},
    "coding_chunked_first": {400, 501},
    "coding_chunked_twice": {400, 501},
    "coding_fields_twice": {400, 501},
    "coding_identity": {400, 501},
    "coding_with_parameter": {400, 501},
    "coding_quoted": {400, 501},
    "coding_with_prefix": {400, 501},
    "coding_with_control": {400, 501},
    "empty_coding": {400, 501},
    "absolute_form_elsewhere": {403},
    "connect": {400, 501},
    "connect_to_a_path": {400, 501},
    "unknown_method": {400, 405, 501},
    "method_in_small_letters": {400, 405, 501},
    "version_0_9": {400, 505},
    "version_0_9_with_fields": {400, 505},
    "version_1_2": {400, 505},
    "version_2": {505},
    "version_10": {400, 505},
    "preface_of_http_2": {400, 505},
    "too_many_fields": {431},
    "head_too_large": {431},
    "target_too_large": {414, 431},
    "one_endless_field": {431},
    "unknown_expectation": {417},
    "body_too_large": {413},
    "chunks_too_large": {413},
    "trailers_too_large": {400, 431},
}


@pytest.fixture(scope="module")
def gateway(upstream) -> Iterator[RunningGateway]:
    with running_gateway(
        {"providers": {"openai": upstream.provider()}, "limits": LIMITS}
    ) as gateway:
        yield gateway
        assert gateway.crashes == []


def check(raw: bytes, statuses: set[int]) -> None:
    """Hold an answer against what a refusal is: one, clear, whole, closed, and silent about us."""
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = head.lower()
    assert int(raw.split(b" ")[1]) in statuses, raw
    assert json.loads(body)["error"]["message"]
    assert b"\r\nconnection: close" in fields
    assert b"\r\nserver:" not in fields
    assert b"content-length: %d" % len(body) in fields


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_reaches_nobody(name, upstream, gateway):
    upstream.forget()
    raw = exchange_bytes(gateway.port, BAD[name] + SMUGGLED, timeout_s=3)

    check(raw, STATUSES.get(name, {400}))
    assert [bytes(request.raw) for request in upstream.requests] == []


@pytest.mark.parametrize("name", [name for name in BAD if name not in OTHERS])
def test_a_bad_request_is_refused_behind_a_good_one_too(name, upstream, gateway):
    upstream.forget()
    with RawCaller(gateway.port, timeout_s=3) as caller:
        caller.request(b"GET", b"/openai/v1/models")
        assert caller.answer().status == 200
        caller.send(BAD[name] + SMUGGLED)
        raw = caller.everything()

    check(raw, STATUSES.get(name, {400}))
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("name", [name for name in BAD if name not in OTHERS])
def test_a_bad_request_is_refused_byte_by_byte_too(name, upstream, gateway):
    upstream.forget()
    with RawCaller(gateway.port, timeout_s=3) as caller:
        try:
            for byte in BAD[name]:
                caller.send(bytes((byte,)))
        except ConnectionError:
            pass  # refused before it was all sent
        raw = caller.everything()

    check(raw, STATUSES.get(name, {400}))
    # A body that turns bad on its way was on its way; it must not have arrived as a whole one.
    assert not any(request.is_whole for request in upstream.requests)
    assert all(name in CHUNKS for _ in upstream.requests)


@pytest.mark.parametrize("name", CHUNKS)
def test_a_body_that_turns_bad_on_its_way_is_not_completed(name, upstream, gateway):
    upstream.forget()
    with RawCaller(gateway.port, timeout_s=3) as caller:
        caller.send(chunky(b"3\r\nabc\r\n"))
        request = upstream.wait_for_requests(1)[0]
        caller.send(CHUNKS[name] + SMUGGLED)
        raw = caller.everything()
        request.connection.wait_gone(2)

    check(raw, {400})
    assert not request.is_whole
    assert len(upstream.requests) == 1


def test_a_head_that_does_not_arrive_in_time_is_refused(upstream, gateway):
    upstream.forget()
    began = time.monotonic()
    with RawCaller(gateway.port) as caller:
        caller.send(b"GET /openai/v1/x HTTP/1.1\r\nHost: loc")
        for byte in b"alhost":
            time.sleep(0.25)  # to trickle does not buy time
            caller.send(bytes((byte,)))
            if time.monotonic() - began > 0.8:
                break
        raw = caller.everything()

    check(raw, {408})
    assert 0.9 < time.monotonic() - began < 2.5
    assert upstream.requests == []


def test_a_body_that_trickles_in_is_refused(upstream, gateway):
    upstream.forget()
    began = time.monotonic()
    with RawCaller(gateway.port) as caller:
        caller.send(post(b"Content-Length: 1000", b"x"))
        raw = caller.everything()

    check(raw, {408})
    assert 0.9 < time.monotonic() - began < 3
    assert not any(request.is_whole for request in upstream.requests)


def test_connections_that_say_nothing_are_closed_and_keep_nobody_out(gateway, sizes: Sizes):
    time.sleep(0.2)
    before = gateway.sockets()
    callers = [RawCaller(gateway.port) for _ in range(sizes.idle_connections)]
    try:
        with RawCaller(gateway.port) as other:
            other.request(b"GET", b"/openai/v1/models")
            assert other.answer().status == 200
        endings = {caller.ending() for caller in callers}
    finally:
        for caller in callers:
            caller.leave()
    time.sleep(0.5)

    assert endings == {"fin"}
    assert gateway.sockets() <= before + 1  # one more may be kept to the upstream


def test_an_upgrade_is_left_out_and_smuggles_nothing(upstream, gateway):
    upstream.forget()
    fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    with RawCaller(gateway.port) as caller:
        caller.send(get(fields=b"Host: localhost\r\n" + fields) + get(b"GET /openai/v1/y HTTP/1.1"))
        statuses: list[int] = []
        while len(statuses) < 2:
            try:
                statuses.append(caller.answer().status)
            except BrokenOff:
                break

    assert statuses[0] in (200, 400, 426, 501)
    for request in upstream.requests:
        assert request.get(b"upgrade") is None
        assert request.get(b"connection") in (None, b"keep-alive")
    assert len(upstream.requests) <= len(statuses)


def test_good_requests_still_pass(upstream, gateway):
    upstream.forget()
    upstream.script = lambda visit: visit.send(sized(visit.read()))
    good = (
        b"\r\n\r\n" + post(b"Content-Length: 5"),
        post(b"Content-Length:   5  "),
        post(b"Content-Length: 005"),
        chunky(b"5;ext=1\r\nhello\r\n0\r\n\r\n"),
        chunky(b"00005\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"),
        post(b"Transfer-Encoding: Chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    )
    with RawCaller(gateway.port) as caller:
        for request in good:
            caller.send(request)
            answer = caller.answer()
            assert (answer.status, answer.body) == (200, b"hello")
    upstream.script = answers()
