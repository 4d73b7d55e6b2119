"""Header fields pass as they stood; what a hop must not pass on does not, in either direction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    answers,
    running_gateway,
    says,
)

Field = tuple[bytes, bytes]

# What end-to-end fields may look like: order, case, duplicates, empty, long, not ASCII, odd spaces.
KEPT: tuple[Field, ...] = (
    (b"User-Agent", b"OpenAI/Python 1.0"),
    (b"x-lower", b"1"),
    (b"X-UPPER", b"2"),
    (b"X-Mixed-cAsE", b"3"),
    (b"Accept", b"text/event-stream"),
    (b"Accept-Encoding", b"gzip, br"),
    (b"X-Twice", b"first"),
    (b"Authorization", b"Bearer sk-of-the-caller"),
    (b"X-Twice", b"second"),
    (b"Cookie", b"a=1; b=2"),
    (b"X-Empty", b""),
    (b"X-Obs-Text", b"caf\xe9 \xff\xfe"),
    (b"X-Utf-8", b"\xe2\x82\xac"),
    (b"X-Long", b"y" * 8192),
    (b"X-Spaces", b"a  b\tc"),
    (b"X-Comma", b"a, b,c"),
    (b"!#$%&'*+-.^_`|~09azAZ", b"every character that a name may have"),
    (b"Via", b"1.1 somebody"),
    (b"X-Forwarded-For", b"192.0.2.1"),
    (b"Upgrade-Insecure-Requests", b"1"),
    (b"Te-Deum", b"begins like TE"),
    (b"x-weir-like", b"does not begin like ours"),
)
# One connection's own business, and the gateway's own.
DROPPED_UP: tuple[Field, ...] = (
    (b"Keep-Alive", b"timeout=5"),
    (b"Proxy-Connection", b"keep-alive"),
    (b"Proxy-Authorization", b"Basic eDp5"),
    (b"Proxy-Authenticate", b"Basic"),
    (b"TE", b"trailers"),
    (b"Trailer", b"X-Trailer"),
    (b"Upgrade", b"h2c"),
    (b"weir-metadata", b'{"a":1}'),
    (b"Weir-Anything", b"1"),
    (b"cf-aig-authorization", b"Bearer x"),
    (b"CF-AIG-Cache-TTL", b"60"),
)
ANSWERED: tuple[Field, ...] = (
    (b"Date", b"Tue, 15 Nov 1994 08:12:31 GMT"),
    (b"Server", b"cloudflare"),
    (b"content-type", b"application/json"),
    *((b"Set-Cookie", b"c%d=%d; Path=/" % (number, number)) for number in range(5)),
    (b"x-request-id", b"req_1"),
    (b"X-RateLimit-Remaining", b"59"),
    (b"openai-processing-ms", b"17"),
    (b"X-Obs-Text", b"na\xefve"),
    (b"X-Empty", b""),
    (b"X-Long", b"z" * 8192),
    (b"Cache-Control", b"private"),
    (b"ETag", b'"x"'),
    (b"Content-Encoding", b"identity"),
    (b"Location", b"http://localhost/elsewhere"),
    (b"Link", b"</a>; rel=next"),
    (b"Link", b"</b>; rel=prev"),
    (b"Alt-Svc", b'h3=":443"'),
)
DROPPED_DOWN: tuple[Field, ...] = (
    (b"Keep-Alive", b"timeout=5"),
    (b"Proxy-Connection", b"keep-alive"),
    (b"Proxy-Authenticate", b"Basic"),
    (b"Trailer", b"X-Trailer"),
    (b"Upgrade", b"h2,h2c"),
)


@pytest.fixture(scope="module")
def gateway(upstream) -> Iterator[RunningGateway]:
    with running_gateway({"providers": {"openai": upstream.provider()}}) as gateway:
        yield gateway


def sent_up(upstream: ScriptedUpstream, gateway: RunningGateway, *fields: Field) -> list[Field]:
    upstream.script = answers()
    upstream.forget()
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", b"/openai/v1/x?a=%2F&b", *fields, body=b"{}")
        assert caller.answer().status == 200
    return upstream.requests[0].fields


def sent_down(upstream: ScriptedUpstream, gateway: RunningGateway, *fields: Field) -> RawAnswer:
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    upstream.script = says(b"HTTP/1.1 200 Fine\r\n%bContent-Length: 2\r\n\r\n{}" % lines)
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/x")
        return caller.answer()


def without(fields: list[Field], *names: bytes) -> list[Field]:
    return [pair for pair in fields if pair[0].lower() not in names]


def test_fields_go_up_as_they_stood_with_host_set_and_nothing_added(upstream, gateway):
    fields = sent_up(upstream, gateway, *KEPT)

    assert fields[0] == (b"Host", b"localhost:%d" % upstream.port)
    assert without(fields, b"host", b"content-length") == list(KEPT)
    assert [pair for pair in fields if pair[0].lower() == b"content-length"] == [
        (b"Content-Length", b"2")
    ]


def test_what_concerns_one_hop_or_the_gateway_does_not_go_up(upstream, gateway):
    mixed = [pair for pairs in zip(KEPT, DROPPED_UP, strict=False) for pair in pairs]
    fields = sent_up(upstream, gateway, *mixed)

    assert without(fields, b"host", b"content-length") == list(KEPT[: len(DROPPED_UP)])


@pytest.mark.parametrize(
    "connection",
    [
        (b"Connection: X-Hop",),
        (b"Connection: keep-alive, x-hop",),
        (b"connection:   X-HOP  ,close",),
        (b"Connection: keep-alive", b"Connection: x-hop"),
        (b"Connection: ,,x-hop,",),
        (b"Connection: x-other,\tX-hop\t",),
    ],
)
def test_fields_named_by_connection_do_not_pass_in_either_direction(upstream, gateway, connection):
    named = [tuple(line.split(b":", 1)) for line in connection]
    hop = (b"X-Hop", b"this hop's own")
    kept = [(b"X-End", b"kept"), (b"Date", b"1")]
    both = (*named, *kept, hop)
    up = sent_up(upstream, gateway, *both)
    down = sent_down(upstream, gateway, *both).fields

    assert without(up, b"host", b"content-length") == kept
    assert without(down, b"content-length") == kept


def test_connection_cannot_name_away_what_must_stay(upstream, gateway):
    fields = sent_up(upstream, gateway, (b"Connection", b"host, content-length, close"))

    assert [name.lower() for name, _ in fields] == [b"host", b"content-length"]


def test_fields_come_down_as_they_stood_and_nothing_is_added(upstream, gateway):
    answer = sent_down(upstream, gateway, *ANSWERED)

    assert answer.start == b"HTTP/1.1 200 Fine"
    assert without(answer.fields, b"content-length") == list(ANSWERED)


def test_what_concerns_one_hop_does_not_come_down(upstream, gateway):
    mixed = [pair for pairs in zip(ANSWERED, DROPPED_DOWN, strict=False) for pair in pairs]
    answer = sent_down(upstream, gateway, *mixed)

    assert without(answer.fields, b"content-length") == list(ANSWERED[: len(DROPPED_DOWN)])


@pytest.mark.parametrize(
    "target",
    [
        b"a%2Fb",
        b"a%2fb",
        b"a%25b",
        b"a%3Bb;c=d",
        b"a//b",
        b"a/../b",
        b"a/./b/",
        b"a?",
        b"a?b=c&b=d",
        b"a?x=%20+%2B",
        b"a?q=http://example.com/?x=1",
        b"models/gemini:streamGenerateContent?alt=sse",
        b"a!$&'()*+,;=:@-._~",
        b"a[b]{c}|d^e`f",
        b"a?" + b"q" * 8000,
        b"\xc3\xa9",
        b"%C3%A9",
        b"%",
        b"%zz",
    ],
)
def test_the_path_goes_up_byte_for_byte(upstream, gateway, target):
    upstream.script = answers()
    upstream.forget()
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v2/" + target)
        status = caller.answer().status

    if status == 200:
        assert upstream.requests[0].target == b"/v2/" + target
    else:
        assert status == 400
        assert upstream.requests == []


@pytest.mark.parametrize(
    "method",
    [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD", b"REPORT", b"QUERY"],
)
def test_every_method_goes_up_as_it_is(upstream, gateway, method):
    upstream.script = answers(b"")
    upstream.forget()
    with RawCaller(gateway.port) as caller:
        caller.request(method, b"/openai/v1/x")
        status = caller.answer(to=method).status

    assert status == 200
    assert upstream.requests[0].head.startswith(method + b" /v1/x HTTP/1.1\r\n")


def test_our_own_answers_name_no_server_and_are_not_stored(gateway):
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/nobody/v1/x")
        answer = caller.answer()

    assert answer.status == 404
    assert answer.get(b"server") is None
    assert answer.get(b"content-type") == b"application/json"
    assert b"no-store" in (answer.get(b"cache-control") or b"")
