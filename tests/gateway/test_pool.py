"""Connections to upstreams: which is taken, how many there are, how one is made."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import trustme

from gateway import Attempt, OwnFault, UpstreamFault
from gateway.clock import Clock
from gateway.origins import Origin
from gateway.pool import Pool
from gateway.testing import ScriptedUpstream, Tls, answers, attempt_of, exchange
from gateway.upstream import Upstream
from tests.gateway.ends import End, Listening, limits, run, until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@contextlib.asynccontextmanager
async def pooled(**written: str | int) -> AsyncIterator[Pool]:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = Pool(loop, clock, limits(**written))
    try:
        yield pool
    finally:
        pool.close()
        clock.close()
        await asyncio.sleep(0.01)  # lets what was closed go


def origin(port: int, host: str = "127.0.0.1") -> Origin:
    return Origin("http", host, port)


def attempt(connect_timeout_s: float = 5.0) -> Attempt:
    made = attempt_of(exchange())
    made.connect_timeout_ns = int(connect_timeout_s * 1e9)
    return made


async def connected(pool: Pool, listening: Listening, bound: int = 0) -> tuple[Upstream, End]:
    """Make a connection and give both of its ends."""
    ours, theirs = await asyncio.gather(
        pool.connect(origin(listening.port), attempt(), bound), listening.accept()
    )
    return ours, theirs


async def used(ours: Upstream, theirs: End) -> None:
    """Have one request answered, after which the connection is kept."""
    answer = ours.ask(REQUEST, is_head=False, uploading=False)
    await theirs.exactly(len(REQUEST))
    await theirs.send(ANSWER)
    await until(lambda: answer.ended)


# -- kept connections ------------------------------------------------------------------------------


def test_a_connection_is_kept_once_its_answer_is_whole_and_taken_once():
    async def story() -> None:
        listening = Listening()
        async with pooled() as pool:
            ours, theirs = await connected(pool, listening)
            assert pool.idle(ours.origin) is None
            await used(ours, theirs)

            assert pool.idle(origin(listening.port)) is ours
            assert pool.idle(ours.origin) is None

    run(story())


def test_the_one_kept_last_is_taken_first():
    async def story() -> None:
        listening = Listening()
        async with pooled() as pool:
            pairs = [await connected(pool, listening) for _ in range(3)]
            for pair in pairs:
                await used(*pair)

            taken = [pool.idle(pairs[0][0].origin) for _ in range(4)]
            assert taken == [pairs[2][0], pairs[1][0], pairs[0][0], None]

    run(story())


def test_origins_do_not_share_connections():
    async def story() -> None:
        first, second = Listening(), Listening()
        async with pooled() as pool:
            ours, theirs = await connected(pool, first)
            await used(ours, theirs)

            assert pool.idle(origin(second.port)) is None
            assert pool.idle(Origin("https", "127.0.0.1", first.port)) is None
            assert pool.idle(Origin("http", "127.0.0.1", first.port, socket="/x")) is None
            assert pool.idle(ours.origin) is ours

    run(story())


@pytest.mark.parametrize("bound", [0, 1, 2])
def test_no_more_are_kept_than_the_bound_says(bound):
    async def story() -> None:
        listening = Listening()
        async with pooled(idle_upstream_max=bound) as pool:
            pairs = [await connected(pool, listening) for _ in range(3)]
            for pair in pairs:
                await used(*pair)
            endings = [await theirs.ending() for _, theirs in pairs]

            assert endings == ["none"] * bound + ["fin"] * (3 - bound)
            assert pool.size == bound

    run(story())


def test_one_that_the_upstream_closed_is_not_taken():
    async def story() -> None:
        listening = Listening()
        async with pooled() as pool:
            for leave in (End.close, End.reset):
                ours, theirs = await connected(pool, listening)
                await used(ours, theirs)
                leave(theirs)
                await asyncio.sleep(0.02)

                assert pool.idle(ours.origin) is None
                assert pool.size == 0

    run(story())


def test_one_that_speaks_while_it_rests_is_dropped():
    async def story() -> None:
        listening = Listening()
        async with pooled() as pool:
            ours, theirs = await connected(pool, listening)
            await used(ours, theirs)
            await theirs.send(ANSWER)
            await asyncio.sleep(0.02)

            assert pool.idle(ours.origin) is None
            assert await theirs.ending() in ("fin", "reset")

    run(story())


def test_one_that_rests_too_long_is_closed():
    async def story() -> None:
        listening = Listening()
        async with pooled(upstream_keepalive_timeout="10s") as pool:
            ours, theirs = await connected(pool, listening)
            await used(ours, theirs)
            now = time.monotonic_ns()
            ours.check(now)  # sees that it was active
            ours.check(now + 9_000_000_000)
            assert await theirs.ending() == "none"
            ours.check(now + 11_000_000_000)
            assert await theirs.ending() == "fin"
            assert pool.idle(ours.origin) is None

    run(story())


def test_a_closed_pool_has_closed_everything():
    async def story() -> None:
        listening = Listening()
        async with pooled() as pool:
            kept, busy = await connected(pool, listening), await connected(pool, listening)
            await used(*kept)
            busy[0].ask(REQUEST, is_head=False, uploading=False)
            pool.close()

            assert await kept[1].ending() in ("fin", "reset")
            assert await busy[1].ending() in ("fin", "reset")
            assert pool.size == 0

    run(story())


# -- the bound on open ones ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "written"), [(0, {"origin_connections_max": 2}), (2, {"origin_connections_max": 1})]
)
def test_an_origin_at_its_bound_is_refused_at_once(own, written):
    async def story() -> None:
        listening = Listening()
        async with pooled(**written) as pool:
            pairs = [await connected(pool, listening, own) for _ in range(2)]
            with pytest.raises(OwnFault) as caught:
                await connected(pool, listening, own)
            fault = caught.value
            assert (fault.status, fault.code) == (503, "upstream_connections")
            assert dict(fault.headers)[b"Retry-After"] == b"1"
            assert "origin_connections_max" in fault.detail
            assert str(listening.port) not in fault.message

            pairs[0][0].drop()
            await asyncio.sleep(0.01)
            await connected(pool, listening, own)

    run(story())


def test_a_burst_does_not_pass_the_bound():
    async def story() -> None:
        listening = Listening()
        async with pooled(origin_connections_max=3) as pool:
            made = await asyncio.gather(
                *(pool.connect(origin(listening.port), attempt(), 0) for _ in range(20)),
                return_exceptions=True,
            )

            assert sum(isinstance(one, Upstream) for one in made) == 3
            assert sum(isinstance(one, OwnFault) for one in made) == 17

    run(story())


def test_another_origin_has_its_own_bound():
    async def story() -> None:
        first, second = Listening(), Listening()
        async with pooled(origin_connections_max=1) as pool:
            await connected(pool, first)
            await connected(pool, second)
            assert pool.size == 2

    run(story())


def test_whatever_ends_a_connection_makes_room_for_another():
    async def story() -> None:
        listening = Listening()
        async with pooled(origin_connections_max=1) as pool:
            for who in ("theirs", "theirs by a reset", "ours"):
                ours, theirs = await connected(pool, listening)
                if who == "ours":
                    ours.drop()
                elif who == "theirs":
                    theirs.close()
                else:
                    theirs.reset()
                await asyncio.sleep(0.02)
                assert pool.size == 0

    run(story())


def test_what_fails_to_connect_does_not_count():
    async def story() -> None:
        listening = Listening()
        port = listening.port
        listening.close()
        async with pooled(origin_connections_max=1) as pool:
            for _ in range(3):
                with pytest.raises(UpstreamFault):
                    await pool.connect(origin(port), attempt(), 0)
            task = asyncio.ensure_future(pool.connect(origin(port, "192.0.2.1"), attempt(), 0))
            await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, UpstreamFault):
                await task
            again = Listening()
            await connected(pool, again)
            assert pool.size == 1

    run(story())


def test_connections_that_are_closed_as_they_are_made_do_not_wear_the_bound_out():
    async def story() -> None:
        listening = Listening()

        async def closes() -> None:
            while True:
                (await listening.accept()).reset()

        closing = asyncio.ensure_future(closes())
        async with pooled(origin_connections_max=4) as pool:
            for _ in range(40):
                ours = await pool.connect(origin(listening.port), attempt(), 0)
                answer = ours.ask(REQUEST, is_head=False, uploading=False)
                while answer.fault is None:
                    await answer.news()
                assert answer.fault.status == 502
            await asyncio.sleep(0.01)
            assert pool.size == 0
        closing.cancel()

    run(story())


# -- making one ------------------------------------------------------------------------------------


def test_a_refused_connection_reached_nobody():
    async def story() -> None:
        listening = Listening()
        port = listening.port
        listening.close()
        async with pooled() as pool:
            with pytest.raises(UpstreamFault) as caught:
                await pool.connect(origin(port), attempt(), 0)
        fault = caught.value
        assert (fault.status, fault.code) == (502, "upstream_unreachable")
        assert (fault.reached, fault.retryable) == (False, True)
        assert str(port) in fault.detail
        assert "127.0.0.1" not in fault.message

    run(story())


def test_a_connection_that_is_not_made_in_time_reached_nobody():
    async def story() -> None:
        listening = Listening(backlog=0)
        filler = [socket.socket() for _ in range(4)]
        for sock in filler:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", listening.port))  # nobody accepts: the queue is full
        async with pooled() as pool:
            began = time.monotonic()
            with pytest.raises(UpstreamFault) as caught:
                await pool.connect(origin(listening.port), attempt(0.1), 0)
            took = time.monotonic() - began
        for sock in filler:
            sock.close()
        assert 0.09 < took < 1
        assert (caught.value.reached, caught.value.code) == (False, "upstream_unreachable")
        assert "no connection within 0.1 s" in caught.value.detail

    run(story())


def test_a_handshake_that_is_not_made_in_time_reached_nobody():
    async def story() -> None:
        listening = Listening()
        async with pooled() as pool:
            with pytest.raises(UpstreamFault) as caught:
                await pool.connect(Origin("https", "localhost", listening.port), attempt(0.1), 0)
            theirs = await listening.accept()
            assert (await theirs.rest())[:1] == b"\x16"  # a client hello, and then the end
        assert caught.value.reached is False

    run(story())


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 64 + ".invalid", "a..invalid"])
def test_a_name_that_is_none_reached_nobody(host):
    async def story() -> None:
        async with pooled() as pool:
            with pytest.raises(UpstreamFault) as caught:
                await pool.connect(origin(80, host), attempt(), 0)
        assert (caught.value.reached, caught.value.code) == (False, "upstream_unreachable")
        assert host not in caught.value.message

    run(story())


def test_a_unix_socket_is_connected_to_by_its_path():
    async def story(path: str) -> None:
        async with pooled() as pool:
            place = Origin("http", "localhost", socket=path)
            ours = await pool.connect(place, attempt(), 0)
            answer = ours.ask(REQUEST, is_head=False, uploading=False)
            while not answer.ended:
                await answer.news()
            assert (answer.status, answer.take()) == (200, b"{}")
            assert pool.idle(place) is ours
            for missing in (path + "x", "/dev/null/x"):
                with pytest.raises(UpstreamFault) as caught:
                    await pool.connect(Origin("http", "a", socket=missing), attempt(), 0)
                assert caught.value.reached is False

    with ScriptedUpstream(answers(), unix=True) as upstream:
        assert upstream.socket_path is not None
        run(story(upstream.socket_path))


def test_an_ipv6_address_is_connected_to():
    async def story() -> None:
        listening = Listening("::1")
        async with pooled() as pool:
            ours, theirs = await asyncio.gather(
                pool.connect(origin(listening.port, "::1"), attempt(), 0), listening.accept()
            )
            await used(ours, theirs)
            assert pool.idle(ours.origin) is ours

    run(story())


class Resolving:
    """The loop, with a resolver of our own: the edge where names become addresses."""

    def __init__(self, *addresses: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []
        self.is_away = False

    def __getattr__(self, name: str) -> object:
        return getattr(self.loop, name)

    async def getaddrinfo(self, host: str, port: int, **rest: object) -> list[tuple]:
        self.asked.append((host, port))
        if self.is_away:
            raise socket.gaierror(socket.EAI_AGAIN, "the resolver is away")
        found = []
        for address in self.addresses:
            is_6 = ":" in address
            family = socket.AF_INET6 if is_6 else socket.AF_INET
            where = (address, port, 0, 0) if is_6 else (address, port)
            found.append((family, socket.SOCK_STREAM, 6, "", where))
        return found


@contextlib.asynccontextmanager
async def resolved(*addresses: str, **written: str | int) -> AsyncIterator[tuple[Pool, Resolving]]:
    loop = Resolving(*addresses)
    as_loop = cast("asyncio.AbstractEventLoop", loop)
    clock = Clock(as_loop)
    pool = Pool(as_loop, clock, limits(**written))
    try:
        yield pool, loop
    finally:
        pool.close()
        clock.close()
        await asyncio.sleep(0.01)


async def dialled(pool: Pool, port: int, host: str = "up.example") -> Upstream:
    return await pool.connect(origin(port, host), attempt(), 0)


def test_an_address_that_refuses_does_not_keep_the_next_from_answering():
    async def story() -> None:
        listening = Listening()
        async with resolved("127.0.0.2", "::1", "127.0.0.1") as (pool, _):
            began = time.monotonic()
            ours = await dialled(pool, listening.port)
            assert ours.sock.getpeername() == ("127.0.0.1", listening.port)
            assert time.monotonic() - began < 0.2

    run(story())


def test_an_address_that_is_silent_is_raced_by_the_next():
    async def story() -> None:
        full = Listening("127.0.0.2", backlog=0)
        filler = [socket.socket() for _ in range(4)]
        for sock in filler:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.2", full.port))
        listening = Listening("127.0.0.1", port=full.port)
        async with resolved("127.0.0.2", "127.0.0.1") as (pool, _):
            began = time.monotonic()
            ours = await dialled(pool, listening.port)
            assert ours.sock.getpeername()[0] == "127.0.0.1"
            assert 0.2 < time.monotonic() - began < 1
        for sock in filler:
            sock.close()

    run(story())


def test_where_all_addresses_refuse_the_detail_says_so():
    async def story() -> None:
        listening = Listening()
        port = listening.port
        listening.close()
        async with resolved("127.0.0.1", "127.0.0.2") as (pool, _):
            with pytest.raises(UpstreamFault) as caught:
                await dialled(pool, port)
            assert "refused" in caught.value.detail.lower()

    run(story())


def test_a_name_is_asked_for_once_in_its_time():
    async def story() -> None:
        listening = Listening()
        async with resolved("127.0.0.1", dns_cache_ttl="100ms") as (pool, loop):
            for _ in range(5):
                await dialled(pool, listening.port)
            assert loop.asked == [("up.example", listening.port)]
            await asyncio.sleep(0.11)
            await dialled(pool, listening.port)
            assert len(loop.asked) == 2

    run(story())


def test_a_new_address_is_taken_once_the_old_ones_time_is_over():
    async def story() -> None:
        listening = Listening()
        other = Listening("127.0.0.2", port=listening.port)
        async with resolved("127.0.0.1", dns_cache_ttl="50ms") as (pool, loop):
            await dialled(pool, listening.port)
            loop.addresses = ("127.0.0.2",)
            await asyncio.sleep(0.06)
            ours = await dialled(pool, other.port)
            assert ours.sock.getpeername()[0] == "127.0.0.2"

    run(story())


def test_while_the_resolver_is_away_an_old_address_serves():
    async def story() -> None:
        listening = Listening()
        async with resolved("127.0.0.1", dns_cache_ttl="1ms") as (pool, loop):
            await dialled(pool, listening.port)
            loop.is_away = True
            await asyncio.sleep(0.01)
            await dialled(pool, listening.port)
            with pytest.raises(UpstreamFault) as caught:
                await dialled(pool, listening.port, "new.example")
            assert "away" in caught.value.detail
            assert caught.value.reached is False

    run(story())


def test_only_so_many_names_are_remembered():
    async def story() -> None:
        listening = Listening()
        async with resolved("127.0.0.1", dns_cache_max=2) as (pool, loop):
            for host in ("a.example", "b.example", "c.example", "c.example", "b.example"):
                await dialled(pool, listening.port, host)
            assert len(loop.asked) == 3
            await dialled(pool, listening.port, "a.example")
            assert len(loop.asked) == 4

    run(story())


def test_an_address_that_is_remembered_again_forgets_no_other():
    async def story() -> None:
        listening = Listening()
        async with resolved("127.0.0.1", dns_cache_max=2, dns_cache_ttl="150ms") as (pool, loop):
            await dialled(pool, listening.port, "a.example")
            await asyncio.sleep(0.1)
            await dialled(pool, listening.port, "b.example")
            await asyncio.sleep(0.07)
            await dialled(pool, listening.port, "a.example")  # its time was over
            await dialled(pool, listening.port, "b.example")  # its time is not
            assert [host for host, _ in loop.asked] == ["a.example", "b.example", "a.example"]

    run(story())


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return certified(authority, tmp_path_factory.mktemp("tls"), "localhost")


def certified(authority: trustme.CA, folder: Path, name: str) -> Tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return Tls(context, str(file))


def secure(upstream: ScriptedUpstream, ca_file: str | None) -> Origin:
    return Origin("https", "localhost", upstream.port, ca_file=ca_file)


async def refused(place: Origin) -> UpstreamFault:
    async with pooled() as pool:
        with pytest.raises(UpstreamFault) as caught:
            await pool.connect(place, attempt(), 0)
        assert pool.size == 0
    fault = caught.value
    assert (fault.status, fault.reached) == (502, False)
    assert "certificate" not in fault.message.lower()
    return fault


def test_a_trusted_certificate_is_believed(tls):
    async def story() -> None:
        async with pooled() as pool:
            place = secure(upstream, tls.ca_file)
            ours = await pool.connect(place, attempt(), 0)
            answer = ours.ask(REQUEST, is_head=False, uploading=False)
            while not answer.ended:
                await answer.news()
            assert answer.status == 200
            assert pool.idle(place) is ours

    with ScriptedUpstream(answers(), tls=tls) as upstream:
        run(story())


def test_a_stranger_s_certificate_is_not_and_the_reason_is_for_the_log(tls):
    with ScriptedUpstream(answers(), tls=tls) as upstream:
        fault = run(refused(secure(upstream, None)))
        assert upstream.requests == []

    assert "CERTIFICATE_VERIFY_FAILED" in fault.detail
    assert f"localhost:{upstream_port(fault)}" in fault.detail


def upstream_port(fault: UpstreamFault) -> str:
    """Give the port that the detail names."""
    return fault.detail.partition("localhost:")[2].partition(":")[0].partition(",")[0]


def test_a_certificate_for_another_name_is_not_believed(authority, tmp_path):
    with ScriptedUpstream(answers(), tls=certified(authority, tmp_path, "other.example")) as up:
        fault = run(refused(secure(up, up.tls.ca_file if up.tls else None)))

    assert "mismatch" in fault.detail.lower()


def test_a_file_of_certificates_that_is_missing_is_for_the_log_too():
    with ScriptedUpstream(answers()) as upstream:
        fault = run(refused(secure(upstream, "/nowhere/ca.pem")))

    assert "nowhere" not in fault.message


def test_an_upstream_that_speaks_no_tls_is_not_spoken_to():
    async def story() -> UpstreamFault:
        listening = Listening()

        async def speaks() -> None:
            await (await listening.accept()).send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        speaking = asyncio.ensure_future(speaks())
        fault = await refused(Origin("https", "localhost", listening.port))
        await speaking
        return fault

    assert "SSL" in run(story()).detail


def test_no_protocol_but_ours_is_agreed_on(authority, tmp_path):
    """Without this an upstream could answer in HTTP/2."""
    tls = certified(authority, tmp_path, "localhost")
    tls.context.set_alpn_protocols(["h2", "http/1.1"])
    agreed: list[str] = []

    async def story() -> None:
        async with pooled() as pool:
            ours = await pool.connect(secure(upstream, tls.ca_file), attempt(), 0)
            agreed.append(ours.transport.get_extra_info("ssl_object").selected_alpn_protocol())

    with ScriptedUpstream(answers(), tls=tls) as upstream:
        run(story())
    assert agreed == ["http/1.1"]


def test_no_descriptor_is_left_open_whatever_happens(tls):
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def connects(pool: Pool, upstream: ScriptedUpstream, refusing: int, silent: int) -> None:
        """Make connections of every kind, good and bad, and close them."""
        await pool.connect(secure(upstream, tls.ca_file), attempt(), 0)
        for bad in (
            origin(refusing),
            secure(upstream, None),
            secure(upstream, "/nowhere/ca.pem"),
            Origin("http", "a", socket="/dev/null/x"),
            Origin("https", "localhost", silent),
        ):
            with pytest.raises(UpstreamFault):
                await pool.connect(bad, attempt(0.05), 0)
        pool.close()

    async def story(upstream: ScriptedUpstream) -> None:
        refusing, silent = Listening(), Listening()
        refusing.close()
        async with pooled() as pool:
            await connects(pool, upstream, refusing.port, silent.port)
            await asyncio.sleep(0.1)  # what stays has been made: a resolver's thread, a context
            before = opened()
            for _ in range(3):
                await connects(pool, upstream, refusing.port, silent.port)
            await until(lambda: opened() <= before)

    with ScriptedUpstream(answers(), tls=tls) as upstream:
        run(story(upstream))
