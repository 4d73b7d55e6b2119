"""One connection to Redis or Valkey for a whole process: every call has a deadline, and a breaker.

Commands of all requests go over the one connection in the order in which they were given, and their
replies come back in it (the server answers a connection in order), so what a request gave back is
back before the next one asks. The package `redis` makes the connection (addresses, TLS, log-in) and
reads replies; it is imported only where a store is configured.

A deadline begins when a call is written, and time that our own loop was busy does not count. The
breaker opens after `MISSES_MAX` deadlines in a row, and at once where the connection breaks. While
it is open nobody waits: calls fail at once, and a look every `PROBE_S` finds the server back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import StartError
from gateway.log import get
from gateway.redis_wire import HANDSHAKE_S, Script, encoded, greet, made

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from gateway.secret import Secret

log = get("redis")

DEADLINE_S: Final = 0.05
# Deadlines missed in a row, of calls that were written together.
MISSES_MAX: Final = 3
# Turns of the loop in which a reply that has come in is read; a busy loop comes late to its timers.
_TURNS: Final = 4
PROBE_S: Final = 0.25
# A server that has said nothing at all for so long gets a new connection.
SILENCE_S: Final = 1.0
# Calls that wait for a reply; each is an exchange's, or one of few of a plugin's own.
CALLS_MAX: Final = 20_000

# Told what a call came to that nobody waits for any more; None where that is not known.
Late = Callable[[Any], None]


class StoreLost(Exception):
    """The store did not answer in time, or is not there; the text says which."""


class _Call:
    __slots__ = ("command", "future", "late")

    def __init__(
        self, command: tuple[bytes, ...], future: asyncio.Future[Any], late: Late | None
    ) -> None:
        self.command = command
        self.future = future
        self.late = late

    def end(self, reply: Any) -> None:
        if not self.future.done():
            self.future.set_result(reply)
        elif self.late is not None:
            self.late(reply)

    def fail(self, why: str) -> None:
        """Nobody has to wait any more; a reply may still come."""
        if not self.future.done():
            self.future.set_exception(StoreLost(why))
            self.future.exception()  # perhaps nobody waits; then nobody has to hear of it

    def lose(self, why: str) -> None:
        """No reply will come."""
        self.fail(why)
        if self.late is not None:
            self.late(None)


class RedisLink:
    """url: "redis://host:6379/0", "rediss://" with TLS or "unix://path". scripts: loaded as soon
    as there is a connection. on_up: called each time that it is there (again).
    """

    def __init__(
        self,
        url: str,
        scripts: Sequence[Script],
        *,
        user: str = "",
        password: Secret | None = None,
        deadline_s: float = DEADLINE_S,
        on_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._scripts = tuple(scripts)
        self._user = user
        self._password = password
        self._deadline_s = deadline_s
        self._on_up = on_up
        self.is_up = False
        self.why_down = "it has not been reached yet"
        self._calls: deque[_Call] = deque()  # written, in order
        self._unsent: list[_Call] = []
        self._wanted = asyncio.Event()
        self._misses = 0
        self._heard_s = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connection meanwhile. The first try is over when this begins."""
        try:
            made(self._url, self._user, self._password)
        except ImportError as error:
            text = 'a store in Redis needs the package "redis": pip install "weir[redis]"'
            raise StartError(text) from error
        except ValueError as error:
            raise StartError(f"the store's address {self._url} cannot be read: {error}") from error
        self._wanted, tried = asyncio.Event(), asyncio.Event()
        keeper = asyncio.get_running_loop().create_task(self._keep(tried), name="redis")
        try:
            await tried.wait()
            yield
            await self._said()
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    def call(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        late: Late | None = None,
    ) -> asyncio.Future[Any]:
        """Run a script. The reply is there within the deadline, or `StoreLost` is.

        late: told of the reply if nobody waits for it any more, or of None where the connection
        broke before it came.
        """
        if not self.is_up:
            raise StoreLost(self.why_down)
        command = (b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *arguments)
        return self._send(command, late).future

    # -- inner -------------------------------------------------------------------------------------

    async def _said(self) -> None:
        """Let what was called last arrive, within a deadline."""
        calls = [call.future for call in (*self._calls, *self._unsent) if not call.future.done()]
        if calls:
            await asyncio.wait(calls, timeout=self._deadline_s)

    def _send(self, command: tuple[bytes, ...], late: Late | None = None) -> _Call:
        if len(self._calls) + len(self._unsent) >= CALLS_MAX:
            raise StoreLost("too many calls wait for it")
        call = _Call(command, asyncio.get_running_loop().create_future(), late)
        self._unsent.append(call)
        self._wanted.set()
        return call

    def _overdue(self, calls: list[_Call], turns: int = _TURNS) -> None:
        if all(call.future.done() for call in calls):
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._overdue, calls, turns - 1)
            return
        for call in calls:
            call.fail("it did not answer in time")
        self._misses += 1
        if self._misses >= MISSES_MAX:
            self._down("it did not answer in time")

    def _down(self, why: str) -> None:
        self.why_down = why
        if self.is_up:
            self.is_up = False
            log.warning("store_lost", reason=why)
        for call in self._calls:
            call.fail(why)
        unsent, self._unsent = self._unsent, []
        for call in unsent:
            call.lose(why)

    def _up(self) -> None:
        self._misses = 0
        if not self.is_up:
            self.is_up = True
            log.info("store_found")
            self._on_up()

    async def _keep(self, tried: asyncio.Event) -> None:
        while True:
            connection = made(self._url, self._user, self._password)
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    await greet(connection, self._scripts)
                self._up()
                tried.set()
                await self._serve(connection)
            except Exception as error:  # the package's own, a socket's: whatever it is, once more
                self._down(f"{type(error).__name__}: {error}"[:200])
            finally:
                await connection.disconnect(nowait=True)
                self._drop()
                tried.set()
            await asyncio.sleep(PROBE_S)

    async def _serve(self, connection: AbstractConnection) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        tasks = [
            asyncio.create_task(work, name="redis")
            for work in (self._read(connection), self._write(connection), self._probe())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()  # none of them ends but by a fault
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, connection: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            calls, self._unsent = self._unsent, []
            self._calls.extend(calls)
            loop.call_later(self._deadline_s, self._overdue, calls)
            packed = b"".join([encoded(call.command) for call in calls])
            await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        from redis.exceptions import NoScriptError, ResponseError  # noqa: PLC0415 - see `made`

        loop = asyncio.get_running_loop()
        while True:
            error = reply = None
            try:
                reply = await connection.read_response(disable_decoding=True)
            except ResponseError as fault:
                error = fault
            self._heard_s = loop.time()
            call = self._calls.popleft()
            if not call.future.done():
                self._misses = 0
            if isinstance(error, NoScriptError):
                self._say_whole(call)
            elif error is not None:
                log.error("store_refused", error=str(error)[:200])
                call.lose(f"it refused: {error}")
            else:
                call.end(reply)

    def _say_whole(self, call: _Call) -> None:
        """The server has forgotten the script: send its text along."""
        text = next(script.text for script in self._scripts if script.sha == call.command[1])
        call.command = (b"EVAL", text, *call.command[2:])
        self._unsent.append(call)
        self._wanted.set()

    async def _probe(self) -> None:
        """While the breaker is open, ask; where nothing at all is heard, end the connection."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PROBE_S)
            if self.is_up:
                continue
            if loop.time() - self._heard_s > SILENCE_S:
                raise TimeoutError("it says nothing")
            with contextlib.suppress(StoreLost):
                await self._send((b"PING",)).future
                self._up()

    def _drop(self) -> None:
        """Nothing of what was sent will be answered."""
        self._wanted.clear()
        calls, self._calls = [*self._calls, *self._unsent], deque()
        self._unsent = []
        for call in calls:
            call.lose(self.why_down)
