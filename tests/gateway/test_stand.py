"""Where a gateway stands: on fresh sockets, or on those of the one before it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import orjson
import pytest

from gateway.config import Admin, Config, Server
from gateway.errors import StartError
from gateway.stand import Stand


def config(
    state: Path, port: int = 0, admin_port: int = 0, workers: int = 1, unix: str = ""
) -> Config:
    return Config(
        state_dir=str(state),
        server=Server(port=port, workers=workers, socket=unix),
        admin=Admin(port=admin_port),
    )


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_without_a_predecessor_the_sockets_are_fresh(tmp_path, capfdbinary):
    stand = Stand.found(config(tmp_path, workers=2))
    try:
        assert (len(stand.callers), len(stand.operators), stand.taken) == (2, 1, None)
        stand.announce(workers=2)
        line = orjson.loads(capfdbinary.readouterr().out)
        assert line["callers"] == f"http://127.0.0.1:{port_of(stand.callers[0][0])}"
        assert line["admin"] == f"http://127.0.0.1:{port_of(stand.operators[0])}"
        assert (line["event"], line["workers"]) == ("listening", 2)
    finally:
        stand.close()


@pytest.mark.parametrize("of_admin", [False, True])
def test_a_strangers_port_is_refused_and_nothing_stays_bound(tmp_path, of_admin):
    with socket.socket() as strangers, socket.socket() as other:
        for sock in (strangers, other):
            sock.bind(("127.0.0.1", 0))
        strangers.listen()
        free = port_of(other)
        other.close()
        taken = port_of(strangers)
        wanted = config(tmp_path, free, taken) if of_admin else config(tmp_path, taken, free)
        with pytest.raises(StartError, match="admin" if of_admin else "server"):
            Stand.found(wanted)
        with socket.socket() as again:
            again.bind(("127.0.0.1", free))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_successor_stands_on_the_same_sockets(tmp_path, workers):
    async def story() -> None:
        older = Stand.found(config(tmp_path))
        ports = (port_of(older.callers[0][0]), port_of(older.operators[0]))
        older.close()
        older = Stand.found(config(tmp_path, *ports))
        has_gone = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(older.close)
            older.is_ready(stack, has_gone.set)
            newer = await asyncio.to_thread(Stand.found, config(tmp_path, *ports, workers))
            stack.callback(newer.close)
            assert newer.taken is not None
            assert len(newer.callers) == workers
            assert {port_of(sock) for group in newer.callers for sock in group} == {ports[0]}
            assert port_of(newer.operators[0]) == ports[1]
            newer.is_ready(stack, lambda: None)
            async with asyncio.timeout(5):
                await has_gone.wait()

    asyncio.run(story())


@pytest.mark.parametrize("ends", ["before it is ready", "after"])
def test_the_unix_socket_is_the_successors_once_it_is_ready(tmp_path, ends):
    async def story() -> None:
        path = tmp_path / "weir.sock"
        older = Stand.found(config(tmp_path))
        ports = (port_of(older.callers[0][0]), port_of(older.operators[0]))
        older.close()
        older = Stand.found(config(tmp_path, *ports, unix=str(path)))
        has_gone = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            older.is_ready(stack, has_gone.set)
            wanted = config(tmp_path, *ports, 2, unix=str(path))
            newer = await asyncio.to_thread(Stand.found, wanted)
            assert [group[-1].family for group in newer.callers] == [socket.AF_UNIX] * 2
            if ends == "after":
                newer.is_ready(stack, lambda: None)
                async with asyncio.timeout(5):
                    await has_gone.wait()
                older.close()
            else:
                newer.close()
            with socket.socket(socket.AF_UNIX) as caller:  # whoever is left is found by callers
                caller.connect(str(path))
            newer.close()
            older.close()
            assert not path.exists()

    asyncio.run(story())
