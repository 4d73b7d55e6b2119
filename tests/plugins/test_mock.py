from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import uvloop

from gateway import Duration, Gateway, StartError
from gateway.clock import Clock
from gateway.config import Config as GatewayConfig
from gateway.config import ProviderConfig
from gateway.pool import Pool
from gateway.providers import build
from plugins.mock import Config, Plugin


def gateway_with(folder: Path, **settings: Any) -> Gateway:
    config = GatewayConfig(providers={"mock": ProviderConfig(**settings)})
    loop = asyncio.get_running_loop()
    pool = Pool(loop, Clock(loop), config.limits)
    nothing = cast("Any", None)
    return Gateway(config, build(config, folder, {}), nothing, {}, pool, nothing)


def plugin() -> Plugin:
    return Plugin(Config(token_interval=Duration(0), text="You said: {message}"))


async def said(path: Path) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.post("http://mock/v1/chat/completions", json=body) as answer,
    ):
        return str((await answer.json())["choices"][0]["message"]["content"])


def socket_in(folder: Path) -> Path:
    return folder / f"mock-{os.getpid()}.sock"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_lifespan_serves_on_the_socket_of_the_providers_row(tmp_path: Path, run: Any) -> None:
    state = tmp_path / "state"
    path = socket_in(state)

    async def story() -> None:
        async with plugin().lifespan(gateway_with(state)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(state.stat().st_mode) == 0o700
            assert await said(path) == "You said: hi"
        assert not path.exists()

    run(story())


def left_behind(path: Path) -> None:
    """Leave what a killed process leaves: a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    own, other, foreign = socket_in(tmp_path), tmp_path / "mock-1.sock", tmp_path / "else-1.sock"
    for path in (own, other, foreign):
        left_behind(path)

    async def story() -> None:
        async with plugin().lifespan(gateway_with(tmp_path)):
            assert await said(own) == "You said: hi"
            assert not other.exists()
            assert foreign.exists()

    asyncio.run(story())


def test_a_socket_in_use_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "own.sock"

    async def story() -> None:
        gateway = gateway_with(tmp_path, socket=str(path))
        async with plugin().lifespan(gateway):
            with pytest.raises(StartError, match="in use"):
                await plugin().lifespan(gateway).__aenter__()
            assert await said(path) == "You said: hi"

    asyncio.run(story())


def test_a_file_of_somebody_else_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "precious.txt"
    path.write_text("mine")

    async def story() -> None:
        with pytest.raises(StartError, match="cannot listen"):
            await plugin().lifespan(gateway_with(tmp_path, socket=str(path))).__aenter__()

    asyncio.run(story())
    assert path.read_text() == "mine"


def test_a_provider_without_a_socket_stops_the_start(tmp_path: Path) -> None:
    async def story() -> None:
        await plugin().lifespan(gateway_with(tmp_path, socket="")).__aenter__()

    with pytest.raises(StartError, match="no socket to listen on"):
        asyncio.run(story())


def test_by_default_it_says_what_it_is_and_what_was_asked() -> None:
    assert "mock provider" in Config().text
    assert "{message}" in Config().text
    assert str(Config().token_interval) == "20ms"
