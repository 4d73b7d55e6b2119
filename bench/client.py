"""Callers of the load generator: one connection each, a raw protocol, no task.

A caller knows one request, sends it when told and tells the run what came back. `Unary` reads a
whole answer, `Reader` a stream whose events carry the mock upstream's stamps. Both check what they
get, for a wrong answer must never count as a fast one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

from bench.framing import BY_CHUNKS, BY_CLOSE, Body, framing_of
from bench.shapes import DIGITS, LAST_CHUNK, MARK

WIDTH = len(MARK) + DIGITS
# Enough of the last read to find a mark, or the last chunk, that lies across two reads.
TAIL = WIDTH + 8


class Owner(Protocol):
    """The run, as its callers see it."""

    def finished(self, caller: Caller, now_ns: int) -> None: ...
    def failed(self, caller: Caller, why: str) -> None: ...
    def event(self, caller: Reader, now_ns: int, stamp_ns: int) -> None: ...


class Caller(asyncio.Protocol):
    """One connection. `due_ns` is when its request was meant to leave, `busy` whether an answer is
    awaited.
    """

    def __init__(self, owner: Owner, request: bytes) -> None:
        self.owner = owner
        self.request = request
        self.busy = False
        self.lost = False
        self.due_ns = 0
        self.seen_ns = 0
        self.rest = b""
        self.framing: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, due_ns: int) -> None:
        self.due_ns = self.seen_ns = due_ns
        self.busy = True
        self.framing = None
        self.transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self.busy and self.framing == BY_CLOSE and exc is None:
            self.end()
        elif self.busy:
            self.fail("reset" if exc else "cut")

    def head(self, data: bytes) -> bytes | None:
        """Take the head off; None while it is not whole or where it is the end of this exchange."""
        data = self.rest + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self.rest = data
            return None
        self.rest = b""
        if data[9:12] != b"200":
            self.fail(f"status {data[9:12].decode('latin-1')}")
            return None
        self.framing = framing_of(data[:end], BY_CLOSE)
        return data[end:]

    def end(self) -> None:
        self.busy = False
        self.owner.finished(self, time.monotonic_ns())

    def fail(self, why: str) -> None:
        """After a failure the connection is of no more use."""
        self.busy = False
        self.lost = True
        self.transport.abort()
        self.owner.failed(self, why)


class Unary(Caller):
    """Wants a whole body of so many bytes; of so many at least where it is not `exact`."""

    def __init__(self, owner: Owner, request: bytes, size: int, *, exact: bool = True) -> None:
        super().__init__(owner, request)
        self.size = size
        self.exact = exact
        self.got = 0
        self.body: Body | None = None

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self.fail("unasked bytes")
            return
        if self.framing is None:
            found = self.head(data)
            if found is None:
                return
            data = found
            self.got = 0
            if self.framing == len(data) == self.size:
                self.end()
                return
            self.body = Body(cast("int", self.framing))
        body = cast("Body", self.body)
        try:
            mine, beyond = body.feed(data)
        except ValueError:
            self.fail("bad framing")
            return
        self.got += len(mine)
        if body.done:
            right = self.got == self.size if self.exact else self.got >= self.size
            self.end() if right and not beyond else self.fail("wrong body")


class Reader(Caller):
    """Wants so many stamped events and a proper end.

    Chunk framing is not taken apart: every proxy may cut chunks as it likes, marks are found
    wherever they lie, and in the mock's streams only the last chunk can look like the last chunk.
    """

    def __init__(self, owner: Owner, request: bytes, events: int) -> None:
        super().__init__(owner, request)
        self.events = events
        self.got = 0

    def send(self, due_ns: int) -> None:
        self.got = 0
        super().send(due_ns)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self.framing is None:
            found = self.head(data)
            if found is None:
                return
            data = found
        elif self.rest:
            data = self.rest + data
        last = len(data) - WIDTH
        position = data.find(MARK)
        after = 0
        while 0 <= position <= last:
            after = position + WIDTH
            self.got += 1
            self.owner.event(self, now, int(data[after - DIGITS : after]))
            self.seen_ns = now
            position = data.find(MARK, after)
        if self.framing == BY_CHUNKS and data.endswith(LAST_CHUNK):
            self.rest = b""
            self.end() if self.got == self.events else self.fail("short stream")
        else:
            self.rest = data[max(after, len(data) - TAIL) :]
