"""Keys stay fresh, and while their server misbehaves the last ones are used on, for a while."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from gateway import Gateway
from gateway.clock import Clock
from gateway.config import Config, Limits
from gateway.pool import Pool
from plugins.jwt.keys import read_pem, read_set
from plugins.jwt.source import BYTES_MAX, Source
from tests.plugins.jwt.issuers import Server, SigningKey, jwks, served

SECOND_NS = 10**9


@pytest.fixture
def captured() -> Iterator[Callable[[str], list[Any]]]:
    """Give what was logged, by event."""
    with capture_logs() as lines:
        yield lambda event: [line for line in lines if line["event"] == event]


def source(place: str, **changed: Any) -> Source:
    said = {
        "ca_file": "",
        "refresh_ns": 3600 * SECOND_NS,
        "stale_ns": 86_400 * SECOND_NS,
        "try_s": 0.5,
    }
    return Source(place, read_set, **{**said, **changed})


@asynccontextmanager
async def running(made: Source) -> AsyncIterator[Source]:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    pool = Pool(loop, clock, Limits())
    gateway = Gateway(Config(), {}, None, {}, pool, None)  # type: ignore[arg-type]
    made.start(gateway)
    try:
        await made.first()
        yield made
    finally:
        await gateway.stop_tasks()
        pool.close()
        clock.close()


def during(made: Source, work: Callable[[Source], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with running(made):
            await work(made)

    asyncio.run(all_of_it())


async def until(condition: Callable[[], object], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def has(made: Source, key: SigningKey) -> bool:
    return made.keys is not None and made.keys.find(key.alg, key.kid) is not None


def test_keys_are_read_from_a_server_at_once(ec_key):
    async def work(made: Source) -> None:
        assert has(made, ec_key)

    with served(ec_key) as server:
        during(source(server.url), work)
        assert server.asked == 1


def test_keys_are_read_from_a_file(ec_key, tmp_path):
    async def work(made: Source) -> None:
        assert has(made, ec_key)

    (tmp_path / "jwks.json").write_bytes(jwks(ec_key))
    during(source(f"file:{tmp_path}/jwks.json"), work)
    (tmp_path / "key.pem").write_bytes(ec_key.pem)
    made = Source(
        f"file:{tmp_path}/key.pem", read_pem, ca_file="", refresh_ns=SECOND_NS, stale_ns=SECOND_NS
    )
    during(made, work)


def test_keys_are_read_by_tls_from_whom_is_trusted_only(ec_key, tmp_path, captured):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def trusting(made: Source) -> None:
        assert has(made, ec_key)

    async def wary(made: Source) -> None:
        assert made.keys is None

    with served(ec_key, tls=context) as server:
        during(source(server.url, ca_file=str(tmp_path / "ca.pem")), trusting)
        during(source(server.url), wary)
    (line,) = captured("keys_not_read")
    assert "CERTIFICATE_VERIFY_FAILED" in line["reason"]


def test_changed_keys_are_read_in_the_background(ec_key, ed_key):
    async def work(made: Source) -> None:
        assert not has(made, ed_key)
        server.body = jwks(ed_key)
        await until(lambda: has(made, ed_key))
        assert not has(made, ec_key)

    with served(ec_key) as server:
        during(source(server.url, refresh_ns=SECOND_NS // 20), work)


def test_equal_keys_are_the_same_keys(ec_key):
    async def work(made: Source) -> None:
        before = made.keys
        await until(lambda: server.asked >= 3)
        assert made.keys is before

    with served(ec_key) as server:
        during(source(server.url, refresh_ns=SECOND_NS // 20), work)


def misbehave(server: Server, how: str) -> None:
    match how:
        case "dead":
            server.die()
        case "garbage":
            server.body = b"<html>busy</html>"
        case "empty":
            server.body = b'{"keys":[]}'
        case "failing":
            server.status = 503
        case "elsewhere":
            server.status, server.fields = 302, {"Location": "/other"}
        case "huge":
            server.body = b'{"a":"' + b"x" * BYTES_MAX + b'",' + server.body[1:]
        case "packed":
            # Nobody asked for it, and a bomb would look the same.
            server.body = gzip.compress(server.body)
            server.fields = {"Content-Encoding": "gzip"}
        case "slow":
            server.delay_s = 60


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("dead", "Cannot connect"),
        ("garbage", "it is not JSON"),
        ("empty", "no public key that can verify"),
        ("failing", "it answers 503"),
        ("elsewhere", "it answers 302"),
        ("huge", f"longer than {BYTES_MAX} bytes"),
        ("packed", "it is not JSON"),
        ("slow", "TimeoutError"),
    ],
)
def test_while_reading_fails_the_last_keys_are_used_on(ec_key, ed_key, captured, how, said):
    async def work(made: Source) -> None:
        misbehave(server, how)
        await until(lambda: len(captured("keys_not_read")) >= 2)
        assert has(made, ec_key)
        # And it comes back by itself.
        server.status, server.delay_s, server.body = 200, 0.0, jwks(ed_key)
        server.fields = {"Content-Type": "application/json"}
        if how == "dead":
            server.begin()
        await until(lambda: has(made, ed_key))

    with served(ec_key) as server:
        during(source(server.url, refresh_ns=SECOND_NS // 20), work)
    assert said in captured("keys_not_read")[0]["reason"]


def test_keys_that_are_too_old_are_used_no_longer(ec_key, captured):
    async def work(made: Source) -> None:
        server.die()
        await until(lambda: made.keys is None)
        server.begin()
        await until(lambda: has(made, ec_key))

    with served(ec_key) as server:
        during(source(server.url, refresh_ns=SECOND_NS // 20, stale_ns=SECOND_NS), work)
    assert len(captured("keys_too_old")) == 1


def test_a_server_that_is_away_at_first_is_asked_again(ec_key):
    async def work(made: Source) -> None:
        assert made.keys is None
        server.begin()
        await until(lambda: has(made, ec_key))

    with served(ec_key) as server:
        server.die()
        during(source(server.url), work)


def test_tokens_have_keys_read_again_once_in_a_while(ec_key):
    async def work(made: Source) -> None:
        assert made.again() is None  # it has just been read
        await asyncio.sleep(0.2)
        server.delay_s = 0.1
        reading = made.again()
        assert reading is not None
        assert {made.again() for _ in range(100)} == {reading}  # all wait for the one
        await reading
        assert {made.again() for _ in range(100)} == {None}
        assert server.asked == 2

    with served(ec_key) as server:
        during(source(server.url, again_s=0.2), work)


def test_a_set_may_come_in_any_pieces(ec_key):
    async def work(made: Source) -> None:
        assert has(made, ec_key)

    with served(ec_key) as server:
        padded = {"note": "x" * (BYTES_MAX - 2000), **json.loads(server.body)}
        server.body = json.dumps(padded).encode()
        during(source(server.url), work)


def test_a_file_that_changed_is_read_again(ec_key, ed_key, tmp_path):
    async def work(made: Source) -> None:
        file.write_bytes(jwks(ed_key))
        await until(lambda: has(made, ed_key))

    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(ec_key))
    during(source(f"file:{file}", refresh_ns=SECOND_NS // 20), work)


def test_a_file_that_is_gone_is_told(tmp_path: Path, captured):
    async def work(made: Source) -> None:
        assert made.keys is None

    during(source(f"file:{tmp_path}/gone.json"), work)
    assert "No such file" in captured("keys_not_read")[0]["reason"]
