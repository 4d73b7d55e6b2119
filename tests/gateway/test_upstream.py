"""One connection to an upstream: what its bytes mean, when it is kept, who may have seen what.

Most stories play the upstream by hand; those with TLS have a scripted one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import TypeVar

import hypothesis
import hypothesis.strategies as st
import pytest
import trustme

from gateway import Headers, UpstreamFault
from gateway.clock import Clock
from gateway.origins import Origin
from gateway.pool import Pool
from gateway.testing import ScriptedUpstream, Tls, Visit, attempt_of, chunk, chunked, exchange
from gateway.upstream import Answer, Upstream
from tests.gateway.ends import End, Listening, Wire, limits, run, until

T = TypeVar("T")

REQUEST = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nDate: 1\r\nContent-Length: 5\r\n\r\n"
DATE = (b"Date", b"1")
SECOND_NS = 1_000_000_000


class Sink:
    """Keeps what an answer's body brings."""

    def __init__(self) -> None:
        self.slices: list[bytes] = []
        self.ended = False
        self.fault: UpstreamFault | None = None

    def feed(self, data: bytes, ended: bool) -> None:
        assert not self.ended
        assert self.fault is None
        self.slices.append(data)
        self.ended = ended

    def fail(self, fault: UpstreamFault) -> None:
        assert not self.ended
        assert self.fault is None
        self.fault = fault

    @property
    def body(self) -> bytes:
        return b"".join(self.slices)

    @property
    def is_over(self) -> bool:
        return self.ended or self.fault is not None


class Talk:
    """A connection with both of its ends, and the answer in progress on it."""

    def __init__(self, pool: Pool, ours: Upstream, theirs: End) -> None:
        self.pool = pool
        self.ours = ours
        self.theirs = theirs

    async def asked(
        self, request: bytes = REQUEST, *, is_head: bool = False, uploading: bool = False
    ) -> Answer:
        answer = self.ours.ask(request, is_head=is_head, uploading=uploading)
        assert await self.theirs.exactly(len(request)) == request
        return answer

    async def answered(self, raw: bytes, *, is_head: bool = False) -> Answer:
        """Ask, have that said, and wait until the answer is whole or failed."""
        answer = await self.asked(is_head=is_head)
        await self.theirs.send(raw)
        await whole(answer)
        return answer

    @property
    def is_kept(self) -> bool:
        return self.pool.idle(self.ours.origin) is self.ours


async def whole(answer: Answer) -> None:
    while not answer.ended and answer.fault is None:
        await answer.news()


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
        await asyncio.sleep(0.01)


async def dialled(pool: Pool, place: Origin) -> Upstream:
    made = await pool.connect(place, attempt_of(exchange()), 0)
    made.first_byte_timeout_ns = 600 * SECOND_NS
    made.idle_timeout_ns = 120 * SECOND_NS
    return made


@contextlib.asynccontextmanager
async def talking(**written: str | int) -> AsyncIterator[Talk]:
    listening = Listening()
    async with pooled(**written) as pool:
        ours, theirs = await asyncio.gather(
            dialled(pool, Origin("http", "127.0.0.1", listening.port)), listening.accept()
        )
        yield Talk(pool, ours, theirs)


# -- heads -----------------------------------------------------------------------------------------


def test_a_head_comes_with_its_fields_in_order_case_and_number():
    async def story() -> Answer:
        async with talking() as talk:
            return await talk.answered(
                b"HTTP/1.1 429 Slow Down\r\nX-B: 1\r\nx-a:\r\nX-B:  2\r\nDate: 1\r\n"
                b"Content-Length: 0\r\n\r\n"
            )

    answer = run(story())
    assert (answer.status, answer.reason) == (429, b"Slow Down")
    assert answer.headers == Headers([(b"X-B", b"1"), (b"x-a", b""), (b"X-B", b"2"), DATE])
    assert answer.first_byte_ns is not None


def test_what_the_relay_asks_for_is_noted_and_passes():
    async def story() -> Answer:
        async with talking() as talk:
            return await talk.answered(
                b"HTTP/1.1 200 OK\r\nCONTENT-TYPE: a/b\r\ncontent-encoding: br\r\n"
                b"Date: 1\r\ncontent-length: 2\r\n\r\nok"
            )

    answer = run(story())
    assert (answer.kind, answer.coding, answer.length) == (b"a/b", b"br", b"2")
    assert answer.headers.items == [(b"CONTENT-TYPE", b"a/b"), (b"content-encoding", b"br"), DATE]


