"""Listening sockets of a port: bound once, shared, and never lost on the way.

With several workers each has a socket of its own on the same port (SO_REUSEPORT, socket(7)), and
the kernel spreads connections over them. Whoever starts the workers keeps them all open: what waits
to be accepted by a worker that died waits for the next one. A successor gets the same sockets
(`gateway.handover`).

A Unix socket cannot be bound twice: all workers have the one, and whoever is free accepts.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable

# The sockets of one worker: one for each address that the host's name stands for, and the Unix
# socket.
Sockets = list[socket.socket]

# Callers waiting to be accepted; the kernel cuts it to its own bound (net.core.somaxconn).
BACKLOG: Final = 4096
# What asking whether somebody listens on a Unix socket may take.
ASK_S: Final = 1.0


class UnixSocket:
    """A listening Unix socket, and the file that callers find it by.

    owns_file: it goes with the socket, unless another one is there by then.
    """

    def __init__(self, path: str, mode: int, sock: socket.socket, *, owns_file: bool) -> None:
        self.path = path
        self.sock = sock
        self.owns_file = owns_file
        self._mode = mode
        self._inode = Path(path).lstat().st_ino

    @classmethod
    def bound(cls, path: str, mode: int) -> UnixSocket:
        """Listen in place of a process that is gone. Raises `StartError` where one listens, or
        where something else is. mode: of the file, which says who may connect.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        # Nobody finds it under this name, so nobody is turned away while it does not listen yet.
        fresh = Path(f"{path}.{os.getpid()}")
        try:
            _check_free(Path(path))
            fresh.unlink(missing_ok=True)
            sock.bind(str(fresh))
            fresh.chmod(mode)
            sock.listen(BACKLOG)
            fresh.replace(path)
            return cls(path, mode, sock, owns_file=True)
        except OSError as error:
            sock.close()
            raise StartError(
                f"[server] socket {path}: {error.strerror or error}; "
                "set server.socket to a path in a directory that can be written"
            ) from error
        except StartError:
            sock.close()
            raise

    @property
    def name(self) -> str:
        """Where it is, whatever the working directory of who asks."""
        return os.path.abspath(self.path)  # noqa: PTH100  a link on the way stays as it is

    def is_there(self) -> bool:
        """Whether callers still find this one at its path."""
        try:
            return Path(self.path).lstat().st_ino == self._inode
        except OSError:
            return False

    def own(self) -> None:
        """A predecessor had it; from now on its file is ours."""
        self.owns_file = True
        with contextlib.suppress(OSError):
            Path(self.path).chmod(self._mode)

    def close(self) -> None:
        self.sock.close()
        if self.owns_file and self.is_there():
            with contextlib.suppress(OSError):
                Path(self.path).unlink()


def bound(table: str, host: str, port: int, count: int = 1) -> list[Sockets]:
    """Bind the port `count` times, for as many workers; `StartError` where it is taken.

    table: of the configuration, for the error. port: 0 takes any free one, the same for all.
    """
    groups: list[Sockets] = []
    try:
        for _ in range(count):
            group: Sockets = []
            groups.append(group)
            for family, (name, _, *rest) in _addresses(host, port):
                address = (name, port, *rest)
                group.append(_bound(family, address, is_first=len(groups) == 1))
                port = port or group[0].getsockname()[1]
    except OSError as error:
        close(groups)
        raise StartError(
            f"[{table}] {host}:{port}: {error.strerror or error}; "
            f"set another {table}.port or stop what listens there"
        ) from error
    return groups


def completed(given: Sockets, count: int) -> list[Sockets]:
    """The sockets of a predecessor for `count` workers: none is left out, and where they had fewer
    workers their ports are bound once more.
    """
    shares: list[Sockets] = [[] for _ in range(count)]
    by_address: dict[tuple[int, Any], Sockets] = {}
    for sock in given:
        by_address.setdefault((sock.family, sock.getsockname()), []).append(sock)
    for (family, address), sockets in by_address.items():
        while len(sockets) < count:
            sockets.append(_bound(family, address, is_first=False))
        for place, sock in enumerate(sockets):
            shares[place % count].append(sock)
    return shares


def adopted(descriptors: Iterable[int]) -> Sockets:
    """Sockets that came as descriptors, from a parent or a predecessor."""
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for sock in sockets:
        sock.setblocking(False)
    return sockets


def close(groups: Iterable[Sockets]) -> None:
    for group in groups:
        for sock in group:
            with contextlib.suppress(OSError):
                sock.close()


def shown(sock: socket.socket, *, tls: bool = False) -> str:
    """The URL of a listening socket."""
    scheme = "https" if tls else "http"
    name = sock.getsockname()
    host, port = name[0], name[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _check_free(path: Path) -> None:
    """Whether nothing is there but what a dead process left."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"[server] socket {path}: there is a file that is no socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(ASK_S)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            return
        except TimeoutError:  # its backlog is full: it lives
            pass
    raise StartError(
        f"[server] socket {path}: a process listens there; stop it or set another server.socket"
    )


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: int, address: Any, *, is_first: bool) -> socket.socket:
    if is_first and address[1]:
        # Shared with a stranger of the same user, a port would silently get half of its callers.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            _set_up(probe, family)
            probe.bind(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        _set_up(sock, family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _set_up(sock: socket.socket, family: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # IPv4 has a socket of its own where the host's name stands for both.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
