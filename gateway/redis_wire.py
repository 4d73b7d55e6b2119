"""What is said to a Redis or Valkey server: addresses, the handshake, scripts, commands as bytes.

The package `redis` is imported only where a store is configured: it takes a third of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from gateway.secret import Secret

SCHEMES: Final = ("redis://", "rediss://", "unix://")
# Connecting, logging in and loading scripts.
HANDSHAKE_S: Final = 0.5


class Script:
    """A Lua script, and the name that the server knows it by."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


def check_address(url: str) -> None:
    """ValueError where an address of a store cannot be one."""
    if not url.startswith(SCHEMES):
        raise ValueError(
            'wanted such as "redis://127.0.0.1:6379/0", "rediss://..." or "unix://..."'
        )
    if "@" in url.partition("://")[2].partition("/")[0] or "password=" in url:
        raise ValueError("an address holds no password here; its own key does")


def made(url: str, user: str, password: Secret | None) -> AbstractConnection:
    """A connection to be, to the server at an address. ValueError where it is none, ImportError
    without the package.
    """
    from redis.asyncio import ConnectionPool  # noqa: PLC0415 - see above
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    options: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        # With one it would write by `asyncio.wait_for`, which may lose a cancellation (3.11).
        "socket_timeout": None,
        "socket_connect_timeout": HANDSHAKE_S,
    }
    if password is not None:
        options["password"] = password.reveal().decode()
    if user:
        options["username"] = user
    pool: Any = ConnectionPool.from_url(url, **options)
    return cast("AbstractConnection", pool.make_connection())


async def greet(connection: AbstractConnection, scripts: Sequence[Script]) -> None:
    """Connect, log in, and load scripts. Raises what the package `redis` or a socket does."""
    await connection.connect()  # type: ignore[no-untyped-call]  # it ships no type
    for script in scripts:
        packed = encoded((b"SCRIPT", b"LOAD", script.text))
        await connection.send_packed_command(packed, check_health=False)
        await connection.read_response(disable_decoding=True)


def encoded(command: Sequence[bytes]) -> bytes:
    """A command as RESP has it: an array of bulk strings."""
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))