@pytest.mark.parametrize(
    "connection", [b"X-Hop", b"close, x-hop", b"keep-alive\r\nConnection: X-HOP"]
)
def test_what_concerns_this_hop_does_not_pass(connection):
    async def story() -> Answer:
        async with talking() as talk:
            return await talk.answered(
                b"HTTP/1.1 200 OK\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nDate: 1\r\nTrailer: x\r\n"
                b"Proxy-Authenticate: x\r\nUpgrade: h2c\r\nTE: x\r\nProxy-Connection: x\r\n"
                b"Connection: " + connection + b"\r\nx-hop: 2\r\nContent-Length: 0\r\n\r\n"
            )

    for _ in range(2):
        assert run(story()).headers.items == [DATE]


def test_interim_answers_are_passed_over():
    async def story() -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        async with talking() as talk:
            for _ in range(2):
                answer = await talk.asked()
                await talk.theirs.send(interim + interim[:30])
                await asyncio.sleep(0.01)
                assert not answer.head_known
                await talk.theirs.send(interim[30:] + SIZED + b"hello")
                await whole(answer)
                assert (answer.status, answer.reason, answer.take()) == (200, b"OK", b"hello")
                assert answer.headers.items == [DATE]
                assert talk.is_kept

    run(story())


# -- bodies ----------------------------------------------------------------------------------------

# The answer, whether to a HEAD, its body, and whether the connection is kept.
WHOLE = {
    "sized": (SIZED + b"hello", False, b"hello", True),
    "sized_and_empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False, b"", True),
    "chunked": (CHUNKED + chunked(b"hel", b"lo"), False, b"hello", True),
    "chunked_and_empty": (CHUNKED + chunked(), False, b"", True),
    "chunked_in_capitals": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n" + chunked(b"hello"),
        False,
        b"hello",
        True,
    ),
    "chunked_with_extensions": (CHUNKED + b"5;a=b\r\nhello\r\n0;c\r\n\r\n", False, b"hello", True),
    "chunked_with_trailers": (
        CHUNKED + b"5\r\nhello\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n",
        False,
        b"hello",
        True,
    ),
    "no_content": (b"HTTP/1.1 204 No Content\r\n\r\n", False, b"", True),
    "not_modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", False, b"", True),
    "head": (SIZED, True, b"", True),
    "head_chunked": (CHUNKED, True, b"", False),
    "head_without_length": (b"HTTP/1.1 200 OK\r\n\r\n", True, b"", False),
    "says_close": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        False,
        b"hello",
        False,
    ),
    "no_content_says_close": (b"HTTP/1.1 204 X\r\nConnection: Close\r\n\r\n", False, b"", False),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", False, b"hello", False),
    "old_that_keeps": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        False,
        b"hello",
        True,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_known_to_be_whole_and_decides_on_the_connection(name):
    raw, is_head, body, is_kept = WHOLE[name]

    async def story() -> None:
        async with talking() as talk:
            answer = await talk.answered(raw, is_head=is_head)
            assert (answer.ended, answer.fault, answer.take()) == (True, None, body)
            assert talk.is_kept is is_kept
            assert answer.headers.get(b"x-t") is None
            if is_kept:
                again = await talk.answered(SIZED + b"again")
                assert (again.fault, again.take()) == (None, b"again")
                assert again.headers.items == [DATE]
            else:
                assert await talk.theirs.ending() in ("fin", "reset")

    run(story())


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_byte_by_byte_is_the_same(name):
    raw, is_head, body, is_kept = WHOLE[name]

    async def story() -> None:
        async with talking() as talk:
            sink = Sink()
            answer = talk.ours.ask(REQUEST, is_head=is_head, uploading=False)
            answer.attach(sink)
            for byte in raw:
                talk.ours.data_received(bytes((byte,)))
            assert (sink.body, sink.ended, sink.fault) == (body, True, None)
            assert (answer.head_known, talk.is_kept) == (True, is_kept)

    run(story())


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_body_without_framing_ends_with_the_connection(version):
    async def story() -> None:
        async with talking() as talk:
            answer = await talk.asked()
            await talk.theirs.send(b"HTTP/%b 200 OK\r\nX: 1\r\n\r\nhello " % version)
            await until(lambda: answer.head_known)
            assert (answer.close_delimited, answer.ended) == (True, False)
            await talk.theirs.send(b"world")
            talk.theirs.close()
            await whole(answer)
            assert (answer.fault, answer.take()) == (None, b"hello world")
            assert not talk.is_kept

    run(story())


