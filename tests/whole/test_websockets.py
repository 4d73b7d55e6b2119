"""WebSockets of real peers through the gateway: every message whole, in order, both ways."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response

from gateway.testing import RunningGateway, running_gateway

MESSAGES = 1_000
LARGE_BYTES = 8_000_000
AGREED = "permessage-deflate"

Message = str | bytes


def messages(seed: int) -> list[Message]:
    """Make messages of all sizes, some of text, some compressible, one large."""
    chance = random.Random(seed)
    made: list[Message] = []
    for number in range(MESSAGES):
        size = chance.choice((0, 1, 125, 126, 1000, 4000, 65_535, 65_536) if number % 9 else (5,))
        made.append(
            chance.randbytes(size) if chance.random() < 0.5 else f"wé{number} " * (size // 5)
        )
    made[chance.randrange(MESSAGES)] = chance.randbytes(LARGE_BYTES)
    return made


def digest(given: list[Message]) -> str:
    sha = hashlib.sha256()
    for message in given:
        raw = message.encode() if isinstance(message, str) else message
        sha.update(b"%d %d " % (isinstance(message, str), len(raw)) + raw)
    return sha.hexdigest()


def fragments(message: Message, chance: random.Random) -> Message | list[Message]:
    """Give a message as it is, or cut into fragments."""
    if len(message) < 2 or chance.random() < 0.7:
        return message
    cuts = sorted({0, len(message), *(chance.randrange(len(message)) for _ in range(3))})
    return [message[a:b] for a, b in pairwise(cuts)]


class Peer:
    """A server of the `websockets` package. received: what came, by connection."""

    def __init__(self) -> None:
        self.received: list[list[Message]] = []
        self.agreed: list[list[str]] = []
        self.codes: list[int | None] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._is_open.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        async with serve(
            self._serve, "127.0.0.1", 0, process_request=self._judge, max_size=None
        ) as server:
            self.port = int(server.sockets[0].getsockname()[1])
            self._is_open.set()
            await self._stop.wait()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(403, "no\n") if request.path.endswith("/refused") else None

    async def _serve(self, connection: ServerConnection) -> None:
        path = connection.request.path if connection.request is not None else ""
        self.agreed.append([extension.name for extension in connection.protocol.extensions])
        received: list[Message] = []
        self.received.append(received)
        if path.endswith("/dies"):
            await connection.send("last words")
            connection.transport.close()
            return
        sending = asyncio.ensure_future(send(connection, 2)) if path.endswith("/both") else None
        try:
            async for message in connection:
                received.append(message)
                if path.endswith("/echo"):
                    await connection.send(message)
        except ConnectionClosedError:
            pass  # an unusual code
        if sending is not None:
            await sending
        self.codes.append(connection.close_code)


async def send(connection: ServerConnection | ClientConnection, seed: int) -> None:
    chance = random.Random(seed)
    for message in messages(seed):
        await connection.send(fragments(message, chance))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def gateway(peer: Peer) -> Iterator[RunningGateway]:
    config = {
        "providers": {"openai": {"base_url": f"http://127.0.0.1:{peer.port}/v1"}},
        "enabled": ["access_log", "request_id"],
    }
    with running_gateway(config) as gateway:
        yield gateway
        assert not gateway.crashes


def dial(gateway: RunningGateway, path: str, compression: str | None = "deflate") -> connect:
    address = f"ws://127.0.0.1:{gateway.port}/openai/v1/{path}"
    return connect(address, max_size=None, proxy=None, compression=compression)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_thousand_messages_each_way_arrive_as_they_were(gateway, peer, compression):
    async def story() -> list[Message]:
        async with dial(gateway, "both", compression) as caller:
            sending = asyncio.ensure_future(send(caller, 1))
            got = [await caller.recv() for _ in range(MESSAGES)]
            await sending
            return got

    for record in (peer.received, peer.agreed, peer.codes):
        record.clear()
    got = asyncio.run(story())
    line = gateway.wait_for_log("exchange", 1 if compression is None else 2)

    assert peer.agreed == [[] if compression is None else [AGREED]]
    assert digest(peer.received[0]) == digest(messages(1))
    assert digest(got) == digest(messages(2))
    assert (line["status"], line["outcome"]) == (101, "complete")
    if compression is None:
        assert line["bytes_sent"] > sum(map(len, messages(2)))
        assert line["bytes_received"] > sum(map(len, messages(1)))
    assert codes_of(peer) == [1000]


def codes_of(peer: Peer) -> list[int | None]:
    """Give the codes of its goodbyes, which the peer notes in a thread of its own."""
    patient_until = time.monotonic() + 5
    while not peer.codes and time.monotonic() < patient_until:
        time.sleep(0.01)
    return peer.codes


def test_pings_are_answered_by_the_other_end(gateway, peer):
    async def story() -> None:
        async with dial(gateway, "echo") as caller:
            for number in range(20):
                await asyncio.wait_for(await caller.ping(f"{number}"), 5)
                await caller.send(f"{number}")
                assert await caller.recv() == f"{number}"

    asyncio.run(story())


def test_a_goodbye_passes_with_its_code_and_reason(gateway, peer):
    async def story() -> int | None:
        async with dial(gateway, "echo") as caller:
            await caller.close(4321, "enough")
            return caller.close_code

    peer.codes.clear()
    assert asyncio.run(story()) == 4321
    assert codes_of(peer) == [4321]


def test_a_caller_can_tell_that_the_upstream_died(gateway, peer):
    async def story() -> None:
        async with dial(gateway, "dies") as caller:
            assert await caller.recv() == "last words"
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(caller.recv(), 10)

    asyncio.run(story())


def test_a_refusal_is_the_upstreams(gateway, peer):
    async def story() -> None:
        async with dial(gateway, "refused"):
            pass

    with pytest.raises(InvalidStatus) as raised:
        asyncio.run(story())
    assert raised.value.response.status_code == 403
    assert raised.value.response.body == b"no\n"


def test_many_at_once_do_not_mix(gateway, peer):
    async def talk(number: int) -> bool:
        async with dial(gateway, "echo") as caller:
            sent = [f"{number}:{turn}" for turn in range(20)]
            got = []
            for text in sent:
                await caller.send(text)
                got.append(await caller.recv())
            return got == sent

    async def story() -> list[bool]:
        return await asyncio.gather(*(talk(number) for number in range(25)))

    assert all(asyncio.run(story()))
