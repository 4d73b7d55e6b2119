"""WebSockets of real peers through the gateway: every message whole, in order, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import queue
import random
import signal
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response

from gateway.testing import (
    BrokenOff,
    Connection,
    RawCaller,
    RunningGateway,
    Script,
    ScriptedUpstream,
    Tls,
    Visit,
    Wire,
    answers,
    running_gateway,
)
from tests.gateway.frames import ASKING, BINARY, CLOSE, MASK, TEXT, bye, frame, read_frame, switch
from tests.gateway.secured import written
from tests.sizes import Sizes

LARGE_BYTES = 4_000_000
SIZES = (0, 1, 5, 125, 126, 1000, 4000)
LONG_SIZES = (65_535, 65_536, 100_000)
AGREED = "permessage-deflate"
Frames = queue.SimpleQueue[tuple[int, bytes] | None]
# Reads along where a field of the request asks for it, and tells at the end what it was shown.
PLUGIN = """
import hashlib

import msgspec

from gateway import hookimpl
from gateway.log import get

log = get("reader")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Told:
    def __init__(self):
        self.count = 0
        self.sha = hashlib.sha256()


class Tap:
    def __init__(self):
        self.told = {"up": Told(), "down": Told()}

    def __call__(self, data):
        pass

    def message(self, direction, kind, data):
        told = self.told[direction]
        told.count += 1
        told.sha.update(b"%d %d " % (kind == "text", len(data)) + data)


class Plugin:
    def __init__(self, config):
        self.taps = {}
        self.settled = 0

    @hookimpl
    def tap(self, exchange, side):
        if side == "upstream" and exchange.control(b"taps") is not None:
            return self.taps.setdefault(exchange.id, Tap())

    @hookimpl
    def settle(self, exchange):
        self.settled += 1

    @hookimpl
    def account(self, exchange):
        told = self.taps.pop(exchange.id, Tap()).told
        log.info(
            "read_along",
            settled=self.settled,
            up=[told["up"].count, told["up"].sha.hexdigest()],
            down=[told["down"].count, told["down"].sha.hexdigest()],
        )
"""
# Stops an exchange as soon as a message asks for it.
STOPPER = """
import msgspec

from gateway import hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Tap:
    def __init__(self, exchange):
        self.exchange = exchange

    def __call__(self, data):
        pass  # of a body, where there is no session

    def message(self, direction, kind, data):
        if data == b"stop":
            self.exchange.stop(tail=b"that was all")


class Plugin:
    def __init__(self, config):
        pass

    @hookimpl
    def tap(self, exchange, side):
        return Tap(exchange) if side == "caller" else None