def test_a_reset_is_no_end_of_such_a_body():
    async def story() -> Answer:
        async with talking() as talk:
            answer = await talk.asked()
            await talk.theirs.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
            await until(lambda: answer.head_known)
            talk.theirs.reset()
            await whole(answer)
            return answer

    answer = run(story())
    assert (answer.ended, answer.take()) == (False, b"hello")
    assert answer.fault is not None
    assert answer.fault.code == "upstream_cut"


# -- what is no answer -----------------------------------------------------------------------------

BAD = {
    "coding_list": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + chunked(b"a"),
    "coding_unknown": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na",
    "coding_twice": b"HTTP/1.1 200 OK\r\n"
    + b"Transfer-Encoding: chunked\r\n" * 2
    + b"\r\n"
    + chunked(b"a"),
    "coding_when_old": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"a"),
    "coding_beside_length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 1\r\n\r\n" + chunked(b"a"),
    "lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "surplus": SIZED + b"hello" + SIZED + b"world",
    "surplus_behind_chunks": CHUNKED + chunked(b"a") + SIZED + b"world",
    "surplus_behind_no_content": b"HTTP/1.1 204 No Content\r\n\r\n" + SIZED + b"world",
    "protocols_switched": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nab",
    "no_http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("apart", [False, True])
def test_an_answer_in_doubt_is_none_and_its_connection_is_dropped(name, apart):
    async def story() -> None:
        async with talking() as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=False)
            for piece in [BAD[name][at : at + 1] for at in range(len(BAD[name]))] * apart:
                talk.ours.data_received(piece)
            if not apart:
                talk.ours.data_received(BAD[name])
            assert talk.pool.idle(talk.ours.origin) is None
            if name.startswith("surplus") and apart:
                return  # whole, before the surplus came
            assert answer.fault is not None
            assert answer.head_fault() is answer.fault
            assert (answer.fault.status, answer.fault.code) == (502, "bad_upstream_framing")
            assert answer.fault.detail
            assert await talk.theirs.ending() == "reset"

    run(story())


@pytest.mark.parametrize("first", [b"HTTP/1.0 200 OK\r\nX: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_old_answer_is_told_by_its_own_head_however_it_comes(first):
    old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"a")
    rest = old if b"100" in first else b"HTTP/1.1 1" + old[15:]

    async def story() -> None:
        for pieces in ([first, rest], [first + rest]):
            async with talking() as talk:
                answer = talk.ours.ask(REQUEST, is_head=False, uploading=False)
                for piece in pieces:
                    talk.ours.data_received(piece)
                assert answer.fault is not None
                assert answer.fault.code == "bad_upstream_framing"

    run(story())


@pytest.mark.parametrize("surplus", [SIZED + b"POISON", b"POISON", b"\r\nPOISON"])
@pytest.mark.parametrize(
    ("head", "rest"), [(SIZED + b"hel", b"lo"), (CHUNKED + chunk(b"hel"), chunked(b"lo"))]
)
def test_surplus_bytes_never_reach_a_sink(head, rest, surplus):
    async def story() -> Sink:
        async with talking() as talk:
            sink = Sink()
            answer = await talk.asked()
            answer.attach(sink)
            await talk.theirs.send(head)
            await until(lambda: sink.body == b"hel")
            await talk.theirs.send(rest + surplus)
            await until(lambda: sink.is_over)
            assert not talk.is_kept
            return sink

    sink = run(story())
    assert b"hello".startswith(sink.body)
    assert sink.body == b"hello" or not sink.ended


def test_a_bad_chunk_cuts_the_answer_behind_what_was_good():
    async def story() -> Sink:
        async with talking() as talk:
            sink = Sink()
            answer = await talk.asked()
            answer.attach(sink)
            await talk.theirs.send(CHUNKED + chunk(b"good") + b"zz\r\nbad")
            await until(lambda: sink.is_over)
            return sink

    sink = run(story())
    assert (sink.body, sink.ended) == (b"good", False)


@pytest.mark.parametrize(
    ("written", "raw"),
    [
        ({"header_count_max": 5}, b"A: b\r\n" * 6),
        ({"upstream_header_bytes_max": 1000}, b"A: " + b"b" * 1100),
    ],
)
def test_a_head_has_bounds(written, raw):
    async def story() -> Answer:
        async with talking(**written) as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=False)
            for piece in (b"HTTP/1.1 200 OK\r\n", raw, b"Content-Length: 0\r\n\r\n"):
                if answer.fault is None:
                    talk.ours.data_received(piece)
            return answer

    fault = run(story()).fault
    assert fault is not None
    assert fault.code == "bad_upstream_framing"


