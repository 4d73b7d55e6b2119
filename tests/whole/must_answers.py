"""What RFCs demand of the way an answer comes down, and of what becomes of a bad one."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Final

from gateway.testing import RawAnswer, chunk, sized
from gateway.testing.wire import values
from tests.whole.must_checks import (
    bad_gateway,
    cut,
    down,
    either,
    every,
    has_down,
    lacks_down,
    no_bare_cr_down,
    no_fold_down,
    no_interim,
    says_down,
    served,
    silent,
    upgrade_is_listed,
)
from tests.whole.must_requests import HELLO, NEXT, OLD, get
from tests.whole.musts import Check, Must, Seen

HEAD: Final = b"HEAD /openai/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
CODED: Final = b"Transfer-Encoding: chunked"
GATE_S: Final = 1.0
MINUTE_S: Final = 60.0


def ok(*fields: bytes, body: bytes = b"hello", start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *fields, b"", b""]) + body


def told(section: str, says: str, check: Check, answers: dict[str, bytes], *,
         sends: bytes = NEXT, cuts: bool = False, count: int = 1) -> list[Must]:  # fmt: skip
    """Make rows of one requirement that differ in what the upstream answers."""
    return [
        Must(name, section, says, check, sends, answer=raw, cuts=cuts, count=count)
        for name, raw in answers.items()
    ]


def _dropped_or_502(seen: Seen) -> bool:
    """Have done with the upstream's connection, whatever became of the answer."""
    if seen.status == 502:
        return True
    try:
        seen.asked[0].connection.wait_gone(GATE_S)
    except TimeoutError:
        return False
    return True


def _dated(answer: RawAnswer) -> bool:
    """Hold one Date, of this minute."""
    dates = values(answer.fields, b"date")
    if len(dates) != 1 or not dates[0].endswith(b" GMT"):
        return False
    return abs(parsedate_to_datetime(dates[0].decode()).timestamp() - time.time()) < MINUTE_S


def _no_space_before_colon(seen: Seen) -> bool:
    names = [name for name, _ in seen.answers[0].fields] if seen.answers else [b" "]
    return not any(name != name.strip() for name in names)


