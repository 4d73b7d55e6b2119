"""Real origins that count what they were asked, good or bad, and note what of it came whole: three
of Python's servers, run in a thread, and nginx and HAProxy, whose logs have a line for each
request.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h11
import httptools
from aiohttp import web

from tests.whole import controls

START_S: Final = 10.0
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# As the configurations of both write them; a body is escaped by one and in hex by the other.
NGINX_LINE: Final = re.compile(rb'(?m)^200 "([^"\n]*)" "([^"\n]*)"$')
HAPROXY_LINE: Final = re.compile(rb"(?m)^200 (\S*) (\S*)$")
ESCAPED: Final = re.compile(rb"\\x([0-9A-F]{2})")
NO_BODY: Final = b"-"
BAD: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


# A request that came whole: its target and its body.
Asked = tuple[bytes, bytes]


@dataclass(frozen=True)
class Origin:
    """count: gives the requests seen so far, the malformed ones among them. asked: gives those that
    came whole, in order.
    """

    server: str
    port: int
    count: Callable[[], int]
    asked: Callable[[], list[Asked]]

    @property
    def name(self) -> str:
        """Give a provider's name of nine characters."""
        return self.server.ljust(9, "-")


class Tally:
    """Counts, in the one thread of the servers."""

    def __init__(self) -> None:
        self.seen = 0
        self.asked: list[Asked] = []


class H11(asyncio.Protocol):
    """An origin on h11. A request counts as soon as its head is there."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.transport: Any = None
        self.connection = h11.Connection(h11.SERVER)
        self.is_head = False
        self.target = self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self.connection.receive_data(data)
            self._handle()
        except h11.RemoteProtocolError:
            self.tally.seen += 1
            self.transport.write(BAD)
            self.transport.close()

    def _handle(self) -> None:
        connection = self.connection
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                self.tally.seen += 1
                self.is_head = event.method == b"HEAD"
                self.target, self.body = event.target, b""
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.tally.asked.append((self.target, self.body))
                self._send(h11.Response(status_code=200, headers=[("Content-Length", "2")]))
                if not self.is_head:
                    self._send(h11.Data(data=b"ok"))
                self._send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    self.transport.close()
                    return
                connection.start_next_cycle()
            else:
                return

    def _send(self, event: Any) -> None:
        self.transport.write(self.connection.send(event) or b"")


class Httptools(asyncio.Protocol):
    """An origin on llhttp."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.transport: Any = None
        self.parser: Any = httptools.HttpRequestParser(self)
        self.target = self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.tally.seen += 1
            self.transport.write(BAD)
            self.transport.close()

    def on_message_begin(self) -> None:
        self.target = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_headers_complete(self) -> None:
        self.tally.seen += 1

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.tally.asked.append((self.target, self.body))
        is_head = self.parser.get_method() == b"HEAD"
        self.transport.write(OK[:-2] if is_head else OK)


async def _serve(
    tallies: dict[str, Tally], ready: Future[dict[str, Origin]], ended: asyncio.Event
) -> None:
    """Serve the three of Python until the end is set."""
    loop = asyncio.get_running_loop()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        tallies["aiohttp"].asked.append((request.raw_path.encode(), body))
        return web.Response(text="ok")

    pages = web.Server(answer)
    served: dict[str, tuple[Callable[[], Any], Callable[[], int]]] = {
        "aiohttp": (pages, lambda: pages.requests_count),
        "h11": (lambda: H11(tallies["h11"]), lambda: tallies["h11"].seen),
        "httptools": (lambda: Httptools(tallies["httptools"]), lambda: tallies["httptools"].seen),
    }
    servers = {
        name: await loop.create_server(make, "127.0.0.1", 0) for name, (make, _) in served.items()
    }
    ready.set_result(
        {
            name: Origin(
                name,
                server.sockets[0].getsockname()[1],
                served[name][1],
                tallies[name].asked.copy,
            )
            for name, server in servers.items()
        }
    )
    await ended.wait()
    for server in servers.values():
        server.close()
    await pages.shutdown(0.1)


@contextmanager
def _python_origins() -> Iterator[list[Origin]]:
    ready: Future[dict[str, Origin]] = Future()
    tallies = {"aiohttp": Tally(), "h11": Tally(), "httptools": Tally()}
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(_serve(tallies, ready, ended)), daemon=True
    )
    thread.start()
    try:
        yield list(ready.result(START_S).values())
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(START_S)
        loop.close()


def _logged(server: str, port: int, log: Path) -> Origin:
    def asked() -> list[Asked]:
        line, plain = {
            "nginx": (NGINX_LINE, _unescaped),
            "haproxy": (HAPROXY_LINE, lambda text: bytes.fromhex(text.decode())),
        }[server]
        found = line.findall(log.read_bytes())
        return [(target, b"" if body == NO_BODY else plain(body)) for target, body in found]

    return Origin(server, port, lambda: log.read_bytes().count(b"\n"), asked)


def _unescaped(text: bytes) -> bytes:
    return ESCAPED.sub(lambda code: bytes.fromhex(code[1].decode()), text)


@contextmanager
def counting_origins() -> Iterator[list[Origin]]:
    """Give all five."""
    with ExitStack() as stack:
        origins = stack.enter_context(_python_origins())
        port, log = stack.enter_context(controls.nginx_origin())
        origins.append(_logged("nginx", port, log))
        port, log = stack.enter_context(controls.haproxy_origin())
        origins.append(_logged("haproxy", port, log))
        yield origins
