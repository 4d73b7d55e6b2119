"""Calls of Redis have a deadline, nobody waits for one that is away, and it is found again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StartError
from gateway.redis_link import DEADLINE_S, MISSES_MAX, RedisLink, StoreLost
from gateway.redis_wire import Script
from gateway.secret import Secret
from tests.redis_server import RedisServer

ECHO = Script("return {ARGV[1], #KEYS}")
COUNT = Script("return redis.call('INCR', KEYS[1])")
BROKEN = Script("return redis.call('INCR', KEYS[1], 'too', 'many')")
PATIENCE_S = 10.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


async def until(true: Callable[[], bool]) -> None:
    patient_until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < patient_until
        await asyncio.sleep(0.01)


def linked(server: RedisServer, story: Callable[[RedisLink], Any], **keys: Any) -> None:
    async def run() -> None:
        link = RedisLink(server.url, (ECHO, COUNT, BROKEN), **keys)
        async with link.running():
            await story(link)

    asyncio.run(run())


async def lost(link: RedisLink, late: Callable[[Any], None] | None = None) -> float:
    """Call what will not be answered; give how long that took."""
    began = time.monotonic()
    with pytest.raises(StoreLost):
        await link.call(COUNT, [b"n"], [], late)
    return time.monotonic() - began


def test_a_script_is_run(server):
    async def story(link: RedisLink) -> None:
        assert await link.call(ECHO, [b"a", b"b"], [b"\r\n$\xff"]) == [b"\r\n$\xff", 2]

    linked(server, story)


def test_calls_are_answered_in_the_order_in_which_they_were_made(server):
    async def story(link: RedisLink) -> None:
        calls = [link.call(COUNT, [b"n"], []) for _ in range(500)]
        assert await asyncio.gather(*calls) == list(range(1, 501))

    linked(server, story)


def test_a_script_that_the_server_forgot_is_sent_again(server):
    async def story(link: RedisLink) -> None:
        server.ask("SCRIPT", "FLUSH")
        calls = [link.call(COUNT, [b"n"], []) for _ in range(3)]
        assert sorted(await asyncio.gather(*calls)) == [1, 2, 3]

    linked(server, story)


def test_what_the_server_refuses_is_lost_and_the_next_call_is_not(server):
    async def story(link: RedisLink) -> None:
        with pytest.raises(StoreLost, match="it refused"):
            await link.call(BROKEN, [b"n"], [])
        assert await link.call(COUNT, [b"n"], []) == 1

    linked(server, story)


def test_a_frozen_server_costs_a_deadline_a_few_times_and_then_nothing(server):
    async def story(link: RedisLink) -> None:
        server.freeze()
        waits = [await lost(link) for _ in range(MISSES_MAX)]
        assert all(DEADLINE_S / 2 < each < 1 for each in waits)
        assert not link.is_up
        assert await lost(link) < DEADLINE_S / 2
        server.thaw()
        await until(lambda: link.is_up)
        assert await link.call(COUNT, [b"n"], []) == MISSES_MAX + 1  # what was sent came in

    linked(server, story)


def test_what_was_given_up_is_told_of_later(server):
    async def story(link: RedisLink) -> None:
        found: list[Any] = []
        server.freeze()
        await lost(link, found.append)
        task = asyncio.ensure_future(link.call(COUNT, [b"n"], [], found.append))
        await asyncio.sleep(0)
        task.cancel()
        server.thaw()
        await until(lambda: len(found) == 2)
        assert found == [1, 2]

    linked(server, story)


def test_a_server_that_dies_is_lost_at_once_and_found_again(server):
    async def story(link: RedisLink) -> None:
        ups: list[None] = []
        link._on_up = lambda: ups.append(None)
        found: list[Any] = []
        server.freeze()
        call = link.call(COUNT, [b"n"], [], found.append)
        server.kill()
        with pytest.raises(StoreLost):
            await call
        await until(lambda: not link.is_up)
        assert await lost(link) < DEADLINE_S
        assert found == [None]
        await asyncio.sleep(0.6)
        server.start()
        began = time.monotonic()
        await until(lambda: link.is_up)
        assert time.monotonic() - began < 3
        assert ups == [None]
        assert await link.call(COUNT, [b"n"], []) == 1

    linked(server, story)


def test_one_that_says_nothing_for_long_gets_a_new_connection(server):
    async def story(link: RedisLink) -> None:
        server.freeze()
        for _ in range(MISSES_MAX):
            await lost(link)
        await until(lambda: "TimeoutError" in link.why_down)
        server.thaw()
        await until(lambda: link.is_up)

    linked(server, story)


def test_a_server_that_is_not_there_stops_no_start(server):
    server.kill()

    async def story(link: RedisLink) -> None:
        with pytest.raises(StoreLost):
            link.call(COUNT, [b"n"], [])
        server.start()
        await until(lambda: link.is_up)

    linked(server, story)


def test_a_password_is_shown_to_the_server_only(tmp_path):
    with RedisServer(tmp_path, "--requirepass", "long-secret") as server:

        async def works(link: RedisLink) -> None:
            assert await link.call(ECHO, [], [b"a"]) == [b"a", 0]

        async def fails(link: RedisLink) -> None:
            assert not link.is_up
            assert "secret" not in link.why_down

        linked(server, works, password=Secret(b"long-secret"))
        linked(server, works, password=Secret(b"long-secret"), user="default")
        linked(server, fails, password=Secret(b"other-secret"))
        linked(server, fails)


def test_an_address_that_cannot_be_read_stops_a_start():
    async def start() -> None:
        async with RedisLink("redis://host:many/0", ()).running():
            pass

    with pytest.raises(StartError, match="the store's address redis://host:many/0"):
        asyncio.run(start())
