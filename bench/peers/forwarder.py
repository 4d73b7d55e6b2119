"""A straightforward proxy of aiohttp before aiohttp, as one writes it in an afternoon.

It stands for what the same language and loop give without our relay: `aiohttp.web` takes the
request, one `ClientSession` sends it, and each piece of the answer is written as it comes. Run as a
script: `forwarder.py UPSTREAM PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

PREFIX = "/bench"
BODY_MAX = 64 * 1024 * 1024
# Of one connection only (RFC 9110 section 7.6.1), and what each side says for itself.
DROPPED = {
    "connection",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


def application(upstream: str) -> web.Application:
    session = web.AppKey("session", aiohttp.ClientSession)

    async def client(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=600)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(sock_read=600), auto_decompress=False
        ) as app[session]:
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        target = URL(upstream + request.raw_path.removeprefix(PREFIX), encoded=True)
        async with request.app[session].request(
            request.method,
            target,
            headers=[item for item in request.headers.items() if item[0].lower() not in DROPPED],
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            fields = [item for item in answer.headers.items() if item[0].lower() not in DROPPED]
            response = web.StreamResponse(status=answer.status)
            response.headers.extend(fields)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=BODY_MAX)
    app.cleanup_ctx.append(client)
    app.router.add_route("*", PREFIX + "/{rest:.*}", forward)
    return app


async def serve(upstream: str, port: int) -> None:
    runner = web.AppRunner(application(upstream.rstrip("/")), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    if len(sys.argv) != 3 or not urlsplit(sys.argv[1]).netloc:
        raise SystemExit("usage: forwarder.py http://HOST:PORT PORT")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(serve(sys.argv[1], int(sys.argv[2])))
