"""The admin listener of a gateway with workers: it speaks for all of them.

Probes are answered here. What concerns every worker (a reload, the log's level) is asked of each,
and everything else of one that is ready, over its Unix socket in the state directory; the worker
judges host and token itself. Its answer is passed on as it comes, so it may be a stream; an answer
that breaks off breaks off here too, and a caller that leaves has left the worker.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web

from gateway import admin
from gateway.log import get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AsyncExitStack

    from gateway.ports import Sockets
    from gateway.workers import Worker

log = get("spokesman")

ASK_TIMEOUT_S: Final = 60.0
# aiohttp's client would add these of its own accord.
NOT_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# Of one connection, and set anew on the next one (RFC 9110 section 7.6.1).
HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "te"})


class Spokesman:
    """is_draining: set it when the end has begun."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._sites: list[web.SockSite] = []
        self.is_draining = False

    async def open(self, stack: AsyncExitStack, sockets: Sockets) -> None:
        app = web.Application(client_max_size=admin.BODY_BYTES_MAX)
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._readiness)
        app.router.add_get("/healthz", self._readiness)
        app.router.add_post("/api/reload", self._all)
        app.router.add_post("/api/log", self._all)
        app.router.add_route("*", "/{rest:.*}", self._one)
        app.on_response_prepare.append(admin.without_server)
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1,
            handler_cancellation=True,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        for sock in sockets:
            site = web.SockSite(runner, sock)
            await site.start()
            self._sites.append(site)

    async def listen_no_more(self) -> None:
        """A successor speaks on this port now."""
        for site in self._sites:
            await site.stop()

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _readiness(self, _: web.Request) -> web.Response:
        if self.is_draining:
            return web.Response(status=503, text="draining\n")
        if not any(worker.is_ready for worker in self._workers):
            return web.Response(status=503, text="no worker\n")
        return web.Response(text="ready\n")

    async def _all(self, request: web.Request) -> web.StreamResponse:
        """Of each in turn; the first one that refuses says why, and the others keep theirs."""
        answer: web.Response | None = None
        for worker in self._workers:
            if worker.is_ready:
                answer = await _whole(worker, request)
                if answer.status != 200:
                    return answer
        return answer or web.Response(status=503, text="no worker\n")

    async def _one(self, request: web.Request) -> web.StreamResponse:
        for worker in self._workers:
            if worker.is_ready:
                return await _passed_on(worker, request)
        return web.Response(status=503, text="no worker\n")


async def _whole(worker: Worker, request: web.Request) -> web.Response:
    """What the worker says, once it is whole."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S), _asked(worker, request) as found:
            body = await found.read()
            return web.Response(status=found.status, headers=_fields(found.headers), body=body)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return _not_asked(worker, error)


async def _passed_on(worker: Worker, request: web.Request) -> web.StreamResponse:
    """What the worker says, as it comes. Only its head has a deadline."""
    response: web.StreamResponse | None = None
    try:
        async with _asked(worker, request) as found:
            response = web.StreamResponse(status=found.status, headers=_fields(found.headers))
            if found.headers.get("Content-Length"):
                response.content_length = int(found.headers["Content-Length"])
            await response.prepare(request)
            async for piece in found.content.iter_any():
                await response.write(piece)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        if response is None:
            return _not_asked(worker, error)
        if request.transport is not None:
            request.transport.abort()  # nothing else tells the caller that it is not whole
    return response


@asynccontextmanager
async def _asked(worker: Worker, request: web.Request) -> AsyncIterator[aiohttp.ClientResponse]:
    """The head of the worker's answer, which judges host and token itself."""
    body = await request.read()
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(worker.admin_path)),
        auto_decompress=False,
        skip_auto_headers=NOT_ADDED,
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            found = await session.request(
                request.method,
                f"http://worker{request.rel_url}",
                headers=_fields(request.headers),
                data=body or None,
                allow_redirects=False,
            )
        async with found:
            yield found


def _fields(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in fields.items() if name.lower() not in HOP]


def _not_asked(worker: Worker, error: Exception) -> web.Response:
    log.warning("worker_not_asked", worker=worker.number, error=repr(error))
    return web.Response(status=502, text="a worker did not answer\n")