"""

Message = str | bytes


def messages(seed: int, count: int) -> list[Message]:
    """Make messages of all sizes, some of text, some compressible, one large."""
    chance = random.Random(seed)
    made: list[Message] = []
    for number in range(count):
        size = chance.choice(SIZES if number % 20 else LONG_SIZES)
        made.append(
            chance.randbytes(size) if chance.random() < 0.5 else f"wé{number} " * (size // 5)
        )
    made[chance.randrange(count)] = chance.randbytes(LARGE_BYTES)
    return made


def digest(given: list[Message]) -> str:
    sha = hashlib.sha256()
    for message in given:
        raw = message.encode() if isinstance(message, str) else message
        sha.update(b"%d %d " % (isinstance(message, str), len(raw)) + raw)
    return sha.hexdigest()


class Counting:
    """How many bytes came behind the head, for either end."""

    def __init__(self) -> None:
        self.size = 0
        self._head: bytes | None = b""

    def took(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            _, mark, data = self._head.partition(b"\r\n\r\n")
            if not mark:
                return
            self._head = None
        self.size += len(data)


class Caller(ClientConnection):
    """Counts what comes down."""

    counting: Counting

    def data_received(self, data: bytes) -> None:
        vars(self).setdefault("counting", Counting()).took(data)
        super().data_received(data)


class Serving(ServerConnection):
    """Counts what comes up."""

    counting: Counting

    def data_received(self, data: bytes) -> None:
        vars(self).setdefault("counting", Counting()).took(data)
        super().data_received(data)


class Peer:
    """A server of the `websockets` package. received: what came, by connection. counted: its bytes,
    frames and all.
    """

    def __init__(self) -> None:
        self.received: list[list[Message]] = []
        self.agreed: list[list[str]] = []
        self.codes: list[int | None] = []
        self.counted: list[int] = []
        self.open = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._is_open.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def wait_alone(self) -> None:
        """Wait until it has noted the ends of all connections: they come in a thread of its own."""
        patient_until = time.monotonic() + 10
        while self.open:
            assert time.monotonic() < patient_until
            time.sleep(0.01)

    async def _run(self) -> None:
        async with serve(
            self._count,
            "127.0.0.1",
            0,
            process_request=self._judge,
            max_size=None,
            create_connection=Serving,
        ) as server:
            self.port = int(server.sockets[0].getsockname()[1])
            self._is_open.set()
            await self._stop.wait()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(403, "no\n") if request.path.endswith("/refused") else None

    async def _count(self, connection: ServerConnection) -> None:
        self.open += 1
        try:
            await self._serve(connection)
        finally:
            self.open -= 1

    async def _serve(self, connection: ServerConnection) -> None:
        path = connection.request.path if connection.request is not None else ""
        self.agreed.append([extension.name for extension in connection.protocol.extensions])
        received: list[Message] = []
        self.received.append(received)
        if path.endswith("/dies"):
            await connection.send("last words")
            connection.transport.close()
            return
        count = int(path.rpartition("/both/")[2] or 0) if "/both/" in path else 0
        sending = asyncio.ensure_future(send(connection, messages(2, count))) if count else None
        try:
            async for message in connection:
                received.append(message)
                if path.endswith("/echo"):
                    await connection.send(message)
        except ConnectionClosedError:
            pass  # an unusual code
        if sending is not None:
            await sending
        assert isinstance(connection, Serving)
        self.counted.append(connection.counting.size)
        self.codes.append(connection.close_code)


async def send(connection: ServerConnection | ClientConnection, given: list[Message]) -> None:
    """Send messages, some in fragments, with pings between and within; hold that all come back."""
    chance = random.Random(len(given))
    pongs = []

    async def fragments(message: Message) -> AsyncIterator[Message]:
        cuts = sorted({0, len(message), *(chance.randrange(len(message)) for _ in range(3))})
        for start, end in pairwise(cuts):
            yield message[start:end]
            if chance.random() < 0.1:
                pongs.append(await connection.ping())

    for message in given:
        is_cut = len(message) > 1 and chance.random() < 0.3
        await connection.send(fragments(message) if is_cut else message)
        if chance.random() < 0.05:
            pongs.append(await connection.ping())
    assert len(pongs) > len(given) // 50
    await asyncio.wait_for(asyncio.gather(*pongs), 30)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def gateway(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    path = tmp_path_factory.mktemp("plugin") / "reader.py"
    path.write_text(PLUGIN)
    config = {
        "providers": {"openai": {"base_url": f"http://127.0.0.1:{peer.port}/v1"}},
        "enabled": ["access_log", "request_id"],
    }
    with running_gateway(config, plugins=[path]) as gateway:
        yield gateway
        assert not gateway.crashes


def dial(
    gateway: RunningGateway,
    path: str,
    compression: str | None = "deflate",
    fields: dict[str, str] | None = None,
) -> connect:
    return connect(
        f"ws://127.0.0.1:{gateway.port}/openai/v1/{path}",
        max_size=None,
        proxy=None,
        compression=compression,
        additional_headers=fields,
        create_connection=Caller,
    )


def lines(gateway: RunningGateway, event: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log if line.get("event") == event]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("compression", "is_tapped"), [(None, False), ("deflate", True)])
def test_a_session_is_equal_on_both_sides_and_accounted(
    gateway, peer, sizes: Sizes, compression, is_tapped
):
    up, down = messages(1, sizes.messages), messages(2, sizes.messages)

    async def story() -> tuple[list[Message], int]:
        fields = {"weir-taps": "on"} if is_tapped else {}
        async with dial(gateway, f"both/{sizes.messages}", compression, fields) as caller:
            sending = asyncio.ensure_future(send(caller, up))
            got = [await caller.recv() for _ in down]
            await sending
        assert isinstance(caller, Caller)
        return got, caller.counting.size

    peer.wait_alone()
    for record in (peer.received, peer.agreed, peer.codes, peer.counted):
        record.clear()
    before = len(lines(gateway, "exchange"))
    got, counted = asyncio.run(story())
    line = gateway.wait_for_log("exchange", before + 1)
    told = gateway.wait_for_log("read_along", before + 1)

    assert peer.agreed == [[] if compression is None else [AGREED]]
    assert digest(peer.received[0]) == digest(up)
    assert digest(got) == digest(down)
    assert codes_of(peer) == [1000]
    assert (line["status"], line["outcome"]) == (101, "complete")
    assert (line["bytes_received"], line["bytes_sent"]) == (peer.counted[0], counted)
    assert told["settled"] == len(lines(gateway, "exchange")) == before + 1
    if is_tapped:
        assert told["up"] == [len(up), digest(up)]
        assert told["down"] == [len(down), digest(down)]


def codes_of(peer: Peer) -> list[int | None]:
    """Give the codes of its goodbyes, which the peer notes in a thread of its own."""
    patient_until = time.monotonic() + 5
    while not peer.codes and time.monotonic() < patient_until:
        time.sleep(0.01)
    return peer.codes


def test_pings_are_answered_by_the_other_end(gateway, peer):
    async def story() -> None:
        async with dial(gateway, "echo") as caller:
            for number in range(20):
                await asyncio.wait_for(await caller.ping(f"{number}"), 5)
                await caller.send(f"{number}")
                assert await caller.recv() == f"{number}"

    asyncio.run(story())


def test_a_goodbye_passes_with_its_code_and_reason(gateway, peer):
    async def story() -> int | None:
        async with dial(gateway, "echo") as caller:
            await caller.close(4321, "enough")
            return caller.close_code

    peer.wait_alone()
    peer.codes.clear()
    assert asyncio.run(story()) == 4321
    assert codes_of(peer) == [4321]


def test_a_caller_can_tell_that_the_upstream_died(gateway, peer):
    async def story() -> None:
        async with dial(gateway, "dies") as caller:
            assert await caller.recv() == "last words"
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(caller.recv(), 10)

    asyncio.run(story())


def test_a_refusal_is_the_upstreams(gateway, peer):
    async def story() -> None:
        async with dial(gateway, "refused"):
            pass

    with pytest.raises(InvalidStatus) as raised:
        asyncio.run(story())
    assert raised.value.response.status_code == 403
    assert raised.value.response.body == b"no\n"


def test_many_at_once_do_not_mix(gateway, peer):
    async def talk(number: int) -> bool:
        async with dial(gateway, "echo") as caller:
            sent = [f"{number}:{turn}" for turn in range(20)]
            got = []
            for text in sent:
                await caller.send(text)
                got.append(await caller.recv())
            return got == sent

    async def story() -> list[bool]:
        return await asyncio.gather(*(talk(number) for number in range(25)))

    assert all(asyncio.run(story()))


# -- ends ------------------------------------------------------------------------------------------

NEVER_S = 3.0
WORDS = frame(TEXT, b"last words")
Leave = Callable[[RawCaller], None]


class Ways:
    """A gateway that callers enter by plain TCP or by TLS, with an upstream of each kind behind."""

    def __init__(self, gateway: RunningGateway, upstreams: dict[str, ScriptedUpstream]) -> None:
        self.gateway = gateway
        self.upstreams = upstreams
        self.trust: ssl.SSLContext | None = None

    def enter(self, way: str, ahead: bytes = b"", *, receive_bytes: int | None = None) -> RawCaller:
        """Ask for a WebSocket. ahead: sent in one piece with the request."""
        caller = RawCaller(self.gateway.port, receive_bytes=receive_bytes)
        if self.trust is not None:
            caller.sock = self.trust.wrap_socket(caller.sock, server_hostname="localhost")
            caller.wire = Wire(caller.sock)
        lines = [b"GET /%b/realtime HTTP/1.1" % way.encode(), b"Host: localhost"]
        lines += [b"%b: %b" % field for field in ASKING]
        caller.send(b"\r\n".join([*lines, b"", ahead]))
        return caller

    def join(
        self, way: str, script: Script, *, receive_bytes: int | None = None
    ) -> tuple[RawCaller, Connection]:
        """Give the two ends of a tunnel to an upstream that follows the script after its 101."""

        def switches(visit: Visit) -> None:
            visit.read()
            visit.send(switch(visit))
            script(visit)

        upstream = self.upstreams[way]
        upstream.forget()
        upstream.script = switches
        caller = self.enter(way, receive_bytes=receive_bytes)
        assert caller.wire.head().startswith(b"HTTP/1.1 101 ")
        return caller, upstream.requests[0].connection

    def outcome(self, number: int) -> tuple[str, str | None]:
        """Wait for the lines of so many exchanges; what the latest says of its end."""
        line = self.gateway.wait_for_log("exchange", number)
        assert line["status"] == 101
        return line["outcome"], line.get("error")

    def count(self) -> int:
        return len(lines(self.gateway, "exchange"))


@contextmanager
def opened(door: str, tls: Tls, authority: trustme.CA, folder: Path, **more: Any) -> Iterator[Ways]:
    server = written(authority, folder) if door == "tls" else {}
    path = folder / "stopper.py"
    path.write_text(STOPPER)
    with (
        ScriptedUpstream(answers()) as plain,
        ScriptedUpstream(answers(), tls=tls) as secure,
        running_gateway(
            {
                "providers": {"plain": plain.provider(), "tls": secure.provider()},
                "server": {**server, **more.pop("server", {})},
                "limits": {"stall_timeout": "500ms", "linger_timeout": "200ms"},
                "enabled": ["access_log"],
                **more,
            },
            plugins=[path],
        ) as gateway,
    ):
        ways = Ways(gateway, {"plain": plain, "tls": secure})
        if door == "tls":
            ways.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            authority.configure_trust(ways.trust)
        yield ways
        assert gateway.crashes == []


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=["plain", "tls"])
def ways(request, tls, authority, tmp_path_factory) -> Iterator[Ways]:
    with opened(request.param, tls, authority, tmp_path_factory.mktemp("door")) as ways:
        yield ways


def waits(visit: Visit) -> None:
    """Read nothing, and see the end all the same."""
    visit.wait_gone()


def floods(visit: Visit) -> None:
    while visit.connection.gone_ns is None:
        visit.send(frame(BINARY, bytes(60_000)))


def takes_nothing(visit: Visit) -> None:
    """Have so small a window that what the caller sends waits in the gateway's kernel."""
    visit.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    visit.wait_gone()