def test_interim_answers_have_the_bounds_of_a_head():
    async def story() -> Answer:
        async with talking(upstream_header_bytes_max=1000) as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=False)
            for _ in range(60):
                if answer.fault is None:
                    talk.ours.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            return answer

    assert run(story()).fault is not None


@pytest.mark.parametrize(
    "trailers", [[b"A: b\r\n" * 50] * 10, [b"A: ", *[b"b" * 1000] * 400]], ids=["many", "endless"]
)
def test_trailers_have_the_bounds_of_a_head(trailers):
    async def story() -> Sink:
        async with talking() as talk:
            sink = Sink()
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=False)
            answer.attach(sink)
            for piece in (CHUNKED + chunk(b"good") + b"0\r\n", *trailers):
                if not sink.is_over:
                    talk.ours.data_received(piece)
            assert not talk.is_kept
            return sink

    sink = run(story())
    assert sink.fault is not None
    assert sink.body == b"good"


# -- breaking off ----------------------------------------------------------------------------------

CUTS = {
    "in_a_sized_body": (SIZED + b"hel", b"hel"),
    "before_a_sized_body": (SIZED, b""),
    "in_a_chunk": (CHUNKED + b"5\r\nhel", b"hel"),
    "between_chunks": (CHUNKED + chunk(b"hel"), b"hel"),
    "before_the_last_line": (CHUNKED + chunk(b"hel") + b"0\r\n", b"hel"),
}


@pytest.mark.parametrize("leave", [End.close, End.reset])
@pytest.mark.parametrize("name", CUTS)
def test_a_cut_delivers_what_came_and_says_so(name, leave):
    raw, body = CUTS[name]

    async def story() -> Sink:
        async with talking() as talk:
            sink = Sink()
            answer = await talk.asked()
            answer.attach(sink)
            await talk.theirs.send(raw)
            await until(lambda: answer.head_known and sink.body == body)
            leave(talk.theirs)
            await until(lambda: sink.is_over)
            assert answer.head_fault() is None
            assert talk.pool.size == 0
            return sink

    sink = run(story())
    assert (sink.body, sink.ended) == (body, False)
    assert sink.fault is not None
    assert (sink.fault.status, sink.fault.code) == (502, "upstream_cut")


def test_a_cut_that_nobody_listened_to_yet_is_told_behind_what_was_held():
    async def story() -> None:
        async with talking() as talk:
            answer = await talk.answered(SIZED + b"hel")
            raise AssertionError(f"not whole, and yet {answer.ended}")

    async def cut() -> Sink:
        async with talking() as talk:
            answer = await talk.asked()
            await talk.theirs.send(SIZED + b"hel")
            talk.theirs.close()
            await whole(answer)
            sink = Sink()
            answer.attach(sink)
            return sink

    with pytest.raises(TimeoutError):
        run(asyncio.wait_for(story(), 0.05))
    sink = run(cut())
    assert (sink.body, sink.ended) == (b"hel", False)
    assert sink.fault is not None


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Le"])
@pytest.mark.parametrize("leave", [End.close, End.reset])
def test_to_leave_before_the_head_is_no_answer(said, leave):
    async def story() -> Answer:
        async with talking() as talk:
            answer = await talk.asked()
            await talk.theirs.send(said)
            await asyncio.sleep(0.005)
            leave(talk.theirs)
            await whole(answer)
            return answer

    answer = run(story())
    assert answer.fault is not None
    assert answer.head_fault() is answer.fault
    assert (answer.fault.status, answer.fault.code) == (502, "upstream_no_answer")
    assert answer.fault.reached is True  # its kernel had the request


