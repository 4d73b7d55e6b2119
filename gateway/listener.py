"""What all connections of the callers' port share: the rules of the configuration in force, and
where lines start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.exchange import STOPPED
from gateway.line import Line
from gateway.log import get
from gateway.switching import Switching

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.body import RequestBody
    from gateway.caller import Caller
    from gateway.clock import Clock
    from gateway.exchange import Exchange
    from gateway.gateway import Endpoint, Gateway
    from gateway.refusal import Refusal, Screen
    from gateway.screened import Screened

log = get("listener")

# Longer than a client's own pause between two requests under load, shorter than anybody waits for
# a replacement.
IDLE_GRACE_S: Final = 3.0


class Callers:
    """The callers' listener, as its connections know it (`gateway.caller.Listener`)."""

    def __init__(self, gateway: Gateway, clock: Clock, screen: Screen) -> None:
        self.gateway = gateway
        self.loop = gateway.loop
        self.clock = clock
        self.screen = screen
        self.limits = gateway.config.limits
        self.connections: set[Caller] = set()
        self.is_draining = False
        self.has_pages = False
        self._pages: web.Server | None = None
        self._paths: frozenset[bytes] = frozenset()
        self._prefixes: tuple[bytes, ...] = ()

    def open_pages(self, pages: web.Server, endpoints: list[Endpoint]) -> None:
        """Give these paths to aiohttp, connection and all."""
        self._pages = pages
        self.has_pages = True
        paths = [endpoint.path.partition("{") for endpoint in endpoints]
        self._paths = frozenset(path.encode() for path, place, _ in paths if not place)
        self._prefixes = tuple(path.encode() for path, place, _ in paths if place)

    @property
    def screen(self) -> Screen:
        """The rules of the configuration in force."""
        return self._screen

    @screen.setter
    def screen(self, screen: Screen) -> None:
        self._screen = screen
        self.screened = screen.pass_over

    def serve(
        self, caller: Caller, exchange: Exchange, body: bytes | RequestBody, screened: Screened
    ) -> Line:
        line = Line(self.gateway, exchange, caller, body, screened)
        self.gateway.lines.add(line)
        return line

    def serve_upgrade(
        self, caller: Caller, exchange: Exchange, screened: Screened, key: bytes
    ) -> Line:
        line = Switching(self.gateway, exchange, caller, screened, key)
        self.gateway.lines.add(line)
        return line

    def hand_over(self, target: bytes) -> asyncio.Protocol | None:
        """An aiohttp protocol for a path that a plugin serves itself, or None."""
        if self._pages is None:
            return None
        path = target.partition(b"?")[0]
        if path in self._paths or path.startswith(self._prefixes):
            return self._pages()
        return None

    def refused(self, refusal: Refusal, peer: str) -> None:
        self.gateway.count("refused_requests")
        log.info(
            "request_refused",
            status=refusal.status,
            code=refusal.code,
            detail=refusal.detail,
            peer=peer,
        )

    # -- the end -----------------------------------------------------------------------------------

    def drain(self, *, gently: bool = False) -> None:
        """No further request: idle connections close now, busy ones after their answer.

        gently: a successor serves the same port, so there is no hurry: idle connections have
        another `IDLE_GRACE_S` in which a request that is under way is served, as their last.
        """
        self.is_draining = True
        self.gateway.is_draining = True
        if gently:
            self.loop.call_later(IDLE_GRACE_S, self._close_idle)
        else:
            self._close_idle()

    def _close_idle(self) -> None:
        for caller in tuple(self.connections):
            caller.close_if_idle()

    def cut(self) -> None:
        """End what is still running, truthfully."""
        for line in tuple(self.gateway.lines):
            line.stop(STOPPED, b"")

    async def empty(self, seconds: float) -> bool:
        """Wait until every connection is gone; False if some are left by then."""
        until = asyncio.get_running_loop().time() + seconds
        while self.connections or self.gateway.lines:
            if asyncio.get_running_loop().time() >= until:
                return False
            await asyncio.sleep(0.02)
        return True

    def abort(self) -> None:
        for caller in tuple(self.connections):
            caller.transport.abort()
