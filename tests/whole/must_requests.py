"""What RFCs demand of the way a request goes up, and of what is answered to a bad one."""

from __future__ import annotations

from typing import Final

from gateway.testing import chunked
from tests.whole.must_checks import (
    at_most_one,
    body_up,
    closed,
    down,
    either,
    every,
    exactly_one,
    framed_once_up,
    group,
    has_up,
    lacks_up,
    no_bare_cr_up,
    no_fold_up,
    no_interim,
    refused,
    served,
    silent,
    target_up,
    up,
    upgrade_is_listed,
)
from tests.whole.musts import Must, Seen

HOST: Final = b"Host: localhost"
COLD: Final = b"Content-Length: 5"
CODED: Final = b"Transfer-Encoding: chunked"
HELLO: Final = chunked(b"hello")
GET: Final = b"GET /openai/v1/x HTTP/1.1"
POST: Final = b"POST /openai/v1/x HTTP/1.1"
OLD: Final = b"GET /openai/v1/x HTTP/1.0"


def bare(start: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([start, *fields, b"", b""])


def get(*fields: bytes, start: bytes = GET) -> bytes:
    return bare(start, HOST, *fields)


def post(*fields: bytes, body: bytes = b"hello", start: bytes = POST) -> bytes:
    return bare(start, HOST, *fields) + body


def chunky(body: bytes) -> bytes:
    return post(CODED, body=body)


NEXT: Final = get()


def _answered_in_order(seen: Seen) -> bool:
    ends = [answer.body.rpartition(b"?")[2] for answer in seen.answers]
    return ends == [b"1", b"2", b"3"]


def _expectation_met(seen: Seen) -> bool:
    """Answer 100, or finally; nothing else lets the caller go on."""
    is_told = seen.interim[:1] == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    return (is_told and seen.is_served) or (not is_told and seen.status >= 300)


SYNTAX: Final = [
    *group(
        "9112 2.2",
        "A bare CR is invalid, or becomes SP before anything is done with it.",
        no_bare_cr_up,
        {
            "bare_cr_in_value": get(b"A: b\rc"),
            "bare_cr_in_name": get(b"A\rB: c"),
            "bare_cr_in_target": get(start=b"GET /openai/v1/x?\ra HTTP/1.1"),
        },
    ),
    *group(
        "9112 2.2",
        "A line with whitespace before the first field is rejected or left out.",
        lacks_up(b"x-first"),
        {
            "space_before_first_field": bare(GET, b" X-First: 1", HOST),
            "tab_before_first_field": bare(GET, b"\tX-First: 1", HOST),
            "fold_before_first_field": bare(GET, b" ", b"\tX-First: 1", HOST),
        },
    ),
    *group(
        "9112 2.3",
        "What is forwarded bears the gateway's own version.",
        up(lambda request: request.version == b"HTTP/1.1"),
        {"own_version_up": get(start=OLD)},
    ),
    *group(
        "9112 3",
        "A target longer than what is parsed is a 414.",
        refused(414),
        {"target_too_long": get(start=b"GET /openai/v1/x?" + b"a" * 70_000 + b" HTTP/1.1")},
    ),
    *group(
        "9112 3.2",
        "A request without Host, with two, or with a bad one is a 400.",
        refused(400),
        {
            "no_host": bare(GET, b"A: b"),
            "no_host_absolute": bare(b"GET http://localhost/openai/v1/x HTTP/1.1", b"A: b"),
            "same_host_twice": get(HOST),
            "two_hosts": get(b"Host: example.com"),
            "two_hosts_in_1_0": get(b"Host: example.com", start=OLD),
            "host_with_space": bare(GET, b"Host: local host"),
            "host_with_path": bare(GET, b"Host: localhost/x"),
            "host_with_user": bare(GET, b"Host: me@localhost"),
            "host_with_comma": bare(GET, b"Host: localhost, localhost"),
        },
    ),
    *group(
        "9112 3.2.2",
        "The absolute form is accepted; its authority counts, Host does not.",
        up(lambda request: b"example.invalid" not in request.head),
        {
            "absolute_form": get(start=b"GET http://localhost/openai/v1/x HTTP/1.1"),
            "absolute_form_in_capitals": get(start=b"GET HTTP://LOCALHOST/openai/v1/x HTTP/1.1"),
            "absolute_form_and_another_host": bare(
                b"GET http://localhost/openai/v1/x HTTP/1.1", b"Host: example.invalid"
            ),
        },
    ),
    *group(
        "9112 5.1",
        "Whitespace between a field's name and its colon is a 400.",
        refused(400),
        {
            "space_before_colon": get(b"A : b"),
            "tab_before_colon": get(b"A\t: b"),
            "space_before_colon_of_length": post(b"Content-Length : 5"),
            "space_before_colon_of_coding": post(b"Transfer-Encoding : chunked", body=HELLO),
            "space_before_colon_of_host": bare(GET, b"Host : localhost"),
        },
    ),
    *group(
        "9112 5.2",
        "A folded line is a 400, or the fold becomes SP.",
        either(refused(400), every(served, no_fold_up)),
        {
            "folded_by_space": get(b"A: b", b" c"),
            "folded_by_tab": get(b"A: b", b"\tc"),
            "folded_length": post(b"Content-Length:", b" 5"),
            "folded_coding": post(b"Transfer-Encoding:", b" chunked", body=HELLO),
        },
    ),
    *group(
        "9110 5.5",
        "NUL in a value is rejected or becomes SP.",
        lambda seen: not any(b"\0" in request.head for request in seen.asked),
        {"nul_in_value": get(b"A: b\0c"), "nul_ends_value": get(b"A: b\0")},
    ),
    *group(
        "9110 5.5",
        "Whitespace around a value is no part of it.",
        body_up(),
        {
            "space_around_length": post(b"Content-Length: \t 5 \t"),
            "space_around_coding": post(b"Transfer-Encoding:\t chunked ", body=HELLO),
            "space_around_host": bare(POST, b"Host:  localhost\t", COLD) + b"hello",
        },
    ),
    *group(
        "9110 5.4",
        "Fields that are larger than what is processed are a 4xx.",
        lambda seen: 400 <= seen.status < 500 and not seen.asked,
        {
            "value_too_long": get(b"A: " + b"b" * 70_000),
            "too_many_fields": get(*[b"A: " + b"b" * 40] * 2_000),
        },
    ),
]
FRAMING: Final = [
    *group(
        "9112 7.1",
        "The chunked coding is understood.",
        body_up(),
        {
            "chunked_body": chunky(HELLO),
            "chunked_in_capitals": post(b"TRANSFER-ENCODING: CHUNKED", body=HELLO),
            "chunked_byte_by_byte": chunky(chunked(*[b"%c" % byte for byte in b"hello"])),
            "chunk_size_with_zeros": chunky(b"0005\r\nhello\r\n000\r\n\r\n"),
        },
    ),
    *group(
        "9112 7.1",
        "A chunk's size is read in either case, of any length it may have.",
        body_up(b"0123456789"),
        {
            "chunk_size_in_capitals": chunky(b"A\r\n0123456789\r\n0\r\n\r\n"),
            "chunk_size_in_small_letters": chunky(b"a\r\n0123456789\r\n0\r\n\r\n"),
        },
    ),
    *group(
        "9112 7.1",
        "A chunk's size does not overflow.",
        lambda seen: not any(request.is_whole for request in seen.asked),
        {
            "chunk_size_of_65_bits": chunky(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
            "chunk_size_of_80_bits": chunky(b"10000000000000000005\r\nhello\r\n0\r\n\r\n"),
            "chunk_size_all_ones": chunky(b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        },
    ),
    *group(
        "9112 7.1.1",
        "Chunk extensions that mean nothing are ignored.",
        body_up(),
        {
            "extension": chunky(b"5;a\r\nhello\r\n0\r\n\r\n"),
            "extension_with_value": chunky(b"5;a=b\r\nhello\r\n0\r\n\r\n"),
            "extension_quoted": chunky(b'5;a="b;c"\r\nhello\r\n0\r\n\r\n'),
            "extension_twice": chunky(b"5;a=b;c=d\r\nhello\r\n0\r\n\r\n"),
            "extension_at_the_end": chunky(b"5\r\nhello\r\n0;a=b\r\n\r\n"),
        },
    ),
    *group(
        "9112 7.1.2",
        "A trailer does not become a field of the head unless its definition lets it.",
        every(body_up(), lacks_up(b"x-trailer", b"authorization", b"cookie")),
        {
            "trailer": chunky(b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
            "trailer_authorization": chunky(b"5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n"),
            "trailer_cookie": chunky(b"5\r\nhello\r\n0\r\nCookie: a=b\r\n\r\n"),
        },
    ),
    *group(
        "9112 6.1",
        "With a coding and a length the connection closes behind the answer, if there is one, "
        "and the coding alone goes on.",
        every(closed, at_most_one, framed_once_up),
        {
            "length_and_coding": post(COLD, CODED, body=HELLO) + NEXT,
            "coding_and_length": post(CODED, COLD, body=HELLO) + NEXT,
            "coding_and_length_of_all": post(CODED, b"Content-Length: 15", body=HELLO) + NEXT,
        },
    ),
    *group(
        "9112 6.1",
        "A coding in HTTP/1.0 is faulty framing: the connection closes.",
        every(closed, at_most_one, framed_once_up),
        {
            "coding_in_1_0": post(
                CODED, b"Connection: keep-alive", body=HELLO, start=b"POST /openai/v1/x HTTP/1.0"
            )
            + NEXT,
            "coding_and_length_in_1_0": post(
                CODED,
                COLD,
                b"Connection: keep-alive",
                body=HELLO,
                start=b"POST /openai/v1/x HTTP/1.0",
            )
            + NEXT,
        },
    ),
    *group(
        "9112 6.3",
        "A coding that does not end with chunked is a 400, and the connection closes.",
        every(refused(400), closed),
        {
            "coding_gzip": post(b"Transfer-Encoding: gzip") + NEXT,
            "coding_identity": post(b"Transfer-Encoding: identity") + NEXT,
            "coding_unknown": post(b"Transfer-Encoding: xchunked", body=HELLO) + NEXT,
            "coding_behind_chunked": post(b"Transfer-Encoding: chunked, gzip", body=HELLO) + NEXT,
        },
    ),
    *group(
        "9112 6.1",
        "Chunked is not applied twice.",
        every(refused(400, 501), closed),
        {
            "chunked_twice": post(b"Transfer-Encoding: chunked, chunked", body=HELLO) + NEXT,
            "chunked_in_two_fields": post(CODED, CODED, body=HELLO) + NEXT,
        },
    ),
    *group(
        "9112 6.3",
        "A bad length is a 400, and the connection closes.",
        every(refused(400), closed),
        {
            "length_with_plus": post(b"Content-Length: +5") + NEXT,
            "length_with_minus": post(b"Content-Length: -5") + NEXT,
            "length_in_hex": post(b"Content-Length: 0x5") + NEXT,
            "length_with_letter": post(b"Content-Length: 5a") + NEXT,
            "length_with_fraction": post(b"Content-Length: 5.0") + NEXT,
            "length_of_nothing": post(b"Content-Length:") + NEXT,
            "length_with_space": post(b"Content-Length: 5 5") + NEXT,
            "two_lengths": post(COLD, b"Content-Length: 6") + NEXT,
            "list_of_two_lengths": post(b"Content-Length: 5, 6") + NEXT,
        },
    ),
    *group(
        "9110 8.6",
        "A length does not overflow.",
        every(refused(400, 413), closed),
        {"length_of_65_bits": post(b"Content-Length: 18446744073709551621") + NEXT},
    ),
    *group(
        "9110 8.6",
        "Equal lengths in a list are rejected or become one.",
        either(every(refused(400), closed), every(body_up(), has_up(b"content-length", b"5"))),
        {"length_listed_twice": post(b"Content-Length: 5, 5"), "length_twice": post(COLD, COLD)},
    ),
]
CONNECTIONS: Final = [
    *group(
        "9112 9.3",
        "A request's body is read to its end, or the connection closes behind the answer.",
        at_most_one,
        {
            "body_is_no_request": post(b"Content-Length: %d" % len(NEXT), body=NEXT),
            "body_of_a_stranger": post(
                b"Content-Length: %d" % len(NEXT), body=NEXT, start=b"POST /nowhere HTTP/1.1"
            ),
        },
    ),
    Must(
        "pipelined_in_order",
        "9112 9.3.2",
        "Answers come in the order of their requests.",
        _answered_in_order,
        b"".join(get(start=b"GET /openai/v1/x?%d HTTP/1.1" % n) for n in (1, 2, 3)),
        answer=b"",
        count=3,
    ),
    *group(
        "9112 9.6",
        "Behind a request with close nothing is processed, and the connection closes.",
        every(served, exactly_one, closed),
        {
            "close": get(b"Connection: close") + NEXT,
            "close_in_capitals": get(b"Connection: CLOSE") + NEXT,
            "close_in_a_list": get(b"Connection: x-hop, close") + NEXT,
            "close_in_a_second_field": get(b"Connection: x-hop", b"Connection: close") + NEXT,
            "close_of_a_post": post(COLD, b"Connection: close") + NEXT,
        },
    ),
    *group(
        "9112 9.3",
        "HTTP/1.0 without keep-alive does not persist.",
        every(served, exactly_one, closed),
        {"old_caller_is_closed": get(start=OLD) + NEXT},
    ),
    *group(
        "9110 7.6.1",
        "What Connection names is removed, and so is Connection.",
        every(served, lacks_up(b"x-hop", b"x-other")),
        {
            "connection_names": get(b"Connection: x-hop", b"X-Hop: 1"),
            "connection_names_behind": get(b"X-Hop: 1", b"Connection: X-HOP"),
            "connection_names_two": get(b"Connection: x-hop,x-other", b"X-Hop: 1", b"X-Other: 2"),
            "connection_twice": get(b"Connection: a", b"Connection: x-hop", b"X-Hop: 1"),
        },
    ),
    *group(
        "9110 5.6.1",
        "Empty elements of a list are ignored.",
        every(served, lacks_up(b"x-hop")),
        {"connection_with_empty_elements": get(b"Connection: , ,x-hop, ,", b"X-Hop: 1")},
    ),
    *group(
        "9110 10.1.4",
        "TE goes only with a Connection that names it.",
        up(lambda request: request.get(b"te") is None or request.get(b"connection") is not None),
        {"te_is_of_one_hop": get(b"TE: trailers", b"Connection: TE")},
    ),
    *group(
        "9110 7.8",
        "Upgrade goes only with a Connection that names it.",
        up(lambda request: upgrade_is_listed(request.fields)),
        {
            "upgrade_up": get(b"Upgrade: foo/1", b"Connection: Upgrade"),
            "upgrade_not_named_up": get(b"Upgrade: foo/1", b"Connection: x-hop"),
        },
    ),
    *group(
        "9110 7.8",
        "Upgrade in HTTP/1.0 is ignored.",
        every(served, lacks_up(b"upgrade")),
        {"upgrade_in_1_0": get(b"Upgrade: foo/1", b"Connection: Upgrade", start=OLD)},
    ),
]
MEANING: Final = [
    *group(
        "9110 5.1",
        "A field that is not known is forwarded.",
        has_up(b"x-unknown-field", b"1"),
        {"unknown_field_up": get(b"X-Unknown-Field: 1")},
    ),
    *group(
        "9110 5.3",
        "Fields of one name keep their order.",
        up(
            lambda request: (
                [v for n, v in request.fields if n.lower() == b"x-twice"]
                in ([b"b", b"a", b"c"], [b"b, a, c"])
            )
        ),
        {"order_up": get(b"X-Twice: b", b"X-Twice: a", b"X-Other: 1", b"X-Twice: c")},
    ),
    *group(
        "9110 7.6.2",
        "Max-Forwards of OPTIONS is counted down.",
        has_up(b"max-forwards", b"4"),
        {"max_forwards_of_options": get(b"Max-Forwards: 5", start=b"OPTIONS" + GET[3:])},
    ),
    *group(
        "9110 7.6.3",
        "A gateway adds Via to each request.",
        up(lambda request: request.get(b"via") is not None),
        {"via_upward": get()},
    ),
    Must(
        "path_keeps_escapes",
        "9110 7.7",
        "Path and query are not changed.",
        target_up(b"/a%2Fb%7Ec"),
        get(start=b"GET /openai/v1/x/a%2Fb%7Ec HTTP/1.1"),
    ),
    Must(
        "path_keeps_slashes",
        "9110 7.7",
        "Path and query are not changed.",
        target_up(b"//a///b/"),
        get(start=b"GET /openai/v1/x//a///b/ HTTP/1.1"),
    ),
    Must(
        "query_is_kept",
        "9110 7.7",
        "Path and query are not changed.",
        target_up(b"?a=b?c&d=%20+&&"),
        get(start=b"GET /openai/v1/x?a=b?c&d=%20+&& HTTP/1.1"),
    ),
    *group(
        "9110 9.1",
        "A method's case counts.",
        either(refused(400, 405, 501), up(lambda request: request.method == b"get")),
        {"method_in_small_letters": get(start=b"get /openai/v1/x HTTP/1.1")},
    ),
    *group(
        "9110 9.3.2",
        "An answer to HEAD has no content, whoever gives it.",
        every(silent, lambda seen: seen.status >= 400),
        {
            "head_refused": get(b"Host: example.com", start=b"HEAD" + GET[3:]),
            "head_with_bad_expectation": bare(b"HEAD" + GET[3:], b"Host: a b"),
        },
    ),
    *group(
        "9110 9.3.6",
        "CONNECT to a bad port is rejected.",
        every(lambda seen: seen.status >= 400, lambda seen: not seen.asked),
        {
            "connect_to_no_port": get(start=b"CONNECT localhost: HTTP/1.1"),
            "connect_to_port_0": get(start=b"CONNECT localhost:0 HTTP/1.1"),
        },
    ),
    *group(
        "9110 15.5.6",
        "A 405 names the methods that are allowed.",
        down(lambda answer: answer.status != 405 or answer.get(b"allow") is not None),
        {"connect_is_not_allowed": get(start=b"CONNECT localhost:443 HTTP/1.1")},
    ),
    *[
        Must(
            name,
            "9110 10.1.1",
            "A caller that expects 100 gets one, or a final answer.",
            _expectation_met,
            get(COLD, field, start=POST),
            then=b"hello",
        )
        for name, field in {
            "expectation": b"Expect: 100-continue",
            "expectation_in_capitals": b"EXPECT: 100-CONTINUE",
        }.items()
    ],
    *group(
        "9110 10.1.1",
        "An expectation in HTTP/1.0 is ignored.",
        every(body_up(), no_interim),
        {
            "expectation_in_1_0": post(
                COLD, b"Expect: 100-continue", start=b"POST /openai/v1/x HTTP/1.0"
            )
        },
    ),
    *group(
        "9110 11.6.2",
        "Authorization is not modified.",
        has_up(b"authorization", b'Digest  a="b",,c=d'),
        {"authorization_is_kept": get(b'Authorization: Digest  a="b",,c=d')},
    ),
]
ROWS: Final = [*SYNTAX, *FRAMING, *CONNECTIONS, *MEANING]