# -- who may have seen a request -------------------------------------------------------------------


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("leave", [End.close, End.reset])
def test_an_upstream_that_had_closed_before_has_seen_nothing(leave, is_first):
    async def story() -> UpstreamFault | None:
        async with talking() as talk:
            if not is_first:
                await talk.answered(SIZED + b"hello")
            leave(talk.theirs)
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=False)  # has not heard of it
            await whole(answer)
            return answer.fault

    fault = run(story())
    assert fault is not None
    assert (fault.code, fault.reached) == ("upstream_no_answer", False)


@pytest.mark.parametrize("is_read", [True, False])
def test_an_upstream_that_took_the_request_and_then_aborts_may_have_seen_it(is_read):
    """Its kernel may owe us the acknowledgement, and a reset does not bring it along."""

    async def story() -> UpstreamFault | None:
        async with talking() as talk:
            for _ in range(3):
                await talk.answered(SIZED + b"hello")
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=False)
            if is_read:
                assert await talk.theirs.exactly(len(REQUEST)) == REQUEST
            else:
                await asyncio.sleep(0.005)
            talk.theirs.reset()
            await whole(answer)
            return answer.fault

    fault = run(story())
    assert fault is not None
    assert fault.reached is True


@pytest.mark.parametrize(("is_taken", "reached"), [(False, False), (True, True)])
def test_the_same_over_a_unix_socket(tmp_path, is_taken, reached):
    async def story() -> UpstreamFault | None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.setblocking(False)
            async with pooled() as pool:
                loop = asyncio.get_running_loop()
                ours, (sock, _) = await asyncio.gather(
                    dialled(pool, Origin("http", "a", socket=path)), loop.sock_accept(listener)
                )
                if not is_taken:
                    sock.close()
                answer = ours.ask(REQUEST, is_head=False, uploading=False)
                sock.close()
                await whole(answer)
                return answer.fault

    fault = run(story())
    assert fault is not None
    assert fault.reached is reached


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ca_file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Tls(context, str(ca_file))


def secure(upstream: ScriptedUpstream) -> Origin:
    assert upstream.tls is not None
    return Origin("https", "localhost", upstream.port, ca_file=upstream.tls.ca_file)


@pytest.mark.parametrize("is_closed_well", [True, False])
def test_over_tls_only_a_close_that_says_so_ends_a_body(tls, is_closed_well):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        visit.pause(0.02)
        visit.close_notify() if is_closed_well else visit.fin()

    async def story() -> Answer:
        async with pooled() as pool:
            ours = await dialled(pool, secure(upstream))
            answer = ours.ask(REQUEST, is_head=False, uploading=False)
            await whole(answer)
            return answer

    with ScriptedUpstream(script, tls=tls) as upstream:
        answer = run(story())
    assert answer.take() == b"hello"
    assert answer.ended is is_closed_well
    assert (answer.fault is None) is is_closed_well


@pytest.mark.parametrize("is_closed_well", [True, False])
def test_over_tls_too_an_upstream_that_had_closed_before_has_seen_nothing(tls, is_closed_well):
    may_close = threading.Event()

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(SIZED + b"hello")
        visit.wait(may_close)
        if is_closed_well:
            visit.close_notify()
        visit.connection.hang_up()

    async def story() -> UpstreamFault | None:
        async with pooled() as pool:
            ours = await dialled(pool, secure(upstream))
            await whole(ours.ask(REQUEST, is_head=False, uploading=False))
            may_close.set()
            time.sleep(0.1)  # noqa: ASYNC251  # the loop is not to hear of it before we ask
            answer = ours.ask(REQUEST, is_head=False, uploading=False)
            await whole(answer)
            return answer.fault

    with ScriptedUpstream(script, tls=tls) as upstream:
        fault = run(story())
    assert fault is not None
    assert fault.reached is False


# -- deadlines -------------------------------------------------------------------------------------


def passed(ours: Upstream, *seconds: float) -> None:
    """Have the clock ask at these times from now."""
    now_ns = time.monotonic_ns()
    for second in seconds:
        ours.check(now_ns + int(second * SECOND_NS))


def test_an_upstream_that_says_nothing_is_given_up():
    async def story() -> None:
        async with talking() as talk:
            answer = await talk.asked()
            talk.ours.first_byte_timeout_ns = 5 * SECOND_NS
            passed(talk.ours, 0, 4.9)
            assert answer.fault is None
            passed(talk.ours, 5.1)
            assert answer.fault is not None
            assert (answer.fault.status, answer.fault.code) == (504, "upstream_timeout")
            assert answer.fault.reached
            assert "5 s" in answer.fault.detail
            assert await talk.theirs.ending() == "reset"

    run(story())


