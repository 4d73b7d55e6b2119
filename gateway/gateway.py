"""The gateway object: what a plugin's `lifespan` and `endpoints` are given.

It holds what lives as long as the process: the configuration in force, the providers, the upstream
pool, the capabilities that plugins lend each other, and the tasks they own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from gateway.errors import StartError
from gateway.log import get

if TYPE_CHECKING:
    from pathlib import Path

    import msgspec
    from aiohttp import web

    from gateway.config import Config
    from gateway.exchange import Exchange
    from gateway.line import Line
    from gateway.plan import Plan
    from gateway.pool import Pool
    from gateway.providers import Provider
    from gateway.routes import Table

log = get("gateway")

# A task that does not end when asked to is left behind after this long, and named.
TASK_STOP_S = 5.0
# Callers wait at most this long for what a plugin wants done first.
FIRST_S = 10.0


class Doc:
    """What `GET /api/openapi.json` says of an endpoint. Types are what msgspec can make a schema
    of; `field: meaning` in a struct's docstring is the field's description.

    summary: one line. query: a struct whose fields are the query's parameters. body: the type of
    the JSON body. answers: by status, the type of the JSON body, or the media types of another.
    """

    __slots__ = ("answers", "body", "query", "summary")

    def __init__(
        self,
        summary: str,
        *,
        answers: Mapping[int, type | tuple[str, ...]],
        query: type[msgspec.Struct] | None = None,
        body: type | None = None,
    ) -> None:
        self.summary = summary
        self.answers = answers
        self.query = query
        self.body = body


class Endpoint:
    """A page of a plugin's own, served by aiohttp.

    listener: "admin", or "callers" for the callers' port. token: whether the admin token is asked
    for; pages of the callers' listener see to their own credentials. doc: what the admin API's
    document says of it; without one it has method and path only.
    """

    __slots__ = ("doc", "handler", "listener", "method", "path", "token")

    def __init__(
        self,
        method: str,
        path: str,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        *,
        listener: str = "admin",
        token: bool = True,
        doc: Doc | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.listener = listener
        self.token = token
        self.doc = doc


class Route:
    """A path of a plugin's own that enters the line: an exchange without a provider until a `pick`
    names one.

    pattern: a path such as "/v1/chat/completions", or one ending in "/*" for everything below it.
    """

    __slots__ = ("dialect", "pattern", "surface")

    def __init__(self, pattern: str, dialect: str | None = None, surface: str = "plain") -> None:
        self.pattern = pattern
        self.dialect = dialect
        self.surface = surface


class Gateway:
    """One per process. See the module's docstring."""

    def __init__(
        self,
        config: Config,
        providers: dict[str, Provider],
        table: Table,
        plans: dict[str, Plan],
        pool: Pool,
        caller: Callable[[Exchange | None, Request], Awaitable[Answered]],
    ) -> None:
        self.loop = pool.loop
        self.config = config
        self.providers = providers
        self.table = table
        self.plans = plans
        self.pool = pool
        self.is_draining = False
        self.lines: set[Line] = set()
        self.counts: dict[str, int] = {}
        self.troubles: dict[str, str] = {}
        self._caller = caller
        self._offers: dict[str, object] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._first: list[asyncio.Task[Any]] = []

    @property
    def plans(self) -> dict[str, Plan]:
        """The plan of each named gateway."""
        return self._plans

    @plans.setter
    def plans(self, plans: dict[str, Plan]) -> None:
        self._plans = plans
        # What a line has to be: nothing where no plugin has part in one, a task where one may wait.
        self.is_bare = all(plan.is_bare for plan in plans.values())
        self.waits = any(plan.waits for plan in plans.values())

    @property
    def state_path(self) -> Path:
        """The state directory; made, with mode 0700, before any `lifespan` runs."""
        return self.config.state_path

    def provide(self, name: str, offer: object) -> None:
        """Lend other plugins a capability under a name. Call it in `lifespan`."""
        if name in self._offers:
            raise StartError(
                f'the capability "{name}" is provided twice; enable one of the two plugins'
            )
        self._offers[name] = offer

    def require(self, name: str) -> Any:
        """A capability that another plugin provides. Call it in `lifespan`; the other must stand
        earlier in `enabled`.
        """
        if name not in self._offers:
            have = ", ".join(sorted(self._offers)) or "none"
            raise StartError(
                f'nobody provides the capability "{name}" (there is: {have}); '
                "enable a plugin that does, before this one in `enabled`"
            )
        return self._offers[name]

    def task(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run work in the background. The reference is kept, a failure is logged, and the stop
        cancels it.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def first(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Like `task`, and no caller is let in before it is done, or `FIRST_S` have passed. Call it
        in `lifespan` or `endpoints`.
        """
        self._first.append(self.task(work, name))

    async def first_done(self) -> None:
        """Wait for what plugins want done before callers come."""
        if self._first:
            await asyncio.wait(self._first, timeout=FIRST_S)
            self._first.clear()

    async def call(self, parent: Exchange | None, request: Request) -> Answered:
        """Make a request of our own: a child exchange that enters the line at `prepare` with the
        parent's identity.

        Bounded in depth and count (`limits.call_depth_max`, `limits.call_count_max`). Raises
        `GatewayError`.
        """
        return await self._caller(parent, request)

    def count(self, name: str) -> None:
        """Add one to a counter of the process: contained failures and the like."""
        self.counts[name] = self.counts.get(name, 0) + 1

    def trouble(self, name: str, reason: str | None) -> None:
        """Say that the process cannot take new requests as it should, or, with None, that it can
        again. The probe for readiness answers 503 with the reasons.
        """
        if reason is None:
            self.troubles.pop(name, None)
        else:
            self.troubles[name] = reason

    async def stop_tasks(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=TASK_STOP_S)
            for task in left:
                log.warning("task_left_behind", task=task.get_name())

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            error = task.exception()
            if error is not None:
                log.error("task_failed", task=task.get_name(), error=repr(error))


class Request:
    """A request made by a plugin (`Gateway.call`): the same address a caller would use."""

    __slots__ = ("body", "headers", "method", "target")

    def __init__(
        self,
        target: bytes,
        body: bytes = b"",
        *,
        method: bytes = b"POST",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body


class Answered:
    """The whole answer to a `Gateway.call`."""

    __slots__ = ("body", "exchange", "headers", "status")

    def __init__(self, exchange: Exchange, status: int, headers: Any, body: bytes) -> None:
        self.exchange = exchange
        self.status = status
        self.headers = headers
        self.body = body
