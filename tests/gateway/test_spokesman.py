"""The admin listener that speaks for workers; with real ones in tests/whole/test_workers.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway import ports
from gateway.spokesman import Spokesman
from gateway.workers import Worker

LARGE = b"0123456789" * 1_000_000


class Streams:
    """What a plugin of a worker streams: an event at once, another one on demand, and an end."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.caller_left = asyncio.Event()

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(b"data: 1\n\n")
            await self.go.wait()
            await response.write(b"data: 2\n\n")
            if request.path == "/cut":
                assert request.transport is not None
                request.transport.abort()
        except asyncio.CancelledError:
            self.caller_left.set()
            raise
        return response

    async def download(self, _: web.Request) -> web.Response:
        response = web.Response(body=LARGE, headers={"X-Kind": "large"})
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response


async def listening(stack: AsyncExitStack, path: Path, status: int, streams: Streams) -> None:
    """A worker's admin listener, which tells what it was asked."""

    async def answer(request: web.Request) -> web.Response:
        said = f"{path.stem} {request.method} {request.rel_url} {request.headers.get('Host')} "
        return web.Response(status=status, text=said + await request.text())

    app = web.Application()
    app.router.add_get("/events", streams.events)
    app.router.add_get("/cut", streams.events)
    app.router.add_get("/large", streams.download)
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.UnixSite(runner, path).start()


@asynccontextmanager
async def speaking(
    folder: Path, *statuses: int, streams: Streams | None = None
) -> AsyncIterator[tuple[Spokesman, list[Worker], aiohttp.ClientSession]]:
    async with AsyncExitStack() as stack:
        workers = [Worker(number, [], folder / f"{number}.sock") for number in range(len(statuses))]
        for worker, status in zip(workers, statuses, strict=True):
            await listening(stack, worker.admin_path, status, streams or Streams())
            worker.is_ready = True
        sockets = ports.bound("admin", "127.0.0.1", 0)[0]
        spokesman = Spokesman(workers)
        await spokesman.open(stack, sockets)
        session = aiohttp.ClientSession(base_url=ports.shown(sockets[0]))
        yield spokesman, workers, await stack.enter_async_context(session)


def test_it_is_ready_as_long_as_one_worker_is(tmp_path):
    async def story() -> None:
        async with speaking(tmp_path, 200, 200) as (spokesman, workers, session):
            for is_ready, status in (
                ((True, True), 200),
                ((False, True), 200),
                ((False,) * 2, 503),
            ):
                for worker, ready in zip(workers, is_ready, strict=True):
                    worker.is_ready = ready
                async with session.get("/readyz") as found:
                    assert found.status == status
            workers[0].is_ready = True
            spokesman.is_draining = True
            async with session.get("/readyz") as found:
                assert (found.status, await found.text()) == (503, "draining\n")
            async with session.get("/livez") as found:
                assert found.status == 200

    asyncio.run(story())


def test_what_concerns_one_is_asked_of_one_that_is_ready(tmp_path):
    async def story() -> None:
        async with speaking(tmp_path, 200, 200) as (_, workers, session):
            workers[0].is_ready = False
            async with session.post("/x?a=1", data=b"body", headers={"Host": "here"}) as found:
                assert await found.text() == "1 POST /x?a=1 here body"
            workers[1].is_ready = False
            async with session.get("/x") as found:
                assert found.status == 503

    asyncio.run(story())


def test_a_reload_is_asked_of_all_until_one_refuses(tmp_path):
    async def story() -> None:
        async with speaking(tmp_path, 200, 400, 200) as (_, _, session):
            async with session.post("/api/reload") as found:
                assert found.status == 400
                assert (await found.text()).startswith("1 POST")

    asyncio.run(story())


def test_a_stream_comes_as_it_comes_and_ends_as_it_ends(tmp_path):
    async def story() -> None:
        streams = Streams()
        async with speaking(tmp_path, 200, streams=streams) as (_, _, session):
            async with session.get("/events") as found:
                assert found.headers["Content-Type"] == "text/event-stream"
                assert await found.content.readany() == b"data: 1\n\n"
                streams.go.set()
                assert await found.content.read() == b"data: 2\n\n"
            streams.go.clear()
            async with session.get("/cut") as found:
                assert await found.content.readany() == b"data: 1\n\n"
                streams.go.set()
                with pytest.raises(aiohttp.ClientPayloadError):
                    await found.content.read()

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_worker_is_told_of_a_caller_that_leaves_its_stream(tmp_path):
    async def story() -> None:
        streams = Streams()
        async with speaking(tmp_path, 200, streams=streams) as (_, _, session):
            async with session.get("/events") as found:
                assert await found.content.readany() == b"data: 1\n\n"
                found.close()
            await streams.caller_left.wait()

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_large_download_keeps_its_length_and_its_fields(tmp_path):
    async def story() -> None:
        async with speaking(tmp_path, 200) as (_, _, session):
            async with session.get("/large") as found:
                assert await found.read() == LARGE
                assert found.headers["Content-Length"] == str(len(LARGE))
                assert found.headers["X-Kind"] == "large"
                assert set(found.cookies) == {"a", "b"}
            async with session.head("/large") as found:
                assert await found.read() == b""
                assert found.headers["Content-Length"] == str(len(LARGE))

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_worker_that_is_gone_is_said(tmp_path, logged):
    async def story() -> None:
        async with speaking(tmp_path, 200) as (_, workers, session):
            workers[0].admin_path.unlink()
            async with session.get("/x") as found:
                assert found.status == 502

    asyncio.run(story())
    assert [line["event"] for line in logged] == ["worker_not_asked"]