def test_half_a_head_is_no_first_byte_but_some_activity():
    async def story() -> None:
        async with talking() as talk:
            answer = await talk.asked()
            talk.ours.first_byte_timeout_ns = 5 * SECOND_NS
            talk.ours.data_received(b"HTTP/1.1 200 OK\r\n")
            passed(talk.ours, 0, 5.1)
            assert answer.fault is not None
            assert answer.fault.code == "upstream_timeout"

    run(story())


@pytest.mark.parametrize("is_attached", [True, False])
def test_an_upstream_that_falls_silent_is_given_up(is_attached):
    async def story() -> None:
        async with talking() as talk:
            sink = Sink()
            answer = await talk.asked()
            talk.ours.idle_timeout_ns = 3 * SECOND_NS
            talk.ours.data_received(SIZED + b"hel")
            if is_attached:
                answer.attach(sink)
            passed(talk.ours, 0, 2.9)
            talk.ours.data_received(b"l")
            passed(talk.ours, 3.1, 6)
            assert answer.fault is None
            passed(talk.ours, 6.2)
            assert answer.fault is not None
            assert (answer.fault.status, answer.fault.code) == (504, "upstream_idle")
            if is_attached:
                assert (sink.body, sink.fault) == (b"hell", answer.fault)

    run(story())


def test_the_idle_time_rests_while_the_upstream_is_held_back():
    async def story() -> None:
        async with talking() as talk:
            answer = await talk.asked()
            answer.attach(Sink())
            talk.ours.idle_timeout_ns = 3 * SECOND_NS
            talk.ours.data_received(SIZED + b"hel")
            answer.pause()
            passed(talk.ours, 0, 100, 200)
            assert answer.fault is None
            answer.resume()
            passed(talk.ours, 202.9)
            assert answer.fault is None
            passed(talk.ours, 203.1)
            assert answer.fault is not None

    run(story())


def test_the_first_byte_is_waited_for_from_the_last_piece_of_the_request():
    async def story() -> None:
        async with talking() as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=True)
            talk.ours.first_byte_timeout_ns = 5 * SECOND_NS
            passed(talk.ours, 0, 4)
            talk.ours.more(b"x")
            passed(talk.ours, 6, 10, 20)  # that the next piece is late is not the upstream's fault
            talk.ours.uploaded()
            passed(talk.ours, 22, 26.9)
            assert answer.fault is None
            passed(talk.ours, 27.1)
            assert answer.fault is not None

    run(story())


def test_an_upstream_that_does_not_take_the_request_is_given_up():
    async def story() -> None:
        async with talking() as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=True)
            talk.ours.first_byte_timeout_ns = 5 * SECOND_NS
            talk.ours.pause_writing()
            passed(talk.ours, 0, 4.9)
            assert answer.fault is None
            passed(talk.ours, 5.1)
            assert answer.fault is not None
            assert answer.fault.code == "upstream_timeout"

    run(story())


# -- holding, resting, leaving ---------------------------------------------------------------------


def test_what_comes_before_somebody_listens_is_held_and_goes_first():
    async def story() -> Sink:
        async with talking() as talk:
            answer = await talk.asked()
            await talk.theirs.send(CHUNKED + chunk(b"a"))
            await until(lambda: answer.held)
            await talk.theirs.send(chunk(b"b"))
            await until(lambda: len(answer.held) == 2)
            sink = Sink()
            answer.attach(sink)
            assert sink.slices == [b"ab"]
            await talk.theirs.send(chunked(b"c"))
            await until(lambda: sink.ended)
            return sink

    assert run(story()).body == b"abc"


def test_an_answer_that_is_whole_already_is_fed_with_its_end():
    async def story() -> Sink:
        async with talking() as talk:
            answer = await talk.answered(SIZED + b"hello")
            sink = Sink()
            answer.attach(sink)
            return sink

    sink = run(story())
    assert (sink.slices, sink.ended) == ([b"hello"], True)


def test_no_more_than_a_buffer_is_held_and_the_upstream_rests():
    async def story() -> None:
        size = 30_000_000
        async with talking(buffer_bytes_max="64KiB") as talk:
            answer = await talk.asked()
            sending = asyncio.ensure_future(
                talk.theirs.send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
                )
            )
            await asyncio.sleep(0.1)
            assert 65536 < answer.held_bytes < 1_000_000
            assert not sending.done()
            sink = Sink()
            answer.attach(sink)
            await sending
            await until(lambda: sink.ended)
            assert len(sink.body) == size

    run(story())


