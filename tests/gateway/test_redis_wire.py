"""What is said to Redis is said as its protocol has it, and addresses hold no password."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import AuthenticationError

from gateway.redis_wire import Script, check_address, encoded, greet, made
from gateway.secret import Secret
from tests.redis_server import RedisServer


@pytest.mark.parametrize(
    "url", ["http://h", "redis:h", "h:6379", "", "redis://u:p@h/0", "redis://h/0?password=p"]
)
def test_what_is_no_address(url):
    with pytest.raises(ValueError, match=r"wanted such as|holds no password"):
        check_address(url)


def test_commands_are_written_as_the_protocol_has_them():
    assert encoded((b"GET", b"a\r\n")) == b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n"


def test_a_script_is_known_by_its_hash():
    assert Script("return 1").sha == b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db"


def test_scripts_are_loaded_in_the_handshake(tmp_path):
    script = Script("return 1")

    async def story(url: str, password: Secret) -> None:
        connection = made(url, "", password)
        try:
            await greet(connection, [script])
            packed = encoded((b"SCRIPT", b"EXISTS", script.sha))
            await connection.send_packed_command(packed)
            assert await connection.read_response(disable_decoding=True) == [1]
        finally:
            await connection.disconnect(nowait=True)

    with RedisServer(tmp_path, "--requirepass", "long-secret") as server:
        asyncio.run(story(server.url, Secret(b"long-secret")))
        with pytest.raises(AuthenticationError):
            asyncio.run(story(server.url, Secret(b"other-secret")))
