"""Where a gateway stands: its listening sockets, and its place between the one before it and the
one after it.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import orjson

from gateway import handover, ports
from gateway.errors import StartError
from gateway.ports import Sockets, UnixSocket

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from gateway.config import Config


class Place(msgspec.Struct, frozen=True):
    """A worker's place: its number, its sockets of the callers' port, and where it serves its
    keeper's admin requests.
    """

    number: int
    sockets: Sockets
    admin_path: Path


class Stand:
    """callers: the sockets that callers come to, for each worker. operators: of the admin port.
    taken: what a predecessor gave of them. unix: the one among them that is a Unix socket.
    """

    def __init__(
        self,
        config: Config,
        callers: list[Sockets],
        operators: Sockets,
        taken: handover.Taken | None = None,
        unix: UnixSocket | None = None,
    ) -> None:
        self._config = config
        self.callers = callers
        self.operators = operators
        self.taken = taken
        self.unix = unix

    @classmethod
    def found(cls, config: Config) -> Stand:
        """The sockets of whoever serves these addresses from the same state directory, or fresh
        ones. `StartError` where a stranger has them.
        """
        server, operator = config.server, config.admin
        taken = None
        if server.port:
            path = os.path.abspath(server.socket) if server.socket else ""  # noqa: PTH100
            taken = handover.take(
                config.state_path, (server.host, server.port), (operator.host, operator.port), path
            )
        stand = cls(config, [], [], taken)
        try:
            stand._bind()
        except StartError:
            stand.close()
            raise
        return stand

    def _bind(self) -> None:
        """Have all sockets: those that were given, and fresh ones for what is missing."""
        server, operator, taken = self._config.server, self._config.admin, self.taken
        if taken is not None:
            self.callers = ports.completed(taken.callers, server.workers)
            self.operators = taken.admin
        if not self.operators:
            self.operators = ports.bound("admin", operator.host, operator.port)[0]
        if not self.callers:
            self.callers = ports.bound("server", server.host, server.port, server.workers)
        if server.socket:
            mode = int(server.socket_mode, 8)
            if taken is not None and taken.unix:
                self.unix = UnixSocket(server.socket, mode, taken.unix[0], owns_file=False)
            else:
                self.unix = UnixSocket.bound(server.socket, mode)
            for group in self.callers:
                group.append(self.unix.sock)

    def is_ready(self, stack: AsyncExitStack, succeeded: Callable[[], None]) -> None:
        """All is open: a predecessor may go, and a successor come, which calls `succeeded`."""
        unix = self.unix
        if unix is not None:
            unix.own()
        if self.taken is not None:
            self.taken.is_ready()
        server, operator = self._config.server, self._config.admin

        def handed_over(with_unix: bool) -> None:
            if unix is not None and with_unix:
                unix.owns_file = False
            succeeded()

        offer = handover.Offer(
            self._config.state_path,
            (
                (server.host, server.port),
                [s for group in self.callers for s in group if s.family != socket.AF_UNIX],
            ),
            ((operator.host, operator.port), self.operators),
            unix,
            handed_over,
        )
        offer.open()
        stack.push_async_callback(offer.close)

    def announce(self, **more: object) -> None:
        """The one line on standard output, for whoever started us."""
        server = self._config.server
        url = ports.shown(self.callers[0][0], tls=bool(server.tls_cert))
        line: dict[str, object] = {"event": "listening", "callers": url}
        if server.socket:
            line["socket"] = server.socket
        if self.operators:
            line["admin"] = ports.shown(self.operators[0])
        line |= {"pid": os.getpid(), **more}
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.buffer.flush()

    def listen_no_more(self) -> None:
        """Close what callers come to, for this process."""
        ports.close(self.callers)

    def close(self) -> None:
        ports.close([*self.callers, self.operators])
        if self.unix is not None:
            self.unix.close()
        if self.taken is not None:
            self.taken.drop()
