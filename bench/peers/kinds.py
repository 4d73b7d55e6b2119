"""What a peer is, what its start is given, and what it gives back."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from bench.options import body_of
from bench.processes import child
from bench.script import Script

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 15.0


class Cores(msgspec.Struct, frozen=True):
    """Where each part runs; None leaves it to the system."""

    proxy: int | None = None
    mock: int | None = None
    load: int | None = None


class Peer(msgspec.Struct, frozen=True):
    """A thing that can stand between the load and the mock; `kind` names its `Kind`. The others
    are for the gateway only; its core is "compiled" (`make compile`) or plain "python".
    """

    name: str
    kind: str
    plugins: tuple[str, ...] = ()
    core: str = ""
    workers: int = 1


class Place(msgspec.Struct, frozen=True):
    """Where a peer starts: its processes end with the stack, its files are in the folder, and what
    it has to say goes to `errors`.
    """

    stack: contextlib.ExitStack
    folder: Path
    peer: Peer
    upstream: str
    cores: Cores
    errors: IO[bytes]

    def child(
        self, command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a server that writes no line when it is ready. A pipe that nobody reads would stop
        one that logs each request, so its output goes to the file.
        """
        return self.stack.enter_context(
            child(
                command,
                core=self.cores.proxy,
                cwd=cwd or self.folder,
                environment={**self.surroundings(), **(environment or {})},
                stdout=self.errors,
                stderr=self.errors,
            )
        )

    def surroundings(self) -> dict[str, str]:
        """What a foreign process may know: no key of ours, no proxy, and a home that goes away."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(self.folder), "NO_PROXY": "127.0.0.1"}


class Started(msgspec.Struct, frozen=True):
    """A peer that listens: its address before `/v1/...`, its first process, and what each request
    to it needs: further header fields, and the body for a script.
    """

    base: str
    pid: int
    fields: dict[str, str] = {}
    body: Callable[[Script], bytes] = body_of


class Kind(msgspec.Struct, frozen=True):
    """How peers of one make are installed, found and started.

    `missing` says why it cannot run here, empty if it can; `version` what would run; `install`
    brings it into the cache. One that `rewrites` takes answers apart and writes its own, so its
    bodies have not the mock's length.
    """

    name: str
    start: Callable[[Place], Started]
    missing: Callable[[], str] = str
    version: Callable[[], str] = str
    install: Callable[[], None] | None = None
    rewrites: bool = False


class Running(msgspec.Struct, frozen=True):
    """A peer that answers: where, by which process, and how long that took from its start."""

    peer: Peer
    base: str
    pid: int | None
    start_s: float
    fields: dict[str, str] = {}
    body: Callable[[Script], bytes] = body_of
    exact: bool = True


def listening(process: subprocess.Popen[bytes], port: int, timeout_s: float) -> None:
    """Wait until somebody listens; raises where the process ends or takes too long."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ChildProcessError(f"it ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.002)
    raise TimeoutError(f"it did not listen within {timeout_s:g} s")


def files_limit() -> int:
    """nginx reserves memory per connection it may have, so no more than the streams here need."""
    return min(16_384, os.sysconf("SC_OPEN_MAX"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
