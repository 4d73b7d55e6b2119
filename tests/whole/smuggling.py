"""Shapes of requests by which others have been made to see two requests where a proxy saw one.

HTTP's framing as it was attacked over the years: a length against a coding, codings that one reader
knows and another does not, odd lengths and chunks, line ends, targets, and fields that a hop drops.
`AN-ORIGIN` stands for the provider's name, and `A-PLAY` for a
number that tells one sending from another; each is as long as that, because lengths count.
"""

from __future__ import annotations

from typing import Final

from gateway.testing import chunk, chunked

HOST: Final = b"Host: localhost"
SMUGGLED: Final = b"GET /AN-ORIGIN/v1/A-PLAY/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
# Sent behind each shape: a good request that ends the connection.
PROBE: Final = (
    b"GET /AN-ORIGIN/v1/A-PLAY/probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
)
CODED: Final = b"Transfer-Encoding: chunked"
LAST: Final = b"0\r\n\r\n"
# Nothing to one who reads chunks, and a request behind it; a body to one who reads lengths.
BOTH: Final = LAST + SMUGGLED
HELLO: Final = chunked(b"hello")
MANY: Final = SMUGGLED * 100
IN_CHUNKS: Final = SMUGGLED + b"\r\n" + LAST + SMUGGLED


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def post(
    *fields: bytes, body: bytes = b"", start: bytes = b"POST /AN-ORIGIN/v1/A-PLAY/x HTTP/1.1"
) -> bytes:
    return b"\r\n".join([start, HOST, *fields, b"", b""]) + body


def get(
    *fields: bytes, start: bytes = b"GET /AN-ORIGIN/v1/A-PLAY/x HTTP/1.1", body: bytes = b""
) -> bytes:
    return post(*fields, start=start, body=body)


def coded(*fields: bytes) -> bytes:
    """Put a length beside a coding that may not look like one."""
    return post(length(BOTH), *fields, body=BOTH)


def chunky(body: bytes) -> bytes:
    return post(CODED, body=body)