def notify(caller: RawCaller) -> None:
    """Say goodbye as TLS wants it, and close."""
    if isinstance(caller.sock, ssl.SSLSocket):
        caller.sock.setblocking(False)
        with contextlib.suppress(OSError):
            caller.sock.unwrap()
    caller.sock.close()


def says_words(caller: RawCaller) -> None:
    caller.send(frame(TEXT, b"last words", mask=MASK))


def stops_within_a_frame(caller: RawCaller) -> None:
    caller.send(frame(BINARY, bytes(1000), mask=MASK)[:500])


def says_goodbye(caller: RawCaller) -> None:
    says_words(caller)
    caller.send(bye(mask=MASK))


def fills_the_window(caller: RawCaller) -> None:
    caller.send(frame(BINARY, bytes(200_000), mask=MASK))
    time.sleep(0.05)


def is_silent(caller: RawCaller) -> None:
    time.sleep(0.02)  # long enough for a flood to come to rest


CALLERS = {
    "silent": (waits, is_silent),
    "after_words": (waits, says_words),
    "within_a_frame": (waits, stops_within_a_frame),
    "after_its_goodbye": (waits, says_goodbye),
    "while_the_upstream_floods": (floods, is_silent),
    "while_the_upstream_takes_nothing": (takes_nothing, fills_the_window),
}
LEAVINGS: tuple[Leave, ...] = (RawCaller.leave, RawCaller.reset, RawCaller.half_close, notify)