SYNTAX: Final = [
    *told(
        "9112 2.2",
        "A bare CR is invalid, or becomes SP before it goes on.",
        no_bare_cr_down,
        {
            "bare_cr_in_answer": ok(b"Content-Length: 5", b"A: b\rc"),
            "bare_cr_in_reason": ok(b"Content-Length: 5", start=b"HTTP/1.1 200 O\rK"),
        },
    ),
    *told(
        "9112 2.3",
        "What is forwarded bears the gateway's own version.",
        every(served, down(lambda answer: answer.version == b"HTTP/1.1")),
        {"own_version_down": ok(b"Content-Length: 5", start=b"HTTP/1.0 200 OK")},
    ),
    *told(
        "9112 4",
        "A status line has its second space, with a reason or without.",
        either(bad_gateway, down(lambda answer: answer.start.startswith(b"HTTP/1.1 299 "))),
        {
            "empty_reason": ok(b"Content-Length: 5", start=b"HTTP/1.1 299 "),
            "no_reason": ok(b"Content-Length: 5", start=b"HTTP/1.1 299"),
        },
    ),
    *told(
        "9112 5.1",
        "Whitespace before the colon of an answer's field does not go on.",
        _no_space_before_colon,
        {
            "answer_with_space_before_colon": ok(b"Content-Length: 5", b"A : b"),
            "answer_with_tab_before_colon": ok(b"Content-Length: 5", b"A\t: b"),
        },
    ),
    *told(
        "9112 5.2",
        "A folded line in an answer makes a 502, or the fold becomes SP.",
        either(bad_gateway, every(served, no_fold_down)),
        {
            "answer_folded_by_space": ok(b"Content-Length: 5", b"A: b", b" c"),
            "answer_folded_by_tab": ok(b"Content-Length: 5", b"A: b", b"\tc"),
        },
    ),
    *told(
        "9110 5.5",
        "NUL in a value is rejected or becomes SP.",
        lambda seen: bool(seen.answers) and b"\0" not in seen.answers[0].head,
        {"nul_in_answer": ok(b"Content-Length: 5", b"A: b\0c")},
    ),
]
FRAMING: Final = [
    *told(
        "9112 7.1",
        "The chunked coding is understood.",
        says_down(b"hello"),
        {
            "answer_chunked": ok(CODED, body=HELLO),
            "answer_chunked_in_capitals": ok(CODED.upper(), body=HELLO),
            "answer_chunk_size_with_zeros": ok(CODED, body=b"0005\r\nhello\r\n0\r\n\r\n"),
        },
    ),
    *told(
        "9112 7.1",
        "A chunk's size does not overflow.",
        cut,
        {
            "answer_chunk_of_65_bits": ok(CODED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
            "answer_chunk_of_80_bits": ok(
                CODED, body=b"10000000000000000005\r\nhello\r\n0\r\n\r\n"
            ),
        },
        cuts=True,
    ),
    *told(
        "9112 7.1.1",
        "Chunk extensions that mean nothing are ignored.",
        says_down(b"hello"),
        {
            "answer_with_extension": ok(CODED, body=b'5;a="b"\r\nhello\r\n0;c\r\n\r\n'),
        },
    ),
    *told(
        "9112 7.1.2",
        "A trailer does not become a field of the head unless its definition lets it.",
        every(served, lacks_down(b"x-trailer", b"set-cookie")),
        {
            "answer_with_trailer": ok(CODED, body=b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"),
            "answer_with_cookie_behind": ok(
                CODED, body=b"5\r\nhello\r\n0\r\nSet-Cookie: a=b\r\n\r\n"
            ),
        },
    ),
    *told(
        "9112 6.1",
        "HTTP/1.0 gets no coding.",
        every(says_down(b"hello"), lacks_down(b"transfer-encoding")),
        {"coding_is_not_for_1_0": ok(CODED, body=HELLO)},
        sends=get(start=OLD),
    ),
    *told(
        "9112 6.1",
        "A 204 has no coding.",
        every(silent, lacks_down(b"transfer-encoding")),
        {"coding_of_204": ok(CODED, body=b"", start=b"HTTP/1.1 204 No Content")},
    ),
    *told(
        "9112 6.1",
        "A coding in an answer of HTTP/1.0 is faulty framing: its connection is closed.",
        _dropped_or_502,
        {"answer_coded_in_1_0": ok(CODED, body=HELLO, start=b"HTTP/1.0 200 OK")},
    ),
    *told(
        "9112 6.3",
        "A length beside a coding is removed before an answer goes on.",
        either(bad_gateway, cut, every(says_down(b"hello"), lacks_down(b"content-length"))),
        {
            "answer_length_and_coding": ok(b"Content-Length: 3", CODED, body=HELLO),
            "answer_coding_and_length": ok(CODED, b"Content-Length: 3", body=HELLO),
        },
    ),
    *told(
        "9112 6.3",
        "A bad length in an answer makes a 502, and nothing of the answer goes on.",
        every(bad_gateway, lambda seen: b"hello" not in seen.answers[0].raw),
        {
            "answer_length_with_plus": ok(b"Content-Length: +5"),
            "answer_length_with_minus": ok(b"Content-Length: -5"),
            "answer_length_with_letter": ok(b"Content-Length: 5a"),
            "answer_with_two_lengths": ok(b"Content-Length: 5", b"Content-Length: 6"),
            "answer_with_list_of_lengths": ok(b"Content-Length: 5, 6"),
            "answer_length_of_65_bits": ok(b"Content-Length: 18446744073709551621"),
        },
    ),
    *told(
        "9110 8.6",
        "Equal lengths in a list are rejected or become one.",
        either(bad_gateway, every(says_down(b"hello"), has_down(b"content-length", b"5"))),
        {
            "answer_length_listed_twice": ok(b"Content-Length: 5, 5"),
            "answer_length_twice": ok(b"Content-Length: 5", b"Content-Length: 5"),
        },
    ),
    *told(
        "9112 6.3",
        "What stands behind an answer is no answer of its own.",
        lambda seen: not any(b"POISON" in answer.raw for answer in seen.answers),
        {"answer_with_surplus": sized(b"hello") + sized(b"POISON", (b"X-Poison", b"POISON"))},
        sends=NEXT + NEXT,
        count=2,
    ),
    *told(
        "9112 6.3",
        "A body without length or coding lasts until the connection closes.",
        says_down(b"hello"),
        {"answer_until_close": ok()},
        cuts=True,
    ),
    *told(
        "9112 8",
        "An answer that broke off is not made to look whole.",
        cut,
        {
            "cut_short_of_length": ok(b"Content-Length: 10"),
            "cut_before_last_chunk": ok(CODED, body=chunk(b"hello")),
            "cut_in_a_chunk": ok(CODED, body=b"a\r\nhello"),
            "cut_in_the_last_chunk": ok(CODED, body=chunk(b"hello") + b"0\r\n"),
        },
        cuts=True,
    ),
    *told(
        "9112 8",
        "A head that broke off is no answer.",
        bad_gateway,
        {
            "cut_in_the_head": b"HTTP/1.1 200 OK\r\nContent-Le",
            "cut_behind_the_status_line": b"HTTP/1.1 200 OK\r\n",
        },
        cuts=True,
    ),
]
STATUSES: Final = [
    *told(
        "9110 9.3.2",
        "An answer to HEAD has no content.",
        every(silent, lambda seen: [answer.status for answer in seen.answers] in ([200], [502])),
        {
            "head_with_length": ok(b"Content-Length: 5", body=b""),
            "head_with_coding": ok(CODED, body=b""),
            "head_with_content": ok(b"Content-Length: 5"),
        },
        sends=HEAD,
    ),
    *told(
        "9112 6.3",
        "204 and 304 end with their head, whatever their fields say.",
        every(silent, lambda seen: len(seen.answers) == 2),
        {
            "end_of_204": ok(body=b"", start=b"HTTP/1.1 204 No Content"),
            "end_of_304": ok(b"Content-Length: 5", body=b"", start=b"HTTP/1.1 304 Not Modified"),
            "end_of_304_coded": ok(CODED, body=b"", start=b"HTTP/1.1 304 Not Modified"),
        },
        sends=NEXT + NEXT,
        count=2,
    ),
    *told(
        "9110 15.3.5",
        "No content goes on behind a 204 or 304.",
        every(silent, lambda seen: b"hello" not in seen.answers[0].raw or seen.status == 502),
        {
            "content_of_204": ok(start=b"HTTP/1.1 204 No Content"),
            "content_of_304": ok(start=b"HTTP/1.1 304 Not Modified"),
        },
    ),
    *told(
        "9110 8.6",
        "A 204 has no length.",
        every(silent, lacks_down(b"content-length")),
        {"length_of_204": ok(b"Content-Length: 0", body=b"", start=b"HTTP/1.1 204 No Content")},
    ),
    *told(
        "9110 15",
        "A status that is not known passes as it is.",
        down(lambda answer: answer.body == b"hello" and answer.status in (299, 499, 599)),
        {
            "status_299": ok(b"Content-Length: 5", start=b"HTTP/1.1 299 Fine"),
            "status_499": ok(b"Content-Length: 5", start=b"HTTP/1.1 499 Odd"),
            "status_599": ok(b"Content-Length: 5", start=b"HTTP/1.1 599 Bad"),
        },
    ),
    *told(
        "9110 15.2",
        "HTTP/1.0 gets no interim answer.",
        every(says_down(b"hello"), no_interim),
        {
            "interim_is_not_for_1_0": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
            + sized(b"hello"),
            "continue_is_not_for_1_0": b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"hello"),
        },
        sends=get(start=OLD),
    ),
    *told(
        "9110 7.8",
        "No protocol is switched to that the caller did not name.",
        lambda seen: not seen.interim and seen.status != 101,
        {
            "switched_unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo/1\r\n"
            b"Connection: Upgrade\r\n\r\nhello"
        },
        cuts=True,
    ),
    *told(
        "9110 7.8",
        "Upgrade goes only with a Connection that names it.",
        down(lambda answer: upgrade_is_listed(answer.fields)),
        {
            "upgrade_down": ok(b"Content-Length: 5", b"Upgrade: h2c", b"Connection: Upgrade"),
        },
    ),
]
FIELDS: Final = [
    *told(
        "9110 5.1",
        "A field that is not known is forwarded.",
        has_down(b"x-unknown-field", b"1"),
        {"unknown_field_down": ok(b"X-Unknown-Field: 1", b"Content-Length: 5")},
    ),
    *told(
        "9110 5.3",
        "Fields of one name keep their order, and Set-Cookie its lines.",
        has_down(b"set-cookie", b"b=1", b"a=2", b"c=3"),
        {
            "order_down": ok(
                b"Set-Cookie: b=1",
                b"Set-Cookie: a=2",
                b"X-Other: 1",
                b"Set-Cookie: c=3",
                b"Content-Length: 5",
            )
        },
    ),
    *told(
        "9110 6.6.1",
        "An answer without Date gets the time at which it came.",
        down(_dated),
        {"date_is_added": sized(b"hello")},
    ),
    *told(
        "9110 7.6.1",
        "What Connection names is removed, and so is Connection.",
        every(says_down(b"hello"), lacks_down(b"x-hop")),
        {
            "answer_connection_names": ok(b"Connection: x-hop", b"X-Hop: 1", b"Content-Length: 5"),
            "answer_connection_in_capitals": ok(
                b"X-Hop: 1", b"CONNECTION: ,X-HOP", b"Content-Length: 5"
            ),
        },
    ),
    *told(
        "9110 7.7",
        "Content that says no-transform is not transformed.",
        every(says_down(b"\x1f\x8bhello"), has_down(b"content-encoding", b"gzip")),
        {
            "content_is_not_transformed": ok(
                b"Content-Encoding: gzip",
                b"Cache-Control: no-transform",
                b"Content-Length: 7",
                body=b"\x1f\x8bhello",
            )
        },
    ),
    *told(
        "9110 11.6.1",
        "WWW-Authenticate is not modified.",
        has_down(b"www-authenticate", b'Basic realm="a,  b", Digest c=d', b"Other"),
        {
            "challenge_is_kept": ok(
                b'WWW-Authenticate: Basic realm="a,  b", Digest c=d',
                b"WWW-Authenticate: Other",
                b"Content-Length: 5",
                start=b"HTTP/1.1 401 Unauthorized",
            )
        },
    ),
]
ROWS: Final = [*SYNTAX, *FRAMING, *STATUSES, *FIELDS]