@pytest.mark.parametrize(
    "raw", [b"data: 1\n\n", b"data: 1\r\n\r\n", b"data: 1\r\r", b"data: 1\n\ndata: 2\n\n"]
)
def test_a_preview_waits_for_the_first_event(raw):
    async def story() -> None:
        async with talking() as talk:
            answer = await talk.asked()
            await talk.theirs.send(CHUNKED + chunk(raw[:7]))
            await until(lambda: answer.held)
            previewing = asyncio.ensure_future(answer.preview(1000))
            await asyncio.sleep(0.02)
            assert not previewing.done()
            await talk.theirs.send(chunk(raw[7:]))
            assert await previewing == raw
            sink = Sink()
            answer.attach(sink)
            assert sink.body == raw

    run(story())


@pytest.mark.parametrize("how", ["bound", "end", "cut"])
def test_a_preview_waits_no_longer_than_it_must(how):
    async def story() -> None:
        async with talking(buffer_bytes_max=10) as talk:
            answer = await talk.asked()
            await talk.theirs.send(CHUNKED + chunk(b"x" * 50))
            await until(lambda: answer.held)
            previewing = asyncio.ensure_future(answer.preview(100))
            await asyncio.sleep(0.02)
            assert not previewing.done()
            if how == "bound":
                await talk.theirs.send(chunk(b"x" * 50))
            elif how == "end":
                await talk.theirs.send(chunked())
            else:
                talk.theirs.close()
            assert (await previewing).startswith(b"x" * 50)

    run(story())


def test_a_sink_that_rests_is_not_fed():
    async def story() -> None:
        async with talking() as talk:
            sink = Sink()
            answer = await talk.asked()
            answer.attach(sink)
            await talk.theirs.send(CHUNKED + chunk(b"a"))
            await until(lambda: sink.body == b"a")
            answer.pause()
            await talk.theirs.send(chunked(b"b"))
            await asyncio.sleep(0.02)
            assert sink.body == b"a"
            answer.resume()
            await until(lambda: sink.ended)
            assert sink.body == b"ab"
            assert talk.is_kept

    run(story())


def test_an_aborted_answer_is_reset_and_heard_of_no_more():
    async def story() -> None:
        async with talking() as talk:
            sink = Sink()
            answer = await talk.asked()
            answer.attach(sink)
            await talk.theirs.send(CHUNKED + chunk(b"a"))
            await until(lambda: sink.body == b"a")
            answer.abort()
            assert await talk.theirs.ending() == "reset"
            assert (sink.body, sink.is_over) == (b"a", False)
            assert talk.pool.size == 0

    run(story())


def test_to_abort_a_whole_answer_harms_nobody():
    async def story() -> None:
        async with talking() as talk:
            answer = await talk.answered(SIZED + b"hello")
            answer.abort()
            answer.pause()
            answer.resume()
            assert talk.is_kept
            assert (await talk.answered(SIZED + b"again")).take() == b"again"

    run(story())


# -- uploads ---------------------------------------------------------------------------------------


