"""Connections to upstreams: kept ones by origin, and how new ones are made.

Kept connections are taken last in, first out, so that a quiet minute lets the surplus time out. A
new one resolves the name (cached, bounded), races addresses (RFC 8305, `aiohappyeyeballs`), passes
the origin's proxy if it has one (`gateway.tunnel`), and is bounded by the attempt's connect
timeout. There is no queue: an origin at its limit is refused at once, because a request that waits
unseen for a free connection looks like a slow provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Final, cast

import aiohappyeyeballs

from gateway.errors import OwnFault, UpstreamFault
from gateway.tunnel import open_tunnel
from gateway.upstream import Upstream
from gateway.upstream_tls import context_of

if TYPE_CHECKING:
    from gateway.clock import Clock
    from gateway.config import Limits
    from gateway.exchange import Attempt
    from gateway.origins import Origin

UNREACHABLE: Final = "The upstream could not be reached."
# RFC 8305 section 5 recommends 250 ms between attempts at two addresses.
HAPPY_EYEBALLS_DELAY_S: Final = 0.25
# TLS handshakes have the connect timeout above them; this one only bounds what the loop does on its
# own.
TLS_SHUTDOWN_S: Final = 1.0

AddressInfo = aiohappyeyeballs.AddrInfoType
# ca_file, client_cert and client_key, of which a context is made.
Files = tuple[str | None, str | None, str | None]


class Pool:
    """All upstream connections of the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, limits: Limits) -> None:
        self.loop = loop
        self.clock = clock
        self.limits = limits
        self._idle: dict[str, deque[Upstream]] = {}
        self._open: dict[str, int] = {}
        self._all: set[Upstream] = set()
        self._names: dict[tuple[str, int], tuple[int, list[AddressInfo]]] = {}
        self._contexts: dict[Files, ssl.SSLContext] = {}

    def idle(self, origin: Origin) -> Upstream | None:
        """A kept connection to the origin, if there is one."""
        kept = self._idle.get(origin.key)
        while kept:
            connection = kept.pop()
            if not connection.is_lost and not connection.transport.is_closing():
                return connection
        return None

    async def connect(self, origin: Origin, attempt: Attempt, connections_max: int) -> Upstream:
        """A fresh connection, or an `UpstreamFault` that reached nobody."""
        return await self.make(origin, attempt.connect_timeout_ns, connections_max)

    async def make(self, origin: Origin, connect_timeout_ns: int, connections_max: int) -> Upstream:
        """The same for nobody's attempt: a connection to keep ready (`gateway.warm`)."""
        key = origin.key
        open_now = self._open.get(key, 0)
        if open_now >= (connections_max or self.limits.origin_connections_max):
            raise OwnFault(
                "Too many connections to this upstream are open.",
                status=503,
                code="upstream_connections",
                detail=f"{open_now} connections to {key}; the limit is origin_connections_max",
                headers=((b"Retry-After", b"1"),),
            )
        self._open[key] = open_now + 1  # counted before the wait, or a burst would pass the limit
        timeout_s = connect_timeout_ns / 1e9
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._open_one(origin)
        except BaseException as error:
            self._count_down(key)
            if isinstance(error, (OSError, UnicodeError)):  # TimeoutError is an OSError
                raise _fault(origin, error, timeout_s) from error
            raise
        self._all.add(connection)
        return connection

    def release(self, connection: Upstream) -> None:
        """Keep a connection whose answer is whole."""
        key = connection.origin.key
        kept = self._idle.get(key)
        if kept is None:
            kept = self._idle[key] = deque()
        if len(kept) >= self.limits.idle_upstream_max:
            connection.drop()
        else:
            kept.append(connection)

    def forget(self, connection: Upstream) -> None:
        """The connection is lost."""
        if connection in self._all:
            self._all.discard(connection)
            self._count_down(connection.origin.key)
        kept = self._idle.get(connection.origin.key)
        if kept is not None:
            with contextlib.suppress(ValueError):
                kept.remove(connection)
            if not kept:
                del self._idle[connection.origin.key]

    def ready(self, origin: Origin) -> int:
        """How many kept connections to the origin there are."""
        return len(self._idle.get(origin.key, ()))

    def renew(self, limits: Limits) -> None:
        """After a reload: other limits, and certificates are read anew for connections to come."""
        self.limits = limits
        self._contexts.clear()

    def close(self) -> None:
        for connection in tuple(self._all):
            connection.drop()

    @property
    def size(self) -> int:
        return len(self._all)

    # -- making one --------------------------------------------------------------------------------

    async def _open_one(self, origin: Origin) -> Upstream:
        context = self._context(origin) if origin.tls else None
        sock, tunnel_bytes = await self._socket(origin)
        # A TLS transport closes its socket before it says that the connection is lost; what the
        # kernel knows of it then (`gateway.tcp`) can be asked through a second descriptor only.
        probe = sock if context is None else sock.dup()
        try:
            _, protocol = await self.loop.create_connection(
                lambda: Upstream(self, origin, probe),
                sock=sock,
                ssl=context,
                server_hostname=origin.server_name if context is not None else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S if context is not None else None,
            )
        except BaseException:
            sock.close()
            probe.close()
            raise
        protocol.written = tunnel_bytes
        return protocol

    async def _socket(self, origin: Origin) -> tuple[socket.socket, int]:
        """A socket that leads to the origin, and how much was written to get there."""
        if origin.socket is not None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await self.loop.sock_connect(sock, origin.socket)
            except BaseException:
                sock.close()
                raise
            return sock, 0
        proxy = origin.proxy
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        addresses = await self._resolve(host, port)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S, loop=self.loop
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if proxy is None:
            return sock, 0
        try:
            return sock, await open_tunnel(self.loop, sock, proxy, origin.host, origin.port)
        except BaseException:
            sock.close()
            raise

    async def _resolve(self, host: str, port: int) -> list[AddressInfo]:
        key = (host, port)
        known = self._names.get(key)
        now = time.monotonic_ns()
        if known is not None and now < known[0]:
            return known[1]
        try:
            found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            if known is not None:
                return known[1]  # an old address is better than none while the resolver is away
            raise
        addresses = cast("list[AddressInfo]", list(found))
        if len(self._names) >= self.limits.dns_cache_max:
            del self._names[next(iter(self._names))]
        self._names[key] = (now + self.limits.dns_cache_ttl, addresses)
        return addresses

    def _context(self, origin: Origin) -> ssl.SSLContext:
        files = (origin.ca_file, origin.client_cert, origin.client_key)
        context = self._contexts.get(files)
        if context is None:
            context = self._contexts[files] = context_of(*files)
        return context

    def _count_down(self, key: str) -> None:
        left = self._open.get(key, 0) - 1
        if left > 0:
            self._open[key] = left
        else:
            self._open.pop(key, None)


def _fault(origin: Origin, error: BaseException, timeout_s: float) -> UpstreamFault:
    if isinstance(error, TimeoutError) and not error.args:
        cause = f"no connection within {timeout_s:g} s"
    else:
        cause = f"{type(error).__name__}: {error}"
    return UpstreamFault(
        UNREACHABLE, code="upstream_unreachable", detail=f"{origin.key}: {cause}", reached=False
    )