def callers_leaving_ms(ways: Ways, way: str, scene: str, leave: Leave) -> float:
    """Give the time from the caller's leaving to the upstream's kernel seeing it."""
    script, acts = CALLERS[scene]
    caller, connection = ways.join(way, script)
    acts(caller)
    left_ns = time.monotonic_ns()
    leave(caller)
    try:
        return (connection.wait_gone(NEVER_S) - left_ns) / 1e6
    except TimeoutError:
        return NEVER_S * 1000
    finally:
        caller.leave()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["plain", "tls"])
def test_the_upstream_sees_the_callers_leaving(ways, way, sizes: Sizes):
    before = ways.count()
    times = sorted(
        (callers_leaving_ms(ways, way, scene, leave), scene, leave.__name__)
        for _ in range(sizes.departures // 2)
        for leave in LEAVINGS
        for scene in CALLERS
    )
    late = [one for one in times if one[0] >= sizes.departure_ms]
    assert len(late) <= len(times) // 100, late
    assert ways.outcome(before + len(times)) == ("client_abort", None)


@pytest.mark.parametrize("leave", [RawCaller.leave, RawCaller.half_close, notify])
@pytest.mark.parametrize("way", ["plain", "tls"])
def test_what_a_caller_says_last_goes_up_though_it_leaves_at_once(ways, way, leave):
    def keeps(visit: Visit) -> None:
        visit.pause(0.02)  # so that it is read behind the end
        with contextlib.suppress(BrokenOff):
            while True:
                kept.append(read_frame(visit.connection.wire))

    kept: list[tuple[int, bytes]] = []
    long = b"x" * 30_000
    for _ in range(4):
        kept.clear()
        caller, connection = ways.join(way, keeps)
        caller.send(frame(TEXT, long, mask=MASK) + bye(mask=MASK))
        leave(caller)
        connection.wait_gone()
        ways.upstreams[way].wait_for(lambda: len(kept) == 2)
        caller.leave()
        assert kept == [(TEXT, long), (CLOSE, b"\x03\xe8")]


UPSTREAMS: dict[str, tuple[bytes, Callable[[Visit], None]]] = {
    "fin": (WORDS, Visit.fin),
    "close_notify": (WORDS, Visit.close_notify),
    "reset": (WORDS, Visit.reset),
    "fin_within_a_frame": (WORDS + WORDS[:5], Visit.fin),
    "fin_after_its_goodbye": (WORDS + bye(), Visit.fin),
    "close_notify_after_its_goodbye": (WORDS + bye(), Visit.close_notify),
}


def upstreams_leaving_ms(ways: Ways, way: str, scene: str) -> float:
    """Give the time from the upstream's leaving to the caller's reading of the end."""
    said, leaves = UPSTREAMS[scene]
    go = threading.Event()
    left_ns: list[int] = []

    def script(visit: Visit) -> None:
        visit.send(said)
        visit.wait(go)
        left_ns.append(time.monotonic_ns())
        leaves(visit)

    caller, _ = ways.join(way, script)
    with caller:
        assert b"".join(caller.wire.sized(len(said))) == said
        go.set()
        assert caller.ending() in ("fin", "reset")
        return (time.monotonic_ns() - left_ns[0]) / 1e6


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["plain", "tls"])
def test_the_caller_sees_the_upstreams_leaving(ways, way, sizes: Sizes):
    before = ways.count()
    times = sorted(
        (upstreams_leaving_ms(ways, way, scene), scene)
        for _ in range(sizes.departures // 2)
        for scene in UPSTREAMS
    )
    late = [one for one in times if one[0] >= sizes.departure_ms]
    assert len(late) <= len(times) // 100, late
    assert ways.outcome(before + len(times)) == ("truncated", "upstream_cut")


# -- ended by the gateway --------------------------------------------------------------------------


def hears(frames: Frames) -> Callable[[Visit], None]:
    """Hand on what comes, None at its end, and then end in an orderly way."""

    def script(visit: Visit) -> None:
        with contextlib.suppress(BrokenOff):
            while True:
                frames.put(read_frame(visit.connection.wire))
        frames.put(None)
        visit.close_notify()

    return script


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_plugin_that_stops_it_sends_both_sides_a_goodbye(ways, way):
    before = ways.count()
    frames: Frames = queue.SimpleQueue()
    caller, connection = ways.join(way, hears(frames))
    with caller:
        caller.send(frame(TEXT, b"stop", mask=MASK))
        assert read_frame(caller.wire) == (TEXT, b"that was all")
        assert read_frame(caller.wire) == (CLOSE, b"\x03\xf0")
        assert caller.ending() == "fin"
        connection.wait_gone()
    # The connection is gone as soon as the kernel says so, ahead of what is still to be read.
    heard = list(iter(lambda: frames.get(timeout=10), None))
    assert heard == [(TEXT, b"stop"), (CLOSE, b"\x03\xf0")]
    assert ways.outcome(before + 1) == ("stopped", "stopped")


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_caller_that_takes_nothing_is_cut(ways, way):
    before = ways.count()
    caller, connection = ways.join(way, floods, receive_bytes=4096)
    with caller:
        connection.wait_gone()
        assert ways.outcome(before + 1) == ("client_abort", None)


def test_a_drain_ends_a_silent_session(tls, authority, tmp_path):
    """Over TLS both ways; neither side answers the goodbye, and nobody waits for that."""
    with opened("tls", tls, authority, tmp_path, server={"drain_timeout": "200ms"}) as ways:
        caller, connection = ways.join("tls", waits)
        with caller:
            ways.gateway.signal(signal.SIGTERM)
            assert ways.gateway.wait() == 0
            assert read_frame(caller.wire) == (CLOSE, b"\x03\xe9")
            connection.wait_gone()
        assert ways.outcome(1) == ("stopped", "shutting_down")


# -- refused ---------------------------------------------------------------------------------------

# In the clear, as no client masks it: what a parser would take for a request, if it got so far.
HIDDEN = frame(TEXT, b"GET /plain/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3, mask=bytes(4))


@pytest.mark.parametrize("when", ["with_the_request", "before_the_answer", "behind_the_answer"])
@pytest.mark.parametrize("status", [200, 400, 426, 101])
def test_what_stands_behind_a_refused_upgrade_is_never_a_request(ways, status, when):
    def script(visit: Visit) -> None:
        visit.read()
        visit.pause(0.05 if when == "before_the_answer" else 0)
        if status == 101:
            visit.send(switch(visit, accept=b"bm90IHRoZSByaWdodCBvbmUuLi4="))
        else:
            answers(b"no", status=status)(visit)

    upstream = ways.upstreams["plain"]
    upstream.forget()
    upstream.script = script
    with ways.enter("plain", HIDDEN if when == "with_the_request" else b"") as caller:
        if when == "before_the_answer":
            upstream.wait_for_requests(1)
            caller.send(HIDDEN)
        answer = caller.answer()
        if when == "behind_the_answer":
            caller.send(HIDDEN)
        rest = caller.everything()

    assert answer.status == (502 if status == 101 else status)
    assert rest.startswith(b"HTTP/1.1 400 ")
    assert rest.count(b"HTTP/1.1 ") == 1
    assert [request.target for request in upstream.requests] == [b"/realtime"]
    assert len(upstream.connections) == 1