class Brake:
    """An upload that is asked to rest and to go on."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


def test_an_upload_rests_while_the_upstream_does_not_take_it():
    async def story() -> None:
        async with talking() as talk:
            brake = Brake()
            talk.ours.upload = brake
            talk.ours.ask(REQUEST, is_head=False, uploading=True)
            size = len(REQUEST)
            while not brake.told:
                talk.ours.more(bytes(100_000))
                size += 100_000
            assert talk.ours.is_full
            await talk.theirs.exactly(size)
            await until(lambda: len(brake.told) == 2)
            assert brake.told == ["pause", "resume"]
            assert not talk.ours.is_full

    run(story())


def test_an_answer_before_the_upload_is_over_is_whole_and_its_connection_is_not_kept():
    async def story() -> None:
        async with talking() as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=True)
            await talk.theirs.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            await whole(answer)
            assert (answer.status, answer.fault, answer.take()) == (413, None, b"no")
            assert not talk.is_kept
            assert await talk.theirs.ending() == "reset"

    run(story())


def test_an_answer_while_the_last_bytes_wait_is_not_kept_either():
    """What waits would be taken for the beginning of the next request."""

    async def story() -> None:
        async with talking() as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=True)
            while not talk.ours.is_full:
                talk.ours.more(bytes(1_000_000))
            talk.ours.uploaded()
            await talk.theirs.send(SIZED + b"hello")
            await whole(answer)
            assert answer.take() == b"hello"
            assert not talk.is_kept

    run(story())


def test_an_upload_that_was_whole_leaves_a_connection_that_is_kept():
    async def story() -> None:
        async with talking() as talk:
            answer = talk.ours.ask(REQUEST, is_head=False, uploading=True)
            talk.ours.more(b"body")
            talk.ours.uploaded()
            await talk.theirs.exactly(len(REQUEST) + 4)
            await talk.theirs.send(SIZED + b"hello")
            await whole(answer)
            assert talk.is_kept

    run(story())


# -- whatever comes --------------------------------------------------------------------------------


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(min(at, len(data)) for at in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


class Fed:
    """A connection over no network at all, which is fed slices."""

    def __init__(self, pool: Pool) -> None:
        self.wire = Wire()
        self.sock = socket.socket()
        self.ours = Upstream(pool, Origin("http", "127.0.0.1"), self.sock)
        self.ours.connection_made(self.wire)
        self.pool = pool

    def answered(
        self, slices: list[bytes], listens_at: int, *, is_head: bool
    ) -> tuple[Answer, Sink]:
        """Ask, and feed slices until the answer is over. listens_at: where a sink is attached."""
        sink = Sink()
        answer = self.ours.ask(REQUEST, is_head=is_head, uploading=False)
        for number, data in enumerate(slices):
            if number == listens_at:
                answer.attach(sink)
            if not self.wire.ending:
                self.ours.data_received(data)
        if len(slices) <= listens_at:
            answer.attach(sink)
        return answer, sink

    @property
    def is_kept(self) -> bool:
        return self.pool.idle(self.ours.origin) is self.ours


def fed(story: Callable[[Fed], T]) -> T:
    async def told() -> T:
        loop = asyncio.get_running_loop()
        clock = Clock(loop)
        made = Fed(Pool(loop, clock, limits()))
        try:
            return story(made)
        finally:
            made.ours.connection_lost(None)
            made.sock.close()
            clock.close()

    return run(told())


BODIES = st.binary(max_size=40)
INTERIM = st.sampled_from(
    [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"]
)
# An answer as it is written, whether to a HEAD, and its body.
ANSWERS = st.one_of(
    BODIES.map(
        lambda body: (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
            False,
            body,
        )
    ),
    st.lists(BODIES.filter(len), max_size=4).map(
        lambda pieces: (CHUNKED + chunked(*pieces), False, b"".join(pieces))
    ),
    st.just((b"HTTP/1.1 204 No Content\r\n\r\n", False, b"")),
    st.just((SIZED, True, b"")),
)
TALKS = st.lists(
    st.tuples(INTERIM, ANSWERS, st.lists(st.integers(0, 200), max_size=6), st.integers(0, 7)),
    min_size=1,
    max_size=4,
)


@hypothesis.given(TALKS)
def test_answers_come_out_as_they_went_in_however_they_are_cut(talks):
    def story(made: Fed) -> None:
        for interim, (raw, is_head, body), cuts, listens_at in talks:
            answer, sink = made.answered(cut(interim + raw, cuts), listens_at, is_head=is_head)
            assert (sink.body, sink.ended, sink.fault) == (body, True, None)
            assert answer.head_known
            assert made.is_kept

    fed(story)


@hypothesis.given(
    ANSWERS,
    st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=3)), min_size=1, max_size=4),
    st.binary(max_size=5),
    st.lists(st.integers(0, 200), max_size=6),
    st.integers(0, 7),
)
def test_whatever_bytes_come_are_an_answer_or_a_fault(answer, changes, surplus, cuts, listens_at):
    whole, is_head, _ = answer
    raw = bytearray(whole)
    for at, data in changes:
        raw[at : at + len(data)] = data
    raw += surplus

    def story(made: Fed) -> None:
        got, sink = made.answered(cut(bytes(raw), cuts), listens_at, is_head=is_head)
        assert not (got.ended and got.fault)
        assert len(sink.body) <= len(raw)
        if got.fault is not None:
            assert made.wire.ending == "aborted"
            assert sink.fault is got.fault
        if made.wire.ending:
            assert not made.is_kept

    fed(story)
