"""What a caller is told whose request is refused."""

from __future__ import annotations

from gateway import CallerFault, Exchange, OwnFault

from .fields import Names, lasting, refusal_fields
from .memory import Crowded, Refused
from .rules import named


def refusal(exchange: Exchange, names: Names, refused: Refused) -> CallerFault:
    """Of a request that a rule has no room for."""
    wish = refused.wish
    limit = wish.limit
    whose = f"The rate limit {limit.name} ({named(limit, wish.subject)}) of {limit.rule.limit}"
    if limit.is_slots:
        text = f"{whose} is in use; try again once another request has ended."
    elif refused.wait_us is None:
        text = (
            f"{whose} is smaller than this request, which may use {wish.amount} {limit.unit}; "
            "ask for less."
        )
    else:
        text = f"{whose} has {max(refused.room, 0)} {limit.unit} left"
        if wish.amount > 1:
            text += f", and this request may use {wish.amount}"
        text += f"; try again in {lasting(refused.wait_us).decode()}."
    return CallerFault(
        text,
        status=429,
        code="rate_limit_exceeded",
        headers=refusal_fields(exchange, names, refused),
    )


def crowded(fault: Crowded) -> OwnFault:
    """Where there is no room for one more counter."""
    return OwnFault(
        "The gateway counts as many callers as it can; try again later.",
        status=503,
        code="rate_limit_unavailable",
        detail=f"rule {fault.limit.name}: counters_max",
        headers=((b"Retry-After", b"10"),),
    )


def lost() -> OwnFault:
    """Where nobody knows what is left, and nobody may pass without that."""
    return OwnFault(
        "The gateway cannot count this request now; try again in a moment.",
        status=503,
        code="rate_limit_unavailable",
        headers=((b"Retry-After", b"1"),),
    )
