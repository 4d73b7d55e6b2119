"""Connections kept ready: `warm = N` of a provider.

A new connection costs a request up to three round trips (TCP, TLS, and a proxy's CONNECT). Here so
many are made before anybody asks, and made anew when they have been taken or closed. Nothing is
written on them after the handshakes until a request takes them out of the pool.

Each provider has a task of its own, owned by the gateway, whose stop cancels it. An upstream that
cannot be reached, or closes what nobody has used yet, is tried again less and less often.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from gateway.clock import monotonic_ns
from gateway.errors import GatewayError, OwnFault
from gateway.log import get

if TYPE_CHECKING:
    from gateway.gateway import Gateway
    from gateway.origins import Origin
    from gateway.providers import Provider
    from gateway.upstream import Upstream

log = get("warm")

# How often we look whether some are missing; what is taken costs the next request at most this.
LOOK_S: Final = 0.1
# From the first failure to the longest wait: an upstream that is away should not hear of us often,
# and one that is back should be warm within the minute.
BACK_OFF_S: Final = 0.5
BACK_OFF_MAX_S: Final = 30.0
# Whoever closes an unused connection sooner does not want it. Providers' idle timeouts are minutes.
YOUNG_NS: Final = 5_000_000_000


class Warming:
    """Keeps connections ready for the providers in force."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tasks: list[asyncio.Task[None]] = []

    def renew(self) -> None:
        """Begin, or begin anew after a reload. Connections that are ready already count."""
        for task in self._tasks:
            task.cancel()
        self._tasks = [
            self._gateway.task(Keeper(self._gateway, provider, origin).run(), f"warm {name}")
            for name, provider in self._gateway.providers.items()
            if provider.warm and (origin := provider.origin) is not None
        ]


class Keeper:
    """Keeps one provider's connections ready."""

    def __init__(self, gateway: Gateway, provider: Provider, origin: Origin) -> None:
        self._gateway = gateway
        self._pool = gateway.pool
        self._provider = provider
        self._origin = origin
        self._wait_s = 0.0
        # Those of ours that nobody has used yet: the connection, what was written on it before
        # (the tunnel), and when it was made. Each leaves at the first look that finds it used,
        # closed or grown up.
        self._young: list[tuple[Upstream, int, int]] = []

    async def run(self) -> None:
        """Make what is missing, until the gateway drains."""
        while not self._gateway.is_draining:
            reason = self._died_young() or await self._fill()
            await asyncio.sleep(self._back_off(reason) if reason else LOOK_S)

    async def _fill(self) -> str:
        """Make what is missing, one by one; gives why it went wrong."""
        provider, pool = self._provider, self._pool
        for _ in range(provider.warm - pool.ready(self._origin)):
            try:
                connection = await pool.make(
                    self._origin, provider.connect_timeout, provider.connections_max
                )
            except OwnFault:
                break  # as many are open as may be: requests have them, and nothing is wrong
            except GatewayError as error:
                return error.detail
            self._young.append((connection, connection.written, monotonic_ns()))
            pool.release(connection)
        return ""

    def _died_young(self) -> str:
        """Why we should wait: one was closed before its time. One that lived ends the waiting."""
        now = monotonic_ns()
        # We close idle ones ourselves, and where that is meant to be soon it is no fault.
        young_ns = min(YOUNG_NS, self._pool.limits.upstream_keepalive_timeout // 2)
        young, self._young = self._young, []
        reason = ""
        for connection, written, made_ns in young:
            if connection.written > written or now - made_ns > young_ns:
                self._wait_s = 0.0
            elif connection.is_lost:
                reason = f"{self._origin.key}: closed before it was used"
            else:
                self._young.append((connection, written, made_ns))
        return reason

    def _back_off(self, reason: str) -> float:
        self._wait_s = min(max(self._wait_s * 2, BACK_OFF_S), BACK_OFF_MAX_S)
        log.warning("warm_failed", provider=self._provider.name, error=reason)
        # Spread, or the gateways of a fleet would all knock at the same moment.
        return self._wait_s * random.uniform(0.75, 1.25)