PAIRS: Final = {
    "length_then_coding": coded(CODED),
    "coding_then_length": post(CODED, length(BOTH), body=BOTH),
    "coding_then_short_length": post(CODED, b"Content-Length: 4", body=chunked(SMUGGLED)),
    "names_in_other_case": post(b"CONTENT-length: %d" % len(BOTH), CODED.swapcase(), body=BOTH),
    "two_lengths": post(b"Content-Length: 0", length(SMUGGLED), body=SMUGGLED),
    "two_lengths_reversed": post(length(SMUGGLED), b"Content-Length: 0", body=SMUGGLED),
    "equal_lengths": post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "list_of_equal_lengths": post(b"Content-Length: 5, 5", body=b"hello"),
    "list_of_lengths": post(b"Content-Length: 0, %d" % len(SMUGGLED), body=SMUGGLED),
}
CODINGS: Final = {
    "space_before_colon": coded(b"Transfer-Encoding : chunked"),
    "tab_before_colon": coded(b"Transfer-Encoding\t: chunked"),
    "tab_behind_colon": post(b"Transfer-Encoding:\tchunked", body=HELLO),
    "nothing_behind_colon": post(b"Transfer-Encoding:chunked", body=HELLO),
    "vertical_tab": coded(b"Transfer-Encoding: \x0bchunked"),
    "vertical_tab_behind": coded(b"Transfer-Encoding: chunked\x0b"),
    "prefix": coded(b"Transfer-Encoding: xchunked"),
    "quoted": coded(b'Transfer-Encoding: "chunked"'),
    "identity_first": coded(b"Transfer-Encoding: identity, chunked"),
    "identity_last": coded(b"Transfer-Encoding: chunked, identity"),
    "two_fields": coded(CODED, b"Transfer-Encoding: identity"),
    "two_fields_reversed": coded(b"Transfer-Encoding: identity", CODED),
    "comma_first": coded(b"Transfer-Encoding: ,chunked"),
    "comma_last": coded(b"Transfer-Encoding: chunked,"),
    "parameter": coded(b"Transfer-Encoding: chunked;a=b"),
    "folded": coded(b"Transfer-Encoding:", b" chunked"),
    "in_a_fold": coded(b"A: b", b" Transfer-Encoding: chunked"),
    "behind_bare_lf": coded(b"A: b\nTransfer-Encoding: chunked"),
    "behind_bare_cr": coded(b"A: b\rTransfer-Encoding: chunked"),
    "nul_behind": coded(b"Transfer-Encoding: chunked\0"),
    "underscore": coded(b"Transfer_Encoding: chunked"),
    "space_in_name": coded(b"Transfer Encoding: chunked"),
    "in_1_0": post(CODED, body=BOTH, start=b"POST /AN-ORIGIN/v1/A-PLAY/x HTTP/1.0"),
    "not_ascii": coded(b"Transfer-Encoding: chunked\xff"),
    "unknown": coded(b"Transfer-Encoding: cow"),
    "empty": coded(b"Transfer-Encoding:"),
}
LENGTHS: Final = {
    "plus": post(b"Content-Length: +%d" % len(SMUGGLED), body=SMUGGLED),
    "minus": post(b"Content-Length: -1", body=SMUGGLED),
    "hex": post(b"Content-Length: 0x%x" % len(SMUGGLED), body=SMUGGLED),
    "zeros": post(b"Content-Length: 000%d" % len(SMUGGLED), body=SMUGGLED),
    "space_inside": post(b"Content-Length: 1 0", body=SMUGGLED),
    "of_65_bits": post(b"Content-Length: 18446744073709551616", body=SMUGGLED),
    "of_nothing": post(b"Content-Length:", body=SMUGGLED),
    "space_before_its_colon": post(b"Content-Length : %d" % len(SMUGGLED), body=SMUGGLED),
    "of_a_get": get(length(SMUGGLED), body=SMUGGLED),
    "of_a_head": get(
        length(SMUGGLED), start=b"HEAD /AN-ORIGIN/v1/A-PLAY/x HTTP/1.1", body=SMUGGLED
    ),
    "of_a_delete": get(
        length(SMUGGLED), start=b"DELETE /AN-ORIGIN/v1/A-PLAY/x HTTP/1.1", body=SMUGGLED
    ),
    "missing": post(body=SMUGGLED),
    "of_many_requests": post(length(MANY), body=MANY),
}
CHUNKS: Final = {
    "extension": chunky(b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    "extension_quotes_a_request": chunky(b'5;a="\r\n\r\n' + SMUGGLED + b'"\r\nhello\r\n' + LAST),
    "extension_with_lf": chunky(b"5;a\nhello\r\n" + LAST),
    "extension_with_cr": chunky(b"5;a\rhello\r\n" + LAST),
    "size_and_space": chunky(b"5 \r\nhello\r\n" + LAST),
    "size_of_65_bits": chunky(b"10000000000000005\r\nhello\r\n" + LAST),
    "size_with_minus": chunky(b"-5\r\nhello\r\n" + LAST),
    "size_ended_by_lf": chunky(b"5\nhello\n0\n\n"),
    "size_too_small": chunky(b"2\r\nhello\r\n" + LAST),
    "size_too_large": chunky(b"7\r\nhello\r\n" + LAST),
    "data_ended_by_nothing": chunky(b"5\r\nhello0\r\n\r\n"),
    "last_with_zeros": chunky(b"5\r\nhello\r\n0000000\r\n\r\n"),
    "request_for_trailers": chunky(b"5\r\nhello\r\n0\r\n" + SMUGGLED),
    "framing_in_trailers": chunky(chunk(b"hello") + b"0\r\n" + length(SMUGGLED) + b"\r\n\r\n"),
    "request_behind_the_last": chunky(HELLO + SMUGGLED),
    "request_in_a_chunk": chunky(chunked(SMUGGLED, b"\r\n" + LAST, SMUGGLED)),
}
LINES: Final = {
    "absolute_form": get(start=b"GET http://localhost/AN-ORIGIN/v1/A-PLAY/x HTTP/1.1"),
    "absolute_form_elsewhere": get(start=b"GET http://example.com/AN-ORIGIN/v1/A-PLAY/x HTTP/1.1"),
    "http_0_9": b"GET /AN-ORIGIN/v1/A-PLAY/x\r\n\r\n",
    "version_twice": get(start=b"GET /AN-ORIGIN/v1/A-PLAY/x HTTP/1.1 HTTP/1.1"),
    "tabs_for_spaces": get(start=b"GET\t/AN-ORIGIN/v1/A-PLAY/x\tHTTP/1.1"),
    "empty_lines_first": b"\r\n\r\n" + get(),
    "line_ends_of_cr": get().replace(b"\r\n", b"\r"),
    "line_ends_of_lf": get().replace(b"\r\n", b"\n"),
    "nul_in_target": get(start=b"GET /AN-ORIGIN/v1/A-PLAY/\0x HTTP/1.1"),
    "nul_in_name": get(b"Content\0-Length: 5"),
    "request_in_target": get(start=b"GET /AN-ORIGIN/v1/A-PLAY/x?%0d%0a%0d%0aGET%20/y HTTP/1.1"),
    "preface_of_http_2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
HOPS: Final = {
    "connection_names_length": post(b"Connection: content-length", length(SMUGGLED), body=SMUGGLED),
    "connection_names_coding": post(b"Connection: transfer-encoding", CODED, body=HELLO),
    "connection_names_host": get(b"Connection: host"),
    "upgrade_to_h2c": get(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"
    ),
    "upgrade_with_body": post(
        b"Connection: Upgrade", b"Upgrade: foo", length(SMUGGLED), body=SMUGGLED
    ),
    "upgrade_with_chunks": post(b"Connection: Upgrade", b"Upgrade: foo", CODED, body=HELLO),
    "expectation": post(b"Expect: 100-continue", length(SMUGGLED), body=SMUGGLED),
    "kept_1_0": get(b"Connection: keep-alive", start=b"GET /AN-ORIGIN/v1/A-PLAY/x HTTP/1.0"),
    "connect": get(start=b"CONNECT localhost:80 HTTP/1.1"),
}
GROUPS: Final = {
    "pair": PAIRS,
    "coding": CODINGS,
    "length": LENGTHS,
    "chunk": CHUNKS,
    "line": LINES,
    "hop": HOPS,
}
SHAPES: Final = {
    f"{group}_{name}": raw for group, shapes in GROUPS.items() for name, raw in shapes.items()
}
# What a body may be that comes up whole.
BODIES: Final = frozenset({b"", b"hello", SMUGGLED, BOTH, IN_CHUNKS, MANY})
