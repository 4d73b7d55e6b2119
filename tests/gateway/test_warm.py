"""Connections kept ready: how many, when they are made anew, and that nothing is said on them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config import Config
from gateway.convert import convert_table
from gateway.providers import build
from gateway.testing.exchanges import NO_STATE
from gateway.warm import BACK_OFF_S, Keeper, Warming
from tests.gateway.ends import End, Listening, run, until
from tests.gateway.forwarder import ESTABLISHED
from tests.gateway.inside import Inside, gateway, request

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Crowd:
    """Everyone who connects to a port, in their order."""

    def __init__(self, listening: Listening) -> None:
        self.ends: list[End] = []
        self._task = asyncio.ensure_future(self._accept(listening))

    async def _accept(self, listening: Listening) -> None:
        while True:
            self.ends.append(await listening.accept())

    def has(self, number: int) -> bool:
        return len(self.ends) > number

    async def leave(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


@contextlib.asynccontextmanager
async def warmed(**provider: Any) -> AsyncIterator[tuple[Inside, Warming, Crowd]]:
    tables = {"limits": provider.pop("limits", {})}
    async with gateway(provider=provider, **tables) as made:
        crowd = Crowd(made.upstream)
        warming = Warming(made.gateway)
        warming.renew()
        try:
            yield made, warming, crowd
        finally:
            await made.gateway.stop_tasks()
            await crowd.leave()


def ready(made: Inside) -> int:
    place = made.gateway.providers["openai"].origin
    assert place is not None
    return made.gateway.pool.ready(place)


async def take_one(made: Inside, crowd: Crowd) -> None:
    """Have a request take the connection that was made last, and leave it without an answer."""
    caller = await made.caller()
    await caller.send(request())
    assert (await crowd.ends[-1].head()).startswith(b"GET ")


def test_so_many_are_ready_and_nothing_is_said_on_them():
    async def story() -> None:
        async with warmed(warm=3) as (made, _, crowd):
            await until(lambda: ready(made) == 3)
            await asyncio.sleep(0.25)
            assert (ready(made), made.gateway.pool.size, len(crowd.ends)) == (3, 3, 3)
            assert [await end.soon() for end in crowd.ends] == [b"", b"", b""]

    run(story())


def test_without_the_key_nothing_is_made():
    async def story() -> None:
        async with warmed() as (made, _, crowd):
            await asyncio.sleep(0.25)
            assert (made.gateway.pool.size, crowd.ends) == (0, [])

    run(story())


def test_a_request_takes_one_and_another_is_made():
    async def story() -> None:
        async with warmed(warm=1) as (made, _, crowd):
            await until(lambda: ready(made) == 1)
            caller = await made.caller()
            await caller.send(request())
            assert (await crowd.ends[0].head()).startswith(b"GET ")
            await until(lambda: ready(made) == 1)
            assert len(crowd.ends) == 2
            await crowd.ends[0].send(ANSWER)
            assert (await caller.head()).startswith(b"HTTP/1.1 200")

    run(story())


def test_one_that_the_upstream_closed_is_made_anew():
    async def story() -> None:
        async with warmed(warm=2) as (made, _, crowd):
            await until(lambda: ready(made) == 2)
            crowd.ends[0].close()
            await until(lambda: ready(made) == 1)
            await until(lambda: ready(made) == 2)
            assert len(crowd.ends) == 3

    run(story())


def test_one_that_rested_too_long_is_made_anew_without_back_off():
    async def story() -> None:
        limits = {"upstream_keepalive_timeout": "300ms"}
        async with warmed(limits=limits) as (made, _, crowd):
            provider = made.gateway.providers["openai"]
            provider.warm = 1
            assert provider.origin is not None
            keeper = Keeper(made.gateway, provider, provider.origin)
            made.gateway.task(keeper.run(), "keeper")
            await until(functools.partial(crowd.has, 2))
            assert keeper._wait_s == 0

    run(story())


def test_no_more_are_open_than_may_be():
    async def story() -> None:
        async with warmed(warm=2, connections_max=2) as (made, _, crowd):
            await until(lambda: ready(made) == 2)
            callers = [await made.caller() for _ in range(2)]
            for caller in callers:
                await caller.send(request())
            for end in tuple(crowd.ends):
                await end.head()
            await asyncio.sleep(0.25)
            assert (made.gateway.pool.size, len(crowd.ends)) == (2, 2)
            for end in crowd.ends:
                await end.send(ANSWER)
            await until(lambda: ready(made) == 2)
            assert len(crowd.ends) == 2
            crowd.ends[0].close()
            await until(functools.partial(crowd.has, 2))

    run(story())


@pytest.mark.parametrize("greets", [False, True])
def test_an_upstream_that_does_not_want_them_is_asked_less_and_less(greets):
    """One that closes at once, and one that speaks first and is dropped for it."""

    async def story() -> None:
        async with warmed(warm=1) as (_, _, crowd):
            for number in (0, 1):
                await until(functools.partial(crowd.has, number))
                if greets:
                    await crowd.ends[number].send(b"220 hello\r\n")
                else:
                    crowd.ends[number].close()
            await asyncio.sleep(BACK_OFF_S)  # the second wait is twice as long
            assert len(crowd.ends) == 2
            await until(functools.partial(crowd.has, 2))

    run(story())


def test_an_upstream_that_is_away_is_found_when_it_is_back():
    async def story() -> None:
        away = Listening()
        port = away.port
        away.close()
        async with warmed(warm=1, base_url=f"http://127.0.0.1:{port}") as (made, _, _):
            await asyncio.sleep(0.2)
            assert made.gateway.pool.size == 0
            back = Listening(port=port)
            end = await back.accept()
            await until(lambda: ready(made) == 1)
            assert await end.soon() == b""

    run(story())


def test_a_tunnel_is_ready_too():
    async def story() -> None:
        proxy = Listening()
        async with warmed(
            warm=1, base_url="http://up.example", proxy=f"http://127.0.0.1:{proxy.port}"
        ) as (made, _, _):
            end = await proxy.accept()
            assert (await end.head()).startswith(b"CONNECT up.example:80 ")
            await end.send(ESTABLISHED)
            await until(lambda: ready(made) == 1)
            assert await end.soon() == b""
            caller = await made.caller()
            await caller.send(request())
            assert (await end.head()).startswith(b"GET ")
            assert made.gateway.pool.size <= 2
            await end.send(ANSWER)

    run(story())


def reload(made: Inside, warming: Warming, warm: int) -> None:
    """Do what a reload does: other providers, and a renewal."""
    table = {"base_url": f"http://127.0.0.1:{made.upstream.port}", "warm": warm}
    config, _ = convert_table(Config, {"providers": {"openai": table}}, where=())
    assert config is not None
    made.gateway.providers = build(config, NO_STATE, {})
    warming.renew()


def test_renewed_it_follows_the_providers_in_force():
    async def story() -> None:
        async with warmed(warm=1) as (made, warming, crowd):
            await until(lambda: ready(made) == 1)
            reload(made, warming, 3)
            await until(lambda: ready(made) == 3)
            assert len(crowd.ends) == 3
            reload(made, warming, 0)
            await take_one(made, crowd)
            await asyncio.sleep(0.25)
            assert len(crowd.ends) == 3

    run(story())


def test_once_stopped_or_draining_it_makes_no_more():
    async def story(way: str) -> None:
        async with warmed(warm=1) as (made, _, crowd):
            await until(lambda: ready(made) == 1)
            if way == "stopped":
                await made.gateway.stop_tasks()
            else:
                made.gateway.is_draining = True
                await asyncio.sleep(0.15)
            await take_one(made, crowd)
            await asyncio.sleep(0.25)
            assert len(crowd.ends) == 1

    run(story("stopped"))
    run(story("draining"))
