"""The doors that callers come in by: a port, plain or TLS, and a Unix socket.

A plain door is the loop's own server. Where something has to be said before the first request, a
TLS handshake or a PROXY header, connections are accepted here, at most `connections_max` at a time
wait for that, and none longer than `header_timeout`. Only then does a connection become a `Caller`.

A certificate that is read again counts for the connections that come after it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any, Final

from gateway.caller import Caller
from gateway.certificate import context_of
from gateway.forwarded import Trust
from gateway.log import get
from gateway.ports import BACKLOG, Sockets
from gateway.proxied import BadHeader, read_header
from gateway.secure import LocalCaller, SecureCaller

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from gateway.config import Server
    from gateway.listener import Callers

log = get("doors")

# Without a free descriptor nobody can be let in, and the kernel would say so again at once.
PAUSE_S: Final = 0.1
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


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

    async def open(self, sockets: Sockets) -> None:
        """Listen on the bound sockets of the port, and on the Unix socket if it is among them."""
        for sock in sockets:
            if sock.family == socket.AF_UNIX:
                await self._serve(sock, LocalCaller)
            else:
                await self._serve(sock, Caller if self.context is None else SecureCaller)

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


def _made(kind: type[Caller], callers: Callers, peer: str) -> Caller:
    caller = kind(callers)
    caller.peer = peer
    return caller


def _peer(address: Any) -> str:
    """The other end as `exchange.peer` shows it."""
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "unix"
