"""Replacement without a gap: a gateway that starts on the port of another one takes it over.

The one that runs listens on a Unix socket in the state directory. The one that starts asks there
for the sockets of its own addresses and gets them (SCM_RIGHTS, unix(7)), so both serve the same
queue of callers. Once it is ready it says so; then the older one takes no more callers, finishes
what runs, and ends. A successor that dies before that changes nothing.

    -> {"callers": ["127.0.0.1", 8080], "admin": ["127.0.0.1", 8081], "unix": "/run/weir.sock"}
    <- {"pid": 17, "callers": 2, "admin": 1, "unix": 1}  and that many descriptors, in this order
    -> ready
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from gateway import ports
from gateway.log import get
from gateway.ports import Sockets, UnixSocket

log = get("handover")

SOCKET_FILE: Final = "successor.sock"
READY: Final = b"ready\n"
# The one that runs answers at once, or hangs.
ASK_TIMEOUT_S: Final = 2.0
# Plugins of a successor may take their time to start; after this it is taken for dead.
READY_TIMEOUT_S: Final = 120.0
# Where a successor cannot be let in, the next attempt waits.
PAUSE_S: Final = 0.5
MESSAGE_BYTES_MAX: Final = 4096
DESCRIPTORS_MAX: Final = 253  # the kernel's own bound (SCM_MAX_FD)

Address = tuple[str, int]


class Taken:
    """What a predecessor gave, and the line to it."""

    def __init__(self, talk: socket.socket, pid: int, given: Sockets, counts: list[int]) -> None:
        self._talk = talk
        self.pid = pid
        callers, admin, _ = counts
        self.callers = given[:callers]
        self.admin = given[callers : callers + admin]
        self.unix = given[callers + admin :]

    def is_ready(self) -> None:
        """Tell the predecessor that it may go."""
        with contextlib.suppress(OSError):  # it is gone already, and its sockets are ours
            self._talk.sendall(READY)
        self.drop()

    def drop(self) -> None:
        self._talk.close()


def take(state: Path, callers: Address, admin: Address, unix: str = "") -> Taken | None:
    """The sockets of whoever serves these addresses now; None if nobody does, or not from this
    state directory. unix: the absolute path of the Unix socket for callers, if there is one.
    """
    talk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    talk.settimeout(ASK_TIMEOUT_S)
    descriptors: list[int] = []
    try:
        talk.connect(str(state / SOCKET_FILE))
        talk.sendall(orjson.dumps({"callers": callers, "admin": admin, "unix": unix}))
        data, descriptors, _, _ = socket.recv_fds(talk, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX)
        told: Any = orjson.loads(data)
        counts = [told[kind] for kind in ("callers", "admin", "unix")]
        if counts[0] and len(descriptors) == sum(counts):
            return Taken(talk, told["pid"], ports.adopted(descriptors), counts)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nobody is there, or nobody who knows how
    for descriptor in descriptors:
        os.close(descriptor)
    talk.close()
    return None


class Offer:
    """Listens for a successor, and gives it the sockets. `taken` is called once it is ready; its
    argument tells whether the Unix socket is the successor's too.
    """

    def __init__(
        self,
        state: Path,
        callers: tuple[Address, Sockets],
        admin: tuple[Address, Sockets],
        unix: UnixSocket | None,
        taken: Callable[[bool], None],
    ) -> None:
        self._path = state / SOCKET_FILE
        self._callers = callers
        self._admin = admin
        self._unix = unix
        self._taken = taken
        self._listener: socket.socket | None = None
        self._inode = 0
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Listen, in the place of a predecessor. Where that is impossible (a path too long for a
        socket) a gateway can still be stopped and started.
        """
        fresh = self._path.with_suffix(f".{os.getpid()}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            listener.bind(str(fresh))
            fresh.chmod(0o600)
            listener.listen(4)
            self._inode = fresh.stat().st_ino
            fresh.replace(self._path)
        except OSError as error:
            listener.close()
            log.warning("no_handover", socket=str(self._path), error=error.strerror or str(error))
            return
        listener.setblocking(False)
        self._listener = listener
        self._task = asyncio.get_running_loop().create_task(self._serve(listener), name="handover")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:  # not a successor's
                    self._path.unlink()

    async def _serve(self, listener: socket.socket) -> None:
        """One successor at a time; the next one waits for the outcome."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                talk, _ = await loop.sock_accept(listener)
            except OSError as error:  # no descriptor is left, say, and will not be at once
                log.warning("handover_failed", error=repr(error))
                await asyncio.sleep(PAUSE_S)
                continue
            talk.setblocking(False)
            try:
                given = await self._give(loop, talk)
                if given is not None:
                    log.info("handed_over")
                    self._taken(given["unix"] > 0)
                    return
            except (OSError, ValueError, TypeError, TimeoutError) as error:
                log.warning("handover_failed", error=repr(error))
            finally:
                talk.close()

    async def _give(
        self, loop: asyncio.AbstractEventLoop, talk: socket.socket
    ) -> dict[str, int] | None:
        """How many sockets of each kind a successor has, which is ready; None if there is none."""
        async with asyncio.timeout(ASK_TIMEOUT_S):
            asked: Any = orjson.loads(await loop.sock_recv(talk, MESSAGE_BYTES_MAX))
        if not isinstance(asked, dict):
            raise ValueError("not a question")  # noqa: TRY004  it is data, and bad
        callers, admin, unix = self._wanted(asked)
        told = {
            "pid": os.getpid(),
            "callers": len(callers),
            "admin": len(admin),
            "unix": len(unix),
        }
        descriptors = [sock.fileno() for sock in (*callers, *admin, *unix)]
        socket.send_fds(talk, [orjson.dumps(told)], descriptors)
        if not callers:
            return None
        async with asyncio.timeout(READY_TIMEOUT_S):
            return told if await loop.sock_recv(talk, len(READY)) == READY else None

    def _wanted(self, asked: dict[str, Any]) -> tuple[Sockets, Sockets, Sockets]:
        """The sockets of the addresses that are asked for: nobody gets those of the admin port or
        the Unix socket alone.
        """
        if asked.get("callers") != list(self._callers[0]):
            return [], [], []
        admin = self._admin[1] if asked.get("admin") == list(self._admin[0]) else []
        unix = self._unix
        if unix is None or asked.get("unix") != unix.name or not unix.is_there():
            return self._callers[1], admin, []
        return self._callers[1], admin, [unix.sock]
