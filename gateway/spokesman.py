"""The admin listener of a gateway with workers: it speaks for all of them.

Probes are answered here. What concerns every worker (a reload, the log's level) is asked of each,
and everything else of one that is ready, over its Unix socket in the state directory; the worker
judges host and token itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import web

from gateway import admin
from gateway.log import get

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.ports import Sockets
    from gateway.workers import Worker

log = get("spokesman")

ASK_TIMEOUT_S: Final = 60.0
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
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
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
                answer = await self._ask(worker, request)
                if answer.status != 200:
                    return answer
        return answer or web.Response(status=503, text="no worker\n")

    async def _one(self, request: web.Request) -> web.StreamResponse:
        for worker in self._workers:
            if worker.is_ready:
                return await self._ask(worker, request)
        return web.Response(status=503, text="no worker\n")

    async def _ask(self, worker: Worker, request: web.Request) -> web.Response:
        """What the worker says, which judges host and token itself."""
        fields = [
            (name, value) for name, value in request.headers.items() if name.lower() not in HOP
        ]
        body = await request.read()
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(worker.admin_path)),
                    auto_decompress=False,
                    timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S),
                ) as session,
                session.request(
                    request.method,
                    f"http://worker{request.rel_url}",
                    headers=fields,
                    data=body or None,
                    allow_redirects=False,
                ) as found,
            ):
                headers: Any = [
                    (name, value)
                    for name, value in found.headers.items()
                    if name.lower() not in HOP
                ]
                return web.Response(
                    status=found.status, headers=dict(headers), body=await found.read()
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("worker_not_asked", worker=worker.number, error=repr(error))
            return web.Response(status=502, text="a worker did not answer\n")
