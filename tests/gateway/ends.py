"""The other ends of what is tested: sockets that a test plays by hand, on the product's own loop.

async def story():
    listening = Listening()
    ours, theirs = await asyncio.gather(connect(listening.port), listening.accept())
    await theirs.send(b"hello")
    assert await ours.exactly(5) == b"hello"

run(story())
"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from gateway.config import Limits
from gateway.convert import convert_table

T = TypeVar("T")

# A story that has not ended by then waits for something that does not come.
PATIENCE_S = 10.0
# Within this, whatever is on its way on one machine has arrived.
SOON_S = 0.05
_ABORT = struct.pack("ii", 1, 0)
_opened: list[socket.socket] = []


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story; it fails if it hangs, or if the loop heard of an error that nobody else did."""
    heard: list[dict[str, Any]] = []

    async def told() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: heard.append(context))
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await story
        finally:
            if _opened:
                hang_up()
                await asyncio.sleep(0.002)  # the loop hears of it before it is closed

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(told())
            gc.collect(1)  # a task that failed unseen says so when it is collected
    finally:
        hang_up()
    assert heard == []
    return result


def hang_up() -> None:
    """Close every end that is open."""
    while _opened:
        _opened.pop().close()


async def until(true: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    while not true():
        await asyncio.sleep(0.001)


def limits(**written: str | int) -> Limits:
    """Give limits as config.toml would write them."""
    made, problems = convert_table(Limits, written, where="limits")
    assert made is not None, problems
    return made


class End:
    """Our end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._buffer = b""
        self._loop = asyncio.get_running_loop()
        _opened.append(sock)

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def until(self, mark: bytes) -> bytes:
        """Read up to and with the mark."""
        while mark not in self._buffer:
            await self._more()
        return self._cut(self._buffer.index(mark) + len(mark))

    async def head(self) -> bytes:
        return await self.until(b"\r\n\r\n")

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        return self._cut(size)

    async def rest(self) -> bytes:
        """Read until the other end closes; a reset raises ConnectionResetError."""
        while data := await self._receive():
            self._buffer += data
        return self._cut(len(self._buffer))

    async def soon(self) -> bytes:
        """Give what has come, and comes within a moment."""
        try:
            async with asyncio.timeout(SOON_S):
                while data := await self._receive():
                    self._buffer += data
        except TimeoutError:
            pass
        return self._cut(len(self._buffer))

    async def ending(self) -> str:
        """Read away what comes; say whether the end was "fin", "reset" or, in a moment, none."""
        try:
            async with asyncio.timeout(SOON_S * 4):
                await self.rest()
        except TimeoutError:
            return "none"
        except ConnectionResetError:
            return "reset"
        return "fin"

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.sock.close()

    async def _receive(self) -> bytes:
        return await self._loop.sock_recv(self.sock, 65536)

    async def _more(self) -> None:
        data = await self._receive()
        if not data:
            raise EOFError(f"closed after {self._buffer!r}")
        self._buffer += data

    def _cut(self, size: int) -> bytes:
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


class Listening:
    """A port of this machine whose connections the test takes one by one."""

    def __init__(self, host: str = "127.0.0.1", *, port: int = 0, backlog: int = 64) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.sock.listen(backlog)
        self.sock.setblocking(False)
        self.port = int(self.sock.getsockname()[1])
        _opened.append(self.sock)

    async def accept(self) -> End:
        sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return End(sock)

    def close(self) -> None:
        self.sock.close()


async def connect(port: int, *, receive_bytes: int | None = None) -> End:
    """Connect to a port of this machine. receive_bytes: of the kernel's buffer, to read slowly."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    end = End(sock)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end


class Wire(asyncio.Transport):
    """A transport that keeps what is written: the edge, for stories of a thousand connections."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000)})
        self.written = b""
        self.is_resting = False
        self.ending = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ending
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass  # nothing waits here

    def is_closing(self) -> bool:
        return self.ending in ("closed", "aborted")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ending = "half-closed"

    def close(self) -> None:
        self.ending = "closed"

    def abort(self) -> None:
        self.ending = "aborted"

    def pause_reading(self) -> None:
        self.is_resting = True

    def resume_reading(self) -> None:
        self.is_resting = False
