"""Provider `mock`: a real upstream without a model, for trying the gateway with nothing at hand.

It listens on the Unix socket that the provider's row names and speaks the OpenAI formats (chat
completions, completions, embeddings, responses, models), Anthropic's (messages, count_tokens) and
Google's (generateContent, streamGenerateContent, countTokens), streaming and not, under the paths
their SDKs use, with or without the leading version. Any model name and any credential will do.
Where tools are offered it calls the first of them, or the one that `tool_choice` names, and goes on
with text once a result is there.

Trouble can be had by the model's name or by words in the field `x-mock`:

    mock-error-429    x-mock: error-429     that status, in the shape of the format's errors
    mock-overloaded   x-mock: overloaded    a stream ends with an error in its middle; else a 503
    mock-cut          x-mock: cut           the connection breaks off in mid-answer
    mock-slow         x-mock: slow          two seconds to the first byte, then a tenth of the pace
    mock-silent       x-mock: silent        never any answer
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from gateway import Duration, Gateway, StartError, get_logger, hookimpl
from plugins.mock.server import Server

PROVIDER: Final = "mock"
# Connections that may wait to be accepted; a burst of streams opens as many at once.
BACKLOG: Final = 1024

log = get_logger("mock")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the mock says, and how fast.

    token_interval: Time between two tokens of a stream.
    text: What it says; "{message}" is replaced by the user's last message.
    """

    token_interval: Duration = Duration(20_000_000)
    text: str = (
        "Hello! I am Weir's mock provider: no model, but a stream like any other. "
        "You said: {message}"
    )


class Plugin:
    """Runs the upstream as long as the process lives."""

    def __init__(self, config: Config) -> None:
        self.server = Server(interval_s=config.token_interval / 1e9, text=config.text)

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        path = _socket_path(gateway)
        runner = self.server.runner()
        await runner.setup()
        assert runner.server is not None
        sock = _bound(path)
        inode = path.stat().st_ino
        listener = await asyncio.get_running_loop().create_unix_server(runner.server, sock=sock)
        log.info("mock_listening", socket=str(path))
        try:
            yield
        finally:
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:  # not one that somebody else made since
                    path.unlink()
            await runner.cleanup()


def _socket_path(gateway: Gateway) -> Path:
    origin, _ = gateway.providers[PROVIDER].locate(b"", None)
    if origin.socket is None:
        raise StartError(
            f'the provider "{PROVIDER}" has no socket to listen on: '
            f'take "{PROVIDER}" out of `enabled`, or the socket = "" out of its table'
        )
    return Path(origin.socket)


def _bound(path: Path) -> socket.socket:
    """Bind the socket, for this user only, in a folder for this user only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        # Nobody can connect before listen(), so nobody gets in before this.
        path.chmod(0o600)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartError(f"the mock cannot listen on {path}: {error}") from error
    sock.setblocking(False)
    return sock


def _sweep(path: Path) -> None:
    """Remove what killed processes left: this socket, and those that differ by process id only."""
    pattern = glob.escape(path.name).replace(str(os.getpid()), "[0-9]*")
    for left in path.parent.glob(pattern):
        if stat.S_ISSOCK(left.lstat().st_mode) and _is_dead(left):
            left.unlink(missing_ok=True)


def _is_dead(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
