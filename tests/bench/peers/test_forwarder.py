from __future__ import annotations

import asyncio
import http.client

import aiohttp
import pytest
from aiohttp import web

from bench.peers.forwarder import application
from bench.upstream import Mock


def through(
    path: str, script: str, *, directly: bool = True
) -> tuple[aiohttp.ClientResponse, bytes, bytes]:
    """Ask the mock through the proxy, and directly as well: the answer, both bodies."""

    async def ask() -> tuple[aiohttp.ClientResponse, bytes, bytes]:
        server = await Mock(asyncio.get_running_loop()).listen()
        upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        runner = web.AppRunner(application(upstream), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}/bench"
        fields = {"x-bench": script}
        try:
            async with aiohttp.ClientSession(headers=fields) as session:
                direct = b""
                if directly:
                    async with session.post(upstream + path, data=b"{}") as plain:
                        direct = await plain.read()
                async with session.post(base + path, data=b"{}") as answer:
                    return answer, await answer.read(), direct
        finally:
            await runner.cleanup()
            server.close()
            await server.wait_closed()

    return asyncio.run(ask())


@pytest.mark.parametrize("script", ["json=600", "json=100000", "status=429"])
def test_a_whole_answer_is_the_mocks_with_its_length(script):
    answer, found, direct = through("/v1/chat/completions", script)
    assert found == direct
    assert answer.headers["Content-Length"] == str(len(direct))
    assert answer.status == (429 if "429" in script else 200)


def test_a_stream_comes_whole_and_in_pieces():
    answer, found, _ = through("/v1/messages", "sse=20 gap=1")
    assert found.count(b"content_block_delta") == 2 * 20
    assert found.endswith(b"\n\n")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers


def test_a_stream_that_breaks_off_is_not_made_whole():
    with pytest.raises((aiohttp.ClientError, http.client.HTTPException)):
        through("/v1/messages", "sse=20 gap=1 fault=cut after=3", directly=False)
