"""A tunnel through a proxy: what is asked of it, what it may answer, and what goes through."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from gateway import Attempt, UpstreamFault
from gateway.clock import Clock
from gateway.origins import Origin
from gateway.pool import Pool
from gateway.proxies import parse
from gateway.testing import ScriptedUpstream, Tls, answers, attempt_of, exchange
from gateway.tunnel import HEAD_BYTES_MAX, connect_request
from tests.gateway.ends import End, Listening, limits, run, until
from tests.gateway.forwarder import ESTABLISHED, Forwarder

REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: up.example\r\nAuthorization: Bearer k-123\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CREDENTIALS = "somebody:open-sesame"


@contextlib.asynccontextmanager
async def pooled() -> AsyncIterator[Pool]:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = Pool(loop, clock, limits(origin_connections_max=2))
    try:
        yield pool
    finally:
        pool.close()
        clock.close()
        await asyncio.sleep(0.01)  # lets what was closed go


def attempt(connect_timeout_s: float = 5.0) -> Attempt:
    made = attempt_of(exchange())
    made.connect_timeout_ns = int(connect_timeout_s * 1e9)
    made.first_byte_timeout_ns = made.idle_timeout_ns = 5_000_000_000
    return made


def through(port: int, scheme: str = "http", user: str = "", ca_file: str | None = None) -> Origin:
    proxy = parse(f"http://{user}127.0.0.1:{port}")
    return Origin(scheme, "up.example", ca_file=ca_file, proxy=proxy)


@pytest.fixture
def tls(tmp_path) -> Tls:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("up.example").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return Tls(context, str(tmp_path / "ca.pem"))


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "place"),
    [
        ("up.example", 443, b"up.example:443"),
        ("10.0.0.1", 8080, b"10.0.0.1:8080"),
        ("fd00::1", 443, b"[fd00::1]:443"),
        ("b\u00fccher.example", 80, b"xn--bcher-kva.example:80"),
    ],
)
def test_the_upstreams_name_and_port_are_asked_for(host, port, place):
    proxy = parse("http://p.example:3128")
    expected = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (place, place)
    assert connect_request(proxy, host, port) == expected


# -- what goes through -----------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", f"{CREDENTIALS}@"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_goes_through_and_only_the_upstream_sees_it(scheme, user, tls):
    async def story(upstream: ScriptedUpstream, proxy: Forwarder) -> None:
        place = through(proxy.port, scheme, user, tls.ca_file)
        async with pooled() as pool:
            ours = await pool.connect(place, attempt(), 0)
            for _ in range(2):
                answer = ours.ask(REQUEST, is_head=False, uploading=False)
                while not answer.ended and answer.fault is None:
                    await answer.news()
                assert (answer.status, answer.take()) == (200, b"{}")
                assert pool.idle(place) is ours
        assert len(proxy.heads) == 1
        assert all(b"roxy" not in request.head for request in upstream.requests)

    is_secure = scheme == "https"
    with (
        ScriptedUpstream(answers(), tls=tls if is_secure else None) as upstream,
        Forwarder(upstream.port, credentials=CREDENTIALS.encode() if user else b"") as proxy,
    ):
        run(story(upstream, proxy))
    assert len(upstream.requests) == 2
    assert proxy.heads[0].startswith(b"CONNECT up.example:%d HTTP/1.1" % (443 if is_secure else 80))
    assert b"Bearer" not in proxy.heads[0]


def test_connections_are_kept_per_proxy_and_its_credentials():
    places = [
        Origin("http", "up.example"),
        through(1),
        through(2),
        through(1, user="a:b@"),
        through(1, user="a:c@"),
    ]
    assert len({place.key for place in places}) == len(places)
    assert not any("a:" in place.key for place in places)


def test_a_unix_socket_needs_no_proxy():
    assert Origin("http", "a", socket="/a.sock", proxy=parse("http://p:1")).proxy is None


def test_a_certificate_is_checked_inside_the_tunnel(tls):
    async def story() -> None:
        async with pooled() as pool:
            with pytest.raises(UpstreamFault) as caught:
                await pool.connect(through(proxy.port, "https"), attempt(), 0)
            assert "CERTIFICATE_VERIFY_FAILED" in caught.value.detail

    with (
        ScriptedUpstream(answers(), tls=tls) as upstream,
        Forwarder(upstream.port) as proxy,
    ):
        run(story())


# -- what the proxy answers ------------------------------------------------------------------------


def judge(fault: UpstreamFault, pool: Pool, port: int) -> None:
    """Hold what is true of every tunnel that was not made."""
    assert pool.size == 0
    assert (fault.status, fault.code) == (502, "upstream_unreachable")
    assert (fault.reached, fault.message) == (False, "The upstream could not be reached.")
    assert f"up.example:80, proxy 127.0.0.1:{port}" in fault.detail


async def told(*pieces: bytes, closes: bool = False, user: str = "") -> UpstreamFault | End:
    """Connect through a proxy that says this; give the fault, or its end once there is a tunnel."""
    listening = Listening()

    async def says() -> End:
        theirs = await listening.accept()
        await theirs.head()
        for piece in pieces:
            await theirs.send(piece)
            await asyncio.sleep(0.005)
        if closes:
            theirs.close()
        return theirs

    async with pooled() as pool:
        saying = asyncio.ensure_future(says())
        place = through(listening.port, user=user)
        try:
            ours = await pool.connect(place, attempt(0.3), 0)
        except UpstreamFault as fault:
            saying.cancel()
            judge(fault, pool, listening.port)
            return fault
        theirs = await saying
        answer = ours.ask(REQUEST, is_head=False, uploading=False)
        assert await theirs.exactly(len(REQUEST)) == REQUEST
        await theirs.send(ANSWER)
        await until(lambda: answer.ended)
        return theirs


@pytest.mark.parametrize(
    "pieces",
    [
        [ESTABLISHED],
        [b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"],
        [b"HTTP/1.1 204\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", ESTABLISHED],
        [b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" + ESTABLISHED],
        [b"HTTP/1.1 20", b"0 OK\r\n", b"\r", b"\n"],
    ],
)
def test_a_tunnel_is_made_by_any_2xx(pieces):
    assert isinstance(run(told(*pieces)), End)


REFUSALS = {
    "wants credentials": (
        b"HTTP/1.1 407 Who\r\n\r\n",
        "407 Proxy Authentication Required; it wants",
    ),
    "forbids": (b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnone", "with 403 Forbidden"),
    "finds nobody": (b"HTTP/1.1 502 None\r\n\r\n", "with 502 Bad Gateway"),
    "is strange": (b"HTTP/1.1 599 \r\n\r\n", "with 599"),
    "redirects": (b"HTTP/1.1 302 F\r\nLocation: /\r\n\r\n", "with 302 Found"),
    "switches": (b"HTTP/1.1 101 S\r\n\r\n", "with 101 Switching Protocols"),
    "says more": (ESTABLISHED + b"x", "bytes behind the head"),
    "is no proxy": (b"SSH-2.0-OpenSSH_9\r\n\r\n", "not valid HTTP"),
    "speaks HTTP/2": (b"HTTP/2 200\r\n\r\n", "not valid HTTP"),
    "babbles": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * HEAD_BYTES_MAX, "is longer than"),
    "is interim for ever": (b"HTTP/1.1 100 C\r\n\r\n" * HEAD_BYTES_MAX, "is longer than"),
    "is silent": (b"", "no connection within 0.3 s"),
    "is slow": (b"HTTP/1.1 200 OK\r\n", "no connection within 0.3 s"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_without_a_tunnel_the_upstream_is_not_reached(name):
    said, expected = REFUSALS[name]
    fault = run(told(said))
    assert isinstance(fault, UpstreamFault)
    assert expected in fault.detail


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX:"])
def test_a_proxy_that_closes_makes_no_tunnel(said):
    fault = run(told(said, closes=True))
    assert isinstance(fault, UpstreamFault)
    assert "closed the connection without an answer" in fault.detail


def test_a_refusal_quotes_no_credential_even_if_the_proxy_does():
    said = b"HTTP/1.1 407 No open-sesame, somebody\r\nX: c29tZWJvZHk6b3Blbi1zZXNhbWU=\r\n\r\n"
    fault = run(told(said, user=f"{CREDENTIALS}@"))
    assert isinstance(fault, UpstreamFault)
    assert "does not take the credentials" in fault.detail
    for word in ("sesame", "somebody", "c29tZWJvZHk6"):
        assert word not in f"{fault.detail} {fault.message} {fault!r}"


def test_the_proxy_is_left_at_once():
    async def story() -> None:
        listening = Listening()

        async def says() -> End:
            theirs = await listening.accept()
            await theirs.head()
            await theirs.send(b"HTTP/1.1 403 No\r\n\r\n")
            return theirs

        async with pooled() as pool:
            connecting = pool.connect(through(listening.port), attempt(), 0)
            fault, theirs = await asyncio.gather(connecting, says(), return_exceptions=True)
            assert isinstance(fault, UpstreamFault)
            assert isinstance(theirs, End)
            assert await theirs.ending() == "fin"

    run(story())


def test_a_proxy_that_is_not_there_is_named():
    listening = Listening()
    listening.close()

    async def story() -> None:
        async with pooled() as pool:
            with pytest.raises(UpstreamFault) as caught:
                await pool.connect(through(listening.port), attempt(), 0)
            assert f"proxy 127.0.0.1:{listening.port}: ConnectionRefused" in caught.value.detail

    run(story())


# -- who may have seen a request -------------------------------------------------------------------


@pytest.mark.parametrize("is_read", [False, True])
def test_a_request_may_go_again_only_if_the_proxy_took_none_of_it(is_read):
    """What was written to make the tunnel does not count as the request's."""

    async def story() -> UpstreamFault | None:
        listening = Listening()

        async def says() -> End:
            theirs = await listening.accept()
            await theirs.head()
            await theirs.send(ESTABLISHED)
            return theirs

        async with pooled() as pool:
            ours, theirs = await asyncio.gather(
                pool.connect(through(listening.port), attempt(), 0), says()
            )
            if not is_read:
                theirs.close()
            answer = ours.ask(REQUEST, is_head=False, uploading=False)
            if is_read:
                await theirs.exactly(len(REQUEST))
                theirs.close()
            while answer.fault is None:
                await answer.news()
            return answer.fault

    fault = run(story())
    assert fault is not None
    assert fault.reached is is_read
