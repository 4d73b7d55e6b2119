"""Calls that plugins make: a child exchange through the same line, instead of a client of their
own.

Hedging, a judge model, embeddings, a replay: all of it is accounted, limited and logged like a
caller's request, because it is one. The child enters at `prepare` with its parent's identity.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.errors import CallerFault, UpstreamFault
from gateway.exchange import Exchange
from gateway.gateway import Answered
from gateway.headers import HOP_BY_HOP, Headers
from gateway.line import Line
from gateway.outlet import Collector
from gateway.screened import Screened
from gateway.shapes import Passed

if TYPE_CHECKING:
    from gateway.gateway import Gateway, Request


_NEVER_UP: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}


async def call(gateway: Gateway, parent: Exchange | None, request: Request) -> Answered:
    """Run the request and return the whole answer, whatever its status.

    Raises `GatewayError` for an answer that was cut or too large, and for a call too many.
    """
    limits = gateway.config.limits
    _bound(parent, limits.call_depth_max, limits.call_count_max)
    exchange = Exchange(request.method, request.target, "1.1", Headers(request.headers), "call")
    if parent is not None:
        exchange.parent_id = parent.id
        exchange.depth = parent.depth + 1
        exchange.identity = parent.identity
        exchange.gateway = parent.gateway
        parent.calls += 1
    outlet = Collector(limits.read_bytes_max)
    line = Line(gateway, exchange, outlet, request.body, _screened(gateway, exchange, request))
    outlet.over = line.leave
    line.is_child = True
    gateway.lines.add(line)
    try:
        await line.start()
    except asyncio.CancelledError:
        line.leave()  # the parent's caller left, or the plugin gave up: so does the child
        raise
    if outlet.is_cut or outlet.is_too_large:
        raise UpstreamFault(
            "A call made for this request did not end well.",
            code="call_failed",
            detail="larger than read_bytes_max" if outlet.is_too_large else "cut",
        )
    head = outlet.head
    return Answered(
        exchange, exchange.status or 0, head.headers if head is not None else Headers(), outlet.body
    )


def _bound(parent: Exchange | None, depth_max: int, count_max: int) -> None:
    if parent is None:
        return
    if parent.depth >= depth_max:
        raise CallerFault(
            "Calls are nested too deeply.", status=508, code="call_depth", detail="call_depth_max"
        )
    if parent.calls >= count_max:
        raise CallerFault(
            "Too many calls for one request.",
            status=508,
            code="call_count",
            detail="call_count_max",
        )


def _screened(gateway: Gateway, exchange: Exchange, request: Request) -> Screened:
    """What a caller's head goes through, for one that we made ourselves."""
    upward: list[tuple[bytes, bytes]] = []
    found = Screened(passed=Passed.only(upward))
    found.size = len(request.body)
    found.has_length = bool(request.body)
    prefixes = tuple(prefix.encode() for prefix in gateway.config.server.header_prefixes)
    for pair in request.headers:
        lower = pair[0].lower()
        if lower.startswith(prefixes):
            exchange.controls = exchange.controls or {}
            exchange.controls.setdefault(lower, pair[1])
        elif lower not in _NEVER_UP:
            upward.append(pair)
    return found
