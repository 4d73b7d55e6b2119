"""Where a gateway stands: its listening sockets, and its place between the one before it and the
one after it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import orjson

from gateway import handover, ports
from gateway.errors import StartError
from gateway.ports import Sockets

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
    """callers: the sockets of the callers' port, for each worker. operators: of the admin port.
    taken: what a predecessor gave of them.
    """

    def __init__(
        self,
        config: Config,
        callers: list[Sockets],
        operators: Sockets,
        taken: handover.Taken | None = None,
    ) -> None:
        self._config = config
        self.callers = callers
        self.operators = operators
        self.taken = taken

    @classmethod
    def found(cls, config: Config) -> Stand:
        """The sockets of whoever serves these addresses from the same state directory, or fresh
        ones. `StartError` where a stranger has them.
        """
        server, operator = config.server, config.admin
        taken = None
        if server.port:
            taken = handover.take(
                config.state_path, (server.host, server.port), (operator.host, operator.port)
            )
        if taken is not None and taken.admin:
            operators = taken.admin
        else:
            operators = ports.bound("admin", operator.host, operator.port)[0]
        if taken is not None:
            callers = ports.completed(taken.callers, server.workers)
        else:
            try:
                callers = ports.bound("server", server.host, server.port, server.workers)
            except StartError:
                ports.close([operators])
                raise
        return cls(config, callers, operators, taken)

    def is_ready(self, stack: AsyncExitStack, succeeded: Callable[[], None]) -> None:
        """All is open: a predecessor may go, and a successor come, which calls `succeeded`."""
        if self.taken is not None:
            self.taken.is_ready()
        server, operator = self._config.server, self._config.admin
        offer = handover.Offer(
            self._config.state_path,
            ((server.host, server.port), [sock for group in self.callers for sock in group]),
            ((operator.host, operator.port), self.operators),
            succeeded,
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

    def close(self) -> None:
        ports.close([*self.callers, self.operators])
