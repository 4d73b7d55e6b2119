"""The doors that callers come in by: a port, plain or TLS, and a Unix socket.

A plain door is the loop's own server. Where something has to be said before the first request, a
TLS handshake or a PROXY header, connections are accepted here, at most `connections_max` at a time
wait for that, and none longer than `header_timeout`. Only then does a connection become a `Caller`.

A certificate that is read again counts for the connections that come after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.caller import Caller
from gateway.certificate import context_of
from gateway.errors import StartError
from gateway.forwarded import Trust
from gateway.log import get
from gateway.proxied import BadHeader, read_header
from gateway.secure import LocalCaller, SecureCaller

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gateway.config import Server
    from gateway.listener import Callers
    from gateway.ports import Sockets

log = get("doors")

# Callers waiting to be accepted; the kernel cuts it to its own bound (net.core.somaxconn).
BACKLOG: Final = 4096
# Without a free descriptor nobody can be let in, and the kernel would say so again at once.
PAUSE_S: Final = 0.1
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# What asking whether somebody listens on a Unix socket may take.
ASK_S: Final = 1.0


class Doors:
    """Everything that callers of this process come in by.

    context: the certificate that new connections get; None without TLS.
    """

    def __init__(self, callers: Callers, settings: Server) -> None:
        self.context = context_of(settings)
        self._callers = callers
        self._loop = callers.loop
        self._settings = settings
        self._trust = Trust(settings.trusted_proxies) if settings.proxy_protocol else None
        self._servers: list[asyncio.Server] = []
        self._accepting: list[tuple[asyncio.Task[None], socket.socket]] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self._inode = 0

    async def open(self, sockets: Sockets, *, succeeds: bool = False) -> None:
        """Listen on the bound sockets of the port, and on the Unix socket if there is one.

        succeeds: whoever listens on the Unix socket now is to be replaced. Raises `StartError`;
        `close` closes what was opened by then.
        """
        for sock in sockets:
            await self._serve(sock, Caller if self.context is None else SecureCaller)
        path = self._settings.socket
        if path:
            mode = int(self._settings.socket_mode, 8)
            sock, self._inode = unix_listener(path, mode, replaces=succeeds)
            await self._serve(sock, LocalCaller)

    def read_again(self) -> ssl.SSLContext | None:
        """The certificate as it is now, for `context`; `ConfigErrors` if it cannot be used."""
        return context_of(self._settings)

    def close(self) -> None:
        """Listen no more. Whoever has not got past its greeting goes; callers stay."""
        for server in self._servers:
            server.close()
        for task, sock in self._accepting:
            task.cancel()
            sock.close()
        for task in tuple(self._waiting):
            task.cancel()
        self._servers.clear()
        self._accepting.clear()
        path = Path(self._settings.socket)
        with contextlib.suppress(OSError):  # gone already
            if self._inode and path.lstat().st_ino == self._inode:  # not a successor's
                path.unlink()
        self._inode = 0

    async def _serve(self, sock: socket.socket, kind: type[Caller]) -> None:
        callers = self._callers
        if kind is not SecureCaller and self._trust is None:
            make: Any = self._loop.create_unix_server
            if sock.family != socket.AF_UNIX:
                make = self._loop.create_server
            self._servers.append(await make(lambda: kind(callers), sock=sock, backlog=BACKLOG))
            return
        sock.listen(BACKLOG)
        task = self._loop.create_task(self._accept(sock, kind))
        self._accepting.append((task, sock))

    # -- greetings ---------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket, kind: type[Caller]) -> None:
        while True:
            try:
                sock, address = await self._loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("accept_failed", error=error.strerror)
                    await asyncio.sleep(PAUSE_S)
                continue  # else it was the caller, who has left again
            if len(self._waiting) >= self._callers.limits.connections_max:
                sock.close()
                log.info("connection_refused", detail="connections_max", peer=_peer(address))
                continue
            task = self._loop.create_task(self._greet(sock, _peer(address), kind))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _greet(self, sock: socket.socket, peer: str, kind: type[Caller]) -> None:
        """Read the PROXY header and shake hands, whichever there is to do."""
        came_from = peer
        try:
            async with asyncio.timeout(self._callers.limits.header_timeout / 1e9):
                if self._trust is not None and self._trust.has(peer):
                    peer = await read_header(self._loop, sock) or peer
                await self._let_in(sock, lambda: _made(kind, self._callers, peer), kind)
        except asyncio.CancelledError:
            sock.close()
            raise
        except BadHeader as error:
            sock.close()
            log.info("proxy_header_refused", detail=str(error), peer=came_from)
        except TimeoutError:
            sock.close()
            log.info("greeting_refused", detail="header_timeout", peer=came_from)
        except OSError as error:  # of TLS too: ssl.SSLError is one
            sock.close()
            log.info("greeting_refused", detail=error.strerror or str(error), peer=came_from)

    async def _let_in(
        self, sock: socket.socket, make: Callable[[], Caller], kind: type[Caller]
    ) -> None:
        if kind is not SecureCaller:
            await self._loop.connect_accepted_socket(make, sock)
            return
        limits = self._callers.limits
        await self._loop.connect_accepted_socket(
            make,
            sock,
            ssl=self.context,
            ssl_handshake_timeout=limits.header_timeout / 1e9,
            # Of the last bytes too, whose deadline this is (`Caller.check`).
            ssl_shutdown_timeout=limits.stall_timeout / 1e9,
        )


def unix_listener(path: str, mode: int, *, replaces: bool = False) -> tuple[socket.socket, int]:
    """A listening Unix socket, in place of one that nobody listens on any more, and its file's
    inode. Raises `StartError` where somebody does, or where something else is.

    mode: of the file, which says who may connect. replaces: whoever listens there is replaced.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    # Nobody finds it under this name, so that nobody is turned away while it does not listen yet.
    fresh = Path(f"{path}.{os.getpid()}")
    try:
        if not replaces:
            _check_free(Path(path))
        fresh.unlink(missing_ok=True)
        sock.bind(str(fresh))
        fresh.chmod(mode)
        sock.listen(BACKLOG)
        inode = fresh.stat().st_ino
        fresh.replace(path)
    except OSError as error:
        sock.close()
        raise StartError(
            f"[server] socket {path}: {error.strerror or error}; "
            "set server.socket to a path in a directory that can be written"
        ) from error
    except StartError:
        sock.close()
        raise
    return sock, inode


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


def _made(kind: type[Caller], callers: Callers, peer: str) -> Caller:
    caller = kind(callers)
    caller.peer = peer
    return caller


def _peer(address: Any) -> str:
    """The other end as `exchange.peer` shows it."""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "unix"
