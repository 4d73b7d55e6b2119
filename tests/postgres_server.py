"""A real PostgreSQL server in a temporary folder, for as long as the tests want one."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

START_S = 60.0
T = TypeVar("T")


def _programs() -> Path:
    """Find the folder of the server's programs; Debian keeps them out of the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    assert folders, "PostgreSQL is not installed: apt install postgresql"
    return folders[-1]


class PostgresServer:
    """It survives what is done to it: `freeze`, `thaw`, `kill`, and `start` again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = _programs()
        # The server refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._count = 0
        self._process: subprocess.Popen[bytes] | None = None
        init = ["-D", str(folder / "data"), "-U", "weir", "-A", "trust", "-E", "UTF8", "-N"]
        self._run("initdb", *init, "--locale=C").check_returncode()

    def start(self) -> None:
        # fsync is for power cuts, of which there are none here.
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 50,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options],
                user=self._user,
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        patient_until = time.monotonic() + START_S
        while True:
            try:
                self.ask("postgres", "SELECT 1")
                return
            except (OSError, asyncpg.PostgresError):
                if time.monotonic() > patient_until or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, what they had not committed is gone."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill all of its processes."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def database(self) -> str:
        """Make a database and give its address."""
        self._count += 1
        name = f"ledger_{self._count}"
        self.ask("postgres", f"CREATE DATABASE {name}")
        return self.address(name)

    def address(self, name: str) -> str:
        return f"postgresql://weir@127.0.0.1:{self.port}/{name}"

    def ask(self, database: str, text: str) -> list[Any]:
        """Run a statement in a database, named or by its address, and give its rows."""

        async def ask() -> list[Any]:
            address = database if "://" in database else self.address(database)
            connection = await asyncpg.connect(address, timeout=5)
            try:
                return list(await connection.fetch(text))
            finally:
                await connection.close()

        return in_a_loop(ask())

    def _signal(self, number: int) -> None:
        assert self._process is not None
        # Its children have process groups of their own.
        for pid in (self._process.pid, *_children(self._process.pid)):
            with suppress(ProcessLookupError):  # one that has just ended by itself
                os.kill(pid, number)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            if number == signal.SIGKILL:
                self._signal(number)
            else:
                self._process.send_signal(number)
            self._process.wait(START_S)

    def _run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(self._programs / name), *arguments]
        return subprocess.run(
            command, user=self._user, cwd=self.folder, check=False, capture_output=True
        )


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def in_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own."""
    return asyncio.run(work)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = None
    try:
        server = PostgresServer(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
