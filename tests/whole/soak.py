"""A long mixed load on one gateway, and the faults that happen to it, one after the other.

Each request has a nonce, and its answer is made of it; so whatever comes to a caller says whose it
is. All peers live on one loop: the callers, the upstream, which misbehaves as a fault tells it to,
and whoever brings the fault. At the end of each interval the load rests, so that what the gateway
still holds then can be counted to the last descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import resource
import signal
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.testing import RunningGateway, Tls, chunk, head, parse_head, sized
from gateway.testing.wire import Fields, is_chunked, size_of, values

RATE: Final = 120.0
# A machine that is busy with other things is not buried under callers who wait.
UNDER_WAY_MAX: Final = 100
# Whoever waits longer than this for a whole answer waits for something that does not come.
PATIENCE_S: Final = 30.0
# The gateway's patience with its upstream and its callers: longer than any pause of this machine,
# shorter than the faults of a full soak.
GATEWAY_PATIENCE: Final = "4s"
# A fault takes a fifth of its interval, and its traces some more of it.
FAULT_PART, FAULT_S_MAX = 0.2, 8.0
TRACE_PART, TRACE_S_MAX = 0.15, 4.0
REST_PART, REST_S_MAX = 0.2, 2.0
SILENT_CALLERS: Final = 150  # at each of two doors
STREAM_PIECES: Final = 10
PIECE_PAUSE_S: Final = 0.01
SLOW_PAUSE_S: Final = 0.2
NONCE: Final = re.compile(rb"nonce-[0-9a-f]{16}")
DONE: Final = b"data: [DONE]\n\n"
_ABORT: Final = struct.pack("ii", 1, 0)
# What nobody asked for, behind an answer. They come together, and the answer is short enough for
# that: what comes when the next request is out, nobody can tell from its answer.
STRAY: Final = sized(b"data: nonce-5757575757575757\n\n")
STRAY_BEHIND_MAX: Final = 4_000
GARBAGE: Final = (
    b"\x16\x03\x01\x00\xff" * 40,
    b"HTTP/9.9 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 two hundred\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
)


@dataclass(frozen=True)
class Kind:
    """What a caller asks for. up, down: bytes of the bodies. leaves: before it has everything.
    reads_slowly: pauses while it reads.
    """

    weight: int
    up: int = 200
    up_chunked: bool = False
    status: int = 200
    down: int = 300
    down_chunked: bool = False
    leaves: bool = False
    reads_slowly: bool = False


KINDS: Final = {
    "short": Kind(30),
    "chunked": Kind(12, up=20_000, up_chunked=True, down=20_000),
    "stream": Kind(20, down=3_000, down_chunked=True),
    "large answer": Kind(3, down=1_000_000),
    "large stream": Kind(2, down=400_000, down_chunked=True),
    "large request": Kind(3, up=1_000_000),
    "large chunked request": Kind(2, up=400_000, up_chunked=True),
    "error": Kind(6, status=429),
    "leaves early": Kind(6, down=3_000, down_chunked=True, leaves=True),
    "leaves in a large answer": Kind(2, down=1_000_000, leaves=True),
    "leaves in a large request": Kind(2, up=1_000_000, leaves=True),
    "reads slowly": Kind(3, down=600_000, reads_slowly=True),
}
# Those that are no exchange with the upstream above.
OTHERS: Final = {"mock": 5, "nobody there": 3, "websocket": 1}


def body_of(nonce: bytes, size: int) -> bytes:
    """Give a body that is full of its nonce."""
    event = b"data: %b\n\n" % nonce
    return (event * (size // len(event) + 1))[: max(0, size - len(DONE))] + DONE


def foreign(nonce: bytes, data: bytes) -> set[bytes]:
    """Give the nonces in there that are another's."""
    return set(NONCE.findall(data)) - {nonce}


# -- the upstream ----------------------------------------------------------------------------------


