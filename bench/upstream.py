"""The mock upstream: does what the request's script says, and costs far less than any proxy in
front of it.

Requests on a kept connection repeat their head byte for byte, so a head is understood once and
remembered; a plain answer is then one dictionary look-up and one write. Streams are driven by one
wheel. Faults are real ones: a FIN, an RST or silence on the socket itself.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import time
from pathlib import Path
from typing import cast

import orjson
import uvloop

from bench import shapes
from bench.ask import Ask, wants_stream
from bench.framing import Body
from bench.script import Script, line, parse
from bench.wheel import Wheel

# Heads repeat, but a proxy may number its requests: forget all rather than grow.
KNOWN_MAX = 4096
# Of a body nobody scripted we look at this much to see whether a stream is wanted.
LOOK_MAX = 64 * 1024
BACKLOG = 8192
# Closing with this set sends RST in place of FIN.
RESET = struct.pack("ii", 1, 0)


class Upstream(asyncio.Protocol):
    """One connection."""

    __slots__ = ("ask", "body", "mock", "paused", "rest", "seen", "stream", "transport")

    def __init__(self, mock: Mock) -> None:
        self.mock = mock
        self.rest = b""
        self.ask: Ask | None = None
        self.body: Body | None = None
        self.seen = b""
        self.stream: Stream | None = None
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.stream is not None:
            self.stream.owner = None

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.stream is not None:
            self.stream.resume()

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data, self.rest = self.rest + data, b""
        while data and self.stream is None:
            if self.ask is None:
                end = data.find(b"\r\n\r\n") + 4
                if end < 4:
                    break
                self.ask = ask = self.mock.understand(data[:end])
                if ask.answer is not None and ask.scripted and len(data) == end + ask.framing:
                    self.ask = None
                    self.transport.write(ask.answer)
                    return
                self.body = Body(ask.framing)
                self.seen = b""
                data = data[end:]
            data = self.read_body(data)
        self.rest = data

    def read_body(self, data: bytes) -> bytes:
        ask, body = cast("Ask", self.ask), cast("Body", self.body)
        mine, rest = body.feed(data)
        if not ask.scripted and len(self.seen) < LOOK_MAX:
            self.seen += mine
        if body.done:
            self.ask = None
            self.reply(ask)
        return rest

    def reply(self, ask: Ask) -> None:
        script, answer = ask.script, ask.answer
        if not ask.scripted and wants_stream(ask, self.seen):
            script, answer = self.mock.usual_stream(script), None
        if answer is not None:
            self.transport.write(answer)
            return
        self.stream = Stream(self, script)
        if script.wait:
            self.mock.wheel.at(self.stream.due_ns, self.stream.start)
        else:
            self.stream.start()

    def finished(self) -> None:
        """A stream is over; what the client sent meanwhile is next."""
        self.stream = None
        if self.rest:
            self.data_received(b"")


class Stream:
    """An answer that takes its time, or ends in a fault."""

    __slots__ = ("due_ns", "gap_ns", "held", "last", "left", "opening", "owner", "script", "strip")

    def __init__(self, owner: Upstream, script: Script) -> None:
        self.owner: Upstream | None = owner
        self.script = script
        self.gap_ns = int(script.gap * 1e6)
        self.due_ns = time.monotonic_ns() + int(script.wait * 1e6)
        self.left = script.sse
        # How many events stay unsent, because a fault comes first.
        self.last = max(script.sse - script.after, 0) if script.fault else 0
        self.held = False
        self.strip = shapes.strip(script.shape, script.size)
        self.opening = shapes.SSE_HEAD + self.strip.opening

    def start(self) -> None:
        owner, script = self.owner, self.script
        if owner is None:
            return
        if not script.sse or script.status >= 400:
            owner.transport.write(cut_short(script))
            self.end()
        elif self.left <= self.last:
            owner.transport.write(self.opening)
            self.end()
        else:
            self.step()

    def step(self) -> None:
        """Send one event and come back for the next; several at once where no gap is asked for."""
        owner = self.owner
        if owner is None:
            return
        while not owner.paused:
            self.left -= 1
            event = self.opening + self.strip.event(time.monotonic_ns())
            self.opening = b""
            if self.left <= self.last:
                owner.transport.write(event if self.script.fault else event + self.strip.closing)
                self.end()
                return
            owner.transport.write(event)
            if self.gap_ns:
                self.due_ns += self.gap_ns
                owner.mock.wheel.at(self.due_ns, self.step)
                return
        self.held = True

    def resume(self) -> None:
        """A slow reader reads again. What fell due meanwhile is not caught up."""
        if self.held:
            self.held = False
            self.due_ns = time.monotonic_ns()
            self.step()

    def end(self) -> None:
        owner, fault = self.owner, self.script.fault
        if owner is None or fault == "stall":
            return
        self.owner = None
        if fault == "reset":
            found = owner.transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            # What is written leaves the process at the end of this turn of the loop.
            owner.mock.loop.call_later(0.005, owner.transport.abort)
        elif fault == "cut":
            owner.transport.close()
        else:
            owner.finished()


def cut_short(script: Script) -> bytes:
    """A whole answer, or its head and the first bytes where a fault follows."""
    answer = shapes.answer(script)
    if not script.fault:
        return answer
    return answer[: answer.find(b"\r\n\r\n") + 4 + script.after]


class Mock:
    """What the connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, events: int = 50) -> None:
        self.loop = loop
        self.wheel = Wheel(loop)
        self.known: dict[bytes, Ask] = {}
        self.events = events

    def understand(self, head: bytes) -> Ask:
        ask = self.known.get(head)
        if ask is None:
            if len(self.known) >= KNOWN_MAX:
                self.known.clear()
            ask = self.known[head] = Ask(head)
        return ask

    def usual_stream(self, script: Script) -> Script:
        return parse(line(script), shape=script.shape, sse=self.events)

    async def listen(
        self, host: str = "127.0.0.1", port: int = 0, path: str = ""
    ) -> asyncio.Server:
        def make() -> Upstream:
            return Upstream(self)

        if path:
            return await self.loop.create_unix_server(make, path, backlog=BACKLOG)
        return await self.loop.create_server(make, host, port, backlog=BACKLOG)


async def serve(host: str, port: int, path: str, events: int) -> None:
    """Listen, say where on one line, and stay until cancelled."""
    mock = Mock(asyncio.get_running_loop(), events)
    server = await mock.listen(host, port, path)
    bound = server.sockets[0].getsockname()
    address = f"unix:{path}" if path else f"http://{bound[0]}:{bound[1]}"
    ready = {"event": "listening", "address": address, "pid": os.getpid()}
    print(orjson.dumps(ready).decode(), flush=True)
    # Streams leave little rubbish; a collection in mid-run would show as latency of the proxy.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    try:
        await server.serve_forever()
    finally:
        server.close()


def run(host: str, port: int, path: str, events: int) -> None:
    if path:
        Path(path).unlink(missing_ok=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(host, port, path, events))
