"""A successor gets the sockets of whoever serves its addresses, and only it may send them away."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from gateway import ports
from gateway.handover import SOCKET_FILE, Offer, Taken, take

HOST = "127.0.0.1"


class Older:
    """A gateway that offers its sockets. gave_unix: whether the Unix socket went too."""

    def __init__(self, state: Path, unix: ports.UnixSocket | None = None) -> None:
        self.callers = ports.bound("server", HOST, 0)[0]
        self.admin = ports.bound("admin", HOST, 0)[0]
        self.caller_address = (HOST, self.callers[0].getsockname()[1])
        self.admin_address = (HOST, self.admin[0].getsockname()[1])
        self.has_gone = asyncio.Event()
        self.offer = Offer(
            state,
            (self.caller_address, self.callers),
            (self.admin_address, self.admin),
            unix,
            self._gone,
        )
        self.gave_unix: bool | None = None

    def _gone(self, gave_unix: bool) -> None:
        self.gave_unix = gave_unix
        self.has_gone.set()

    async def asked(self, state: Path, unix: str = "") -> Taken | None:
        return await asyncio.to_thread(take, state, self.caller_address, self.admin_address, unix)


@asynccontextmanager
async def serving(state: Path, unix: ports.UnixSocket | None = None) -> AsyncIterator[Older]:
    older = Older(state, unix)
    older.offer.open()
    try:
        yield older
    finally:
        await older.offer.close()
        ports.close([older.callers, older.admin])


async def gone(older: Older) -> bool:
    try:
        async with asyncio.timeout(0.3):
            await older.has_gone.wait()
    except TimeoutError:
        return False
    return True


def test_a_successor_gets_the_sockets_and_sends_the_older_one_away(tmp_path):
    async def story() -> None:
        async with serving(tmp_path) as older:
            older.callers[0].listen()
            taken = await older.asked(tmp_path)
            assert taken is not None
            try:
                assert [sock.getsockname() for sock in taken.callers] == [older.caller_address]
                assert [sock.getsockname() for sock in taken.admin] == [older.admin_address]
                assert not await gone(older)
                # Whoever waits in the queue is there for both.
                with socket.create_connection(older.caller_address, timeout=2):
                    older.callers[0].close()
                    accepted, _ = taken.callers[0].accept()
                    accepted.close()
                taken.is_ready()
                assert await gone(older)
            finally:
                ports.close([taken.callers, taken.admin])

    asyncio.run(story())


def test_a_successor_that_dies_changes_nothing_and_the_next_one_is_served(tmp_path):
    async def story() -> None:
        async with serving(tmp_path) as older:
            for is_last in (False, True):
                taken = await older.asked(tmp_path)
                assert taken is not None
                if is_last:
                    taken.is_ready()
                else:
                    taken.drop()
                ports.close([taken.callers, taken.admin])
                assert await gone(older) is is_last

    asyncio.run(story())


@pytest.mark.parametrize("wanted", ["the same", "another", "", "a file that is gone"])
def test_the_unix_socket_goes_to_who_wants_that_very_one(tmp_path, wanted):
    async def story() -> None:
        path = tmp_path / "weir.sock"
        unix = ports.UnixSocket.bound(str(path), 0o600)
        if wanted == "a file that is gone":
            path.unlink()
        name = str(tmp_path / "other.sock") if wanted == "another" else wanted and str(path)
        async with serving(tmp_path, unix) as older:
            taken = await older.asked(tmp_path, name)
            assert taken is not None
            assert len(taken.unix) == (wanted == "the same")
            if taken.unix:
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.connect(str(path))
                    unix.close()
                    taken.unix[0].accept()[0].close()
            taken.is_ready()
            assert await gone(older)
            assert older.gave_unix is (wanted == "the same")
            ports.close([taken.callers, taken.admin, taken.unix])
        unix.close()

    asyncio.run(story())


def test_a_successor_that_could_not_be_let_in_is_let_in_later(tmp_path, logged):
    async def story() -> None:
        async with serving(tmp_path) as older:
            with socket.socket(socket.AF_UNIX) as successor:
                await asyncio.sleep(0)  # the loop listens
                limits = resource.getrlimit(resource.RLIMIT_NOFILE)
                free = os.dup(successor.fileno())
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
                try:
                    successor.connect(str(tmp_path / SOCKET_FILE))
                    while not logged:
                        await asyncio.sleep(0.01)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            taken = await older.asked(tmp_path)
            assert taken is not None
            taken.drop()
            ports.close([taken.callers, taken.admin])

    asyncio.run(asyncio.wait_for(story(), 10))
    assert "Too many open files" in logged[0]["error"]


def test_who_wants_another_port_gets_nothing(tmp_path):
    async def story() -> None:
        async with serving(tmp_path) as older:
            other = (HOST, older.caller_address[1] + 1)
            assert await asyncio.to_thread(take, tmp_path, other, older.admin_address) is None
            assert not await gone(older)

    asyncio.run(story())


def test_who_wants_the_callers_port_alone_gets_it_alone(tmp_path):
    async def story() -> None:
        async with serving(tmp_path) as older:
            other = (HOST, older.admin_address[1] + 1)
            taken = await asyncio.to_thread(take, tmp_path, older.caller_address, other)
            assert taken is not None
            assert (len(taken.callers), taken.admin) == (1, [])
            taken.drop()
            ports.close([taken.callers])

    asyncio.run(story())


@pytest.mark.parametrize(
    "said", [b"", b"no json", b"[]", b'{"callers": 5}', orjson.dumps({"admin": None})]
)
def test_nonsense_changes_nothing(tmp_path, said):
    async def story() -> None:
        async with serving(tmp_path) as older:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET_FILE))
            writer.write(said or b"\n")
            writer.write_eof()
            await reader.read()
            writer.close()
            assert not await gone(older)
            taken = await older.asked(tmp_path)
            assert taken is not None
            taken.drop()
            ports.close([taken.callers, taken.admin])

    asyncio.run(story())


def test_nobody_there_is_nobody(tmp_path):
    assert take(tmp_path, (HOST, 1), (HOST, 2)) is None
    (tmp_path / SOCKET_FILE).write_bytes(b"a file")
    assert take(tmp_path, (HOST, 1), (HOST, 2)) is None


def test_one_that_hangs_is_not_waited_for(tmp_path):
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(tmp_path / SOCKET_FILE))
        hangs.listen()
        assert take(tmp_path, (HOST, 1), (HOST, 2)) is None


def test_a_state_directory_too_deep_for_a_socket_is_said_and_no_more(tmp_path, logged):
    async def story() -> None:
        deep = tmp_path / ("d" * 120)
        deep.mkdir()
        async with serving(deep) as older:
            assert await older.asked(deep) is None

    asyncio.run(story())
    assert [line["event"] for line in logged] == ["no_handover"]


def test_the_file_of_a_successor_stays_when_the_older_one_goes(tmp_path):
    async def story() -> None:
        async with serving(tmp_path):
            async with serving(tmp_path) as newer:
                pass
            del newer
            assert not (tmp_path / SOCKET_FILE).exists()
        async with serving(tmp_path) as older:
            async with serving(tmp_path) as newer:
                await older.offer.close()
                taken = await newer.asked(tmp_path)
                assert taken is not None
                taken.drop()
                ports.close([taken.callers, taken.admin])

    asyncio.run(story())
