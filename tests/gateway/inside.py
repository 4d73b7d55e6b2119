"""A gateway inside the test's own process: a port for callers, and an upstream played by hand.

    async def story():
        async with gateway(Plugin()) as made:
            caller, up = await made.connected()
            await caller.send(GET)
            ...

    run(story())

For what a socket must show: HTTP/1.0, a caller that leaves, bodies that stream. What needs no
socket is told with `gateway.testing.run`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.caller import Caller
from gateway.calls import call
from gateway.clock import Clock
from gateway.config import Config
from gateway.convert import convert_table
from gateway.exchange import Exchange
from gateway.gateway import Answered, Gateway, Request
from gateway.listener import Callers
from gateway.pool import Pool
from gateway.providers import build
from gateway.refusal import Screen
from gateway.routes import Table
from gateway.testing import plan_of
from gateway.testing.exchanges import NO_STATE
from tests.gateway.ends import End, Listening, connect

PATH = b"/openai/v1/chat/completions"


class Inside:
    """A running gateway. upstream: where its provider openai leads."""

    def __init__(self, made: Gateway, callers: Callers, port: int, upstream: Listening) -> None:
        self.gateway = made
        self.callers = callers
        self.port = port
        self.upstream = upstream

    async def caller(self, **settings: Any) -> End:
        return await connect(self.port, **settings)

    async def asked(self, request: bytes, **settings: Any) -> tuple[End, End]:
        """Send a request; give the caller's end, and the upstream's with the head there read."""
        end = await self.caller(**settings)
        await end.send(request)
        up = await self.upstream.accept()
        await up.head()
        return end, up


def request(
    method: bytes = b"GET", *fields: bytes, body: bytes | None = None, version: bytes = b"1.1"
) -> bytes:
    lines = [b"%b %b HTTP/%b" % (method, PATH, version), b"Host: localhost", *fields]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body or b""])


@contextlib.asynccontextmanager
async def gateway(*plugins: object, **tables: Any) -> AsyncIterator[Inside]:
    """Run a gateway with these plugins. tables: of its configuration, such as `limits={...}`."""
    loop = asyncio.get_running_loop()
    upstream = Listening()
    provider = {"base_url": f"http://127.0.0.1:{upstream.port}", **tables.pop("provider", {})}
    config, problems = convert_table(
        Config, {"enabled": [], "providers": {"openai": provider}, **tables}, where=()
    )
    assert config is not None, problems
    clock = Clock(loop)
    pool = Pool(loop, clock, config.limits)
    providers = build(config, NO_STATE, {})

    async def ask(parent: Exchange | None, wanted: Request) -> Answered:
        return await call(made, parent, wanted)

    plans = dict.fromkeys(("default", *config.gateways), plan_of(*plugins))
    made = Gateway(config, providers, Table(config, providers), plans, pool, ask)
    callers = Callers(made, clock, Screen(config))
    server = await loop.create_server(lambda: Caller(callers), "127.0.0.1", 0)
    try:
        yield Inside(made, callers, server.sockets[0].getsockname()[1], upstream)
    finally:
        server.close()
        callers.abort()
        await asyncio.sleep(0.005)
        pool.close()
        clock.close()
        await asyncio.sleep(0.005)
    assert made.lines == set()