class Upstream:
    """An origin on two ports, plain and TLS, and a WebSocket peer on a third.

    mode: how it behaves now. foreign: what came up under a nonce and bore another. open: its
    connections, plain and TLS.
    """

    def __init__(self, tls: Tls) -> None:
        self.mode = "healthy"
        self.foreign: list[tuple[bytes, set[bytes]]] = []
        self.open: dict[bool, set[asyncio.StreamWriter]] = {False: set(), True: set()}
        self.sockets = 0
        self.ports: dict[bool, int] = {False: 0, True: 0}
        self.socket_port = 0
        self.ca_file = tls.ca_file
        self._tls = tls
        self._dice = random.Random(0)
        self._released = asyncio.Event()
        self._servers: list[asyncio.Server] = []

    async def listen(self) -> None:
        """Open both ports, the first time any two that are free, from then on the same."""
        for tls in (False, True):
            server = await asyncio.start_server(
                partial(self._serve, tls),
                "127.0.0.1",
                self.ports[tls],
                ssl=self._tls.context if tls else None,
            )
            self.ports[tls] = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    def shut(self) -> None:
        """Close both ports; what is open goes on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def drop(self, *, reset: bool) -> None:
        """End all connections at once."""
        for writer in (*self.open[False], *self.open[True]):
            _end(writer, reset=reset)

    def behave(self, mode: str) -> None:
        """Behave like that from now on. Those who were left without an answer are dropped."""
        self.mode = mode
        self._released.set()
        self._released = asyncio.Event()

    async def close(self) -> None:
        self.shut()
        self.behave("healthy")
        self.drop(reset=False)
        while self.open[False] or self.open[True]:
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with serve(self._echo, "127.0.0.1", 0) as server:
            self.socket_port = next(iter(server.sockets)).getsockname()[1]
            await self.listen()
            try:
                yield
            finally:
                await self.close()

    async def _echo(self, connection: ServerConnection) -> None:
        self.sockets += 1
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            pass
        finally:
            self.sockets -= 1

    async def _serve(
        self, tls: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.open[tls].add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the gateway has left
        finally:
            _end(writer, reset=False)
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self.open[tls].discard(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read a request and answer it as the mode is; say whether the connection stays."""
        fields = parse_head(await reader.readuntil(b"\r\n\r\n"))[1]
        nonce = values(fields, b"x-nonce")[0]
        asked = KINDS[values(fields, b"x-kind")[0].decode()]
        body = await _body(reader, fields)
        if body != body_of(nonce, asked.up):
            self.foreign.append((nonce, foreign(nonce, body)))
        mode = self.mode
        if mode == "silent":
            await self._released.wait()
            return False
        if mode == "garbage" and self._dice.random() < 0.7:
            writer.write(self._dice.choice(GARBAGE))
            await writer.drain()
            return False
        pieces = _pieces(asked, nonce)
        if mode == "cut":
            await _send(writer, pieces[: len(pieces) // 2], asked)
            await asyncio.sleep(0.02)  # else the reset overtakes what was sent
            _end(writer, reset=self._dice.random() < 0.5)
            return False
        if mode == "garbage" and asked.down < STRAY_BEHIND_MAX:
            writer.write(b"".join([*pieces, STRAY]))
            await writer.drain()
        else:
            await _send(writer, pieces, asked, pause_s=0.1 if mode == "slow" else 0)
        return True


def _pieces(asked: Kind, nonce: bytes) -> list[bytes]:
    """Give a whole answer, cut in pieces as it is sent."""
    body = body_of(nonce, asked.down)
    own = (b"X-Nonce", nonce)
    step = len(body) // STREAM_PIECES + 1
    parts = [body[at : at + step] for at in range(0, len(body), step)]
    if asked.down_chunked:
        start = head(
            200,
            (b"Content-Type", b"text/event-stream"),
            (b"Transfer-Encoding", b"chunked"),
            own,
        )
        return [start, *map(chunk, parts), chunk(b"")]
    return [head(asked.status, (b"Content-Length", b"%d" % len(body)), own), *parts]


async def _send(
    writer: asyncio.StreamWriter, pieces: list[bytes], asked: Kind, pause_s: float = 0
) -> None:
    if asked.down_chunked:
        pause_s = pause_s or PIECE_PAUSE_S
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        # Without a pause too: else the loop has no time to tell us that the gateway has left.
        await asyncio.sleep(pause_s)


async def _body(reader: asyncio.StreamReader, fields: Fields) -> bytes:
    if not is_chunked(fields):
        return await reader.readexactly(size_of(fields) or 0)
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return bytes(body)


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        sock = writer.get_extra_info("socket")
        if sock is not None:  # else it is closed already
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        writer.transport.abort()
    else:
        writer.close()


# -- the callers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """A request that was not served as it should be, and when."""

    kind: str
    began: float
    ended: float
    why: str


class Load:
    """Callers who come at a steady rate, by TLS and by the Unix socket. Nobody comes while too many
    are there.

    served: by kind. failures: of those who stayed. ids: that the answers bore. foreign: answers
    with another's nonce in them. untrue: answers that seemed whole and were not.
    """

    def __init__(self, port: int, path: str, trust: ssl.SSLContext) -> None:
        self.served: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.ids: list[str] = []
        self.foreign: list[tuple[str, bytes, set[bytes]]] = []
        self.untrue: list[tuple[str, bytes, int, int]] = []
        self.crashes: list[BaseException] = []
        self._port, self._path, self._trust = port, path, trust
        self._dice = random.Random(1)
        self._names = [*KINDS, *OTHERS]
        self._weights = [*(kind.weight for kind in KINDS.values()), *OTHERS.values()]
        self._under_way: set[asyncio.Task[None]] = set()
        self._sessions: list[tuple[aiohttp.ClientSession, str]] = []
        self._ticking: asyncio.Task[None] | None = None

    def go_on(self) -> None:
        """Let callers come, on fresh connections."""
        tls = aiohttp.TCPConnector(limit=0, ssl=self._trust)
        unix = aiohttp.UnixConnector(self._path, limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._sessions = [
            (
                aiohttp.ClientSession(connector=tls, timeout=timeout),
                f"https://127.0.0.1:{self._port}",
            ),
            (aiohttp.ClientSession(connector=unix, timeout=timeout), "http://localhost"),
        ]
        self._ticking = asyncio.create_task(self._tick())

    async def rest(self) -> None:
        """Let nobody come any more, wait for those who are there, and close their connections."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        while self._under_way:
            await asyncio.wait(tuple(self._under_way))
        for session, _ in self._sessions:
            await session.close()
        self._sessions.clear()

    async def _tick(self) -> None:
        began, number = time.monotonic(), 0
        while True:
            if len(self._under_way) < UNDER_WAY_MAX:
                task = asyncio.create_task(self._one())
                self._under_way.add(task)
                task.add_done_callback(self._done)
            number += 1
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = task.exception()
        if error is not None:
            self.crashes.append(error)

    async def _one(self) -> None:
        dice = self._dice
        (name,) = dice.choices(self._names, self._weights)
        nonce = b"nonce-%016x" % dice.getrandbits(64)
        session, url = dice.choice(self._sessions)
        began = time.monotonic()
        why = ""
        try:
            if name == "websocket":
                why = await self._talk(session, url, nonce)
            elif name == "mock":
                why = await self._mock(session, url, nonce)
            elif name == "nobody there":
                async with session.get(f"{url}/nobody/{nonce.decode()}") as response:
                    why = "" if response.status == 404 else f"status {response.status}"
            elif KINDS[name].leaves:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(dice.uniform(0, 0.12)):
                        await self._ask(session, url, nonce, name)
            else:
                why = await self._ask(session, url, nonce, name)
        except (OSError, aiohttp.ClientError) as error:  # TimeoutError is one
            why = repr(error)
        if why and not (name in KINDS and KINDS[name].leaves):
            self.failures.append(Failure(name, began, time.monotonic(), why))
        else:
            self.served[name] += 1

    async def _ask(self, session: aiohttp.ClientSession, url: str, nonce: bytes, name: str) -> str:
        """Ask one of the upstreams; say what was wrong with the answer."""
        kind = KINDS[name]
        provider = self._dice.choice(("openai", "secure"))
        up = body_of(nonce, kind.up)
        fields = {
            "X-Nonce": nonce.decode(),
            "X-Kind": name,
            "weir-metadata": orjson.dumps({"nonce": nonce.decode()}).decode(),
        }
        got = bytearray()
        async with session.post(
            f"{url}/{provider}/v1/chat/completions?nonce={nonce.decode()}",
            data=_in_parts(up) if kind.up_chunked else up,
            headers=fields,
        ) as response:
            own = response.headers.get("X-Nonce", nonce.decode()).encode()
            self.ids.append(response.headers["weir-request-id"])
            try:
                async for piece in response.content.iter_any():
                    got += piece
                    if kind.reads_slowly and self._dice.random() < 0.2:
                        await asyncio.sleep(SLOW_PAUSE_S)
            finally:
                self._judge(name, nonce, own, got, body_of(nonce, kind.down))
            if response.status != kind.status:
                return f"status {response.status} {bytes(got[:200])!r}"
            if got != body_of(nonce, kind.down):
                self.untrue.append((name, nonce, response.status, len(got)))
                return f"{len(got)} bytes, and the wrong ones"
        return ""

    def _judge(self, name: str, nonce: bytes, own: bytes, got: bytearray, wanted: bytes) -> None:
        if wanted.startswith(got) and own == nonce:
            return
        strange = foreign(nonce, bytes(got) + own)
        if strange:
            self.foreign.append((name, nonce, strange))

    async def _mock(self, session: aiohttp.ClientSession, url: str, nonce: bytes) -> str:
        """Ask the bundled mock provider, which says what it is told."""
        text = nonce.decode()
        question = {"model": "any", "messages": [{"role": "user", "content": text}]}
        async with session.post(f"{url}/mock/v1/chat/completions", json=question) as response:
            self.ids.append(response.headers["weir-request-id"])
            got = await response.read()
        strange = foreign(nonce, got)
        if strange:
            self.foreign.append(("mock", nonce, strange))
        return "" if nonce in got else f"status {response.status} {got[:200]!r}"

    async def _talk(self, session: aiohttp.ClientSession, url: str, nonce: bytes) -> str:
        """Have a WebSocket session of some messages."""
        async with session.ws_connect(f"{url}/socket/talk", timeout=_CLOSING) as talk:
            for number in range(20):
                said = body_of(nonce, self._dice.choice((30, 1_000, 70_000)))
                await talk.send_bytes(said)
                message = await talk.receive(PATIENCE_S)
                if message.data != said:
                    if isinstance(message.data, bytes) and foreign(nonce, message.data):
                        self.foreign.append(("websocket", nonce, foreign(nonce, message.data)))
                    return f"message {number}: {message.type!r}"
        return ""


_CLOSING: Final = aiohttp.ClientWSTimeout(ws_close=PATIENCE_S)


async def _in_parts(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 7_000):
        yield body[at : at + 7_000]


# -- the log ---------------------------------------------------------------------------------------


class Log:
    """The reader of the access log's pipe, which may stop reading.

    ids: of all lines. twice: of those that came again. others: lines that are no exchange's.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.ids: set[str] = set()
        self.twice: list[str] = []
        self.others: list[dict[str, Any]] = []
        self.outcomes: Counter[str] = Counter()
        self.reads = threading.Event()
        self.reads.set()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the gateway has closed its end."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        with self.path.open("rb", buffering=0) as pipe:
            rest = b""
            while data := pipe.read(4096):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._note(orjson.loads(line))
                self.reads.wait()

    def _note(self, line: dict[str, Any]) -> None:
        if line["event"] != "exchange":
            self.others.append(line)
            return
        if line["id"] in self.ids:
            self.twice.append(line["id"])
        self.ids.add(line["id"])
        self.outcomes[str(line["outcome"])] += 1


# -- the faults ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """harms: whether a healthy request may suffer from it."""

    name: str
    happens: Callable[[], Awaitable[None]]
    harms: bool = True


@dataclass(frozen=True)
class Window:
    """When a fault was there, its traces included."""

    fault: Fault
    began: float
    ended: float

    def excuses(self, failure: Failure) -> bool:
        return self.fault.harms and failure.began <= self.ended and failure.ended >= self.began


class Faults:
    """All that happens to the gateway, in turn. seconds: how long each lasts."""

    def __init__(
        self,
        gateway: RunningGateway,
        tables: dict[str, Any],
        upstream: Upstream,
        log: Log,
        authority: trustme.CA,
        seconds: float,
    ) -> None:
        self.gateway = gateway
        self.tables = tables
        self.upstream = upstream
        self.log = log
        self.authority = authority
        self.seconds = seconds
        self.count = 0
        mode = self._behaves
        # Those first that gather the most at once: what they need is not to look like growth.
        self.all = (
            Fault("300 callers say nothing", self._silent_callers, harms=False),
            Fault("the upstream is silent", mode("silent")),
            Fault("the upstream answers garbage", mode("garbage")),
            Fault("the gateway is stopped and goes on", self._stopped),
            Fault("the upstream is slow", mode("slow"), harms=False),
            Fault("the upstream is killed", self._killed),
            Fault("the configuration is read again", self._reloaded, harms=False),
            Fault("the upstream cuts bodies", mode("cut")),
            Fault("a broken configuration is refused", self._refused, harms=False),
            Fault("the upstream's ports are closed", self._closed),
            Fault("descriptors run short", self._short),
            Fault("the log is stuck", self._stuck, harms=False),
            Fault("another certificate", self._certificate, harms=False),
        )

    @property
    def have_all_been(self) -> bool:
        return self.count >= len(self.all)

    async def next(self) -> Fault:
        """Let the next fault happen, from its beginning to its end."""
        fault = self.all[self.count % len(self.all)]
        self.count += 1
        await fault.happens()
        return fault

    def _behaves(self, mode: str) -> Callable[[], Awaitable[None]]:
        async def misbehaves() -> None:
            self.upstream.behave(mode)
            await asyncio.sleep(self.seconds)
            self.upstream.behave("healthy")

        return misbehaves

    async def _killed(self) -> None:
        self.upstream.shut()
        self.upstream.drop(reset=True)
        await asyncio.sleep(self.seconds / 4)
        await self.upstream.listen()

    async def _closed(self) -> None:
        self.upstream.shut()
        self.upstream.drop(reset=False)
        await asyncio.sleep(self.seconds)
        await self.upstream.listen()

    async def _silent_callers(self) -> None:
        path = self.tables["server"]["socket"]
        opening = [
            *(
                asyncio.open_connection("127.0.0.1", self.gateway.port)
                for _ in range(SILENT_CALLERS)
            ),
            *(asyncio.open_unix_connection(path) for _ in range(SILENT_CALLERS)),
        ]
        opened = await asyncio.gather(*opening)
        await asyncio.sleep(self.seconds)
        for _, writer in opened:
            writer.close()
        await asyncio.gather(
            *(writer.wait_closed() for _, writer in opened), return_exceptions=True
        )

    async def _short(self) -> None:
        """Leave the gateway two descriptors more than it has."""
        have = max(descriptors(self.gateway.pid))
        old = resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE, (have + 3, old[1]))
        try:
            await asyncio.sleep(self.seconds)
        finally:
            resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE, old)

    async def _stopped(self) -> None:
        self.gateway.signal(signal.SIGSTOP)
        await asyncio.sleep(self.seconds / 4)
        self.gateway.signal(signal.SIGCONT)

    async def _stuck(self) -> None:
        self.log.reads.clear()
        await asyncio.sleep(self.seconds)
        self.log.reads.set()

    async def _reloaded(self) -> None:
        self.tables["plugins"]["metadata"]["entries_max"] = 5 + self.count % 2
        self.gateway.write_config(self.tables)
        await self._hang_up("reloaded")

    async def _refused(self) -> None:
        self.gateway.write_config({**self.tables, "nonsense": self.count})
        await self._hang_up("reload_failed")
        self.gateway.write_config(self.tables)

    async def _certificate(self) -> None:
        server = self.tables["server"]
        before = await self._shown()
        issue(self.authority, Path(server["tls_cert"]), Path(server["tls_key"]))
        await self._hang_up("reloaded")
        assert await self._shown() != before

    async def _hang_up(self, event: str) -> None:
        """Have the configuration read, and wait until the log tells what came of it."""
        count = sum(line.get("event") == event for line in self.gateway.log)
        self.gateway.signal(signal.SIGHUP)
        await asyncio.to_thread(self.gateway.wait_for_log, event, count + 1, PATIENCE_S)

    async def _shown(self) -> str:
        """Give the certificate that a new caller is shown."""
        address = ("127.0.0.1", self.gateway.port)
        return await asyncio.to_thread(ssl.get_server_certificate, address)


def descriptors(pid: int) -> list[int]:
    """Give the numbers of a process's descriptors."""
    return [int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()]


def issue(authority: trustme.CA, cert: Path, key: Path) -> None:
    """Write a new certificate, with its chain, and its key."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    key.write_bytes(issued.private_key_pem.bytes())
    cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
