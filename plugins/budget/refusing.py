"""What a caller is told whose request is refused."""

from __future__ import annotations

from typing import Final

from gateway import CallerFault, OwnFault

from .counters import Counter, Tally
from .rules import Limit
from .windows import written

# How soon to come again where only other requests' reservations stand in the way.
_SOON_S: Final = 1


def spent_up(limit: Limit, tally: Tally, counter: Counter, amount: int, now_ms: int) -> CallerFault:
    """The refusal of a request that may use more than is left."""
    left = max(limit.amount - counter.spent - counter.reserved, 0)
    at = counter.room_at(tally.window, limit.amount, amount)
    text = (
        f"The budget {limit.name} ({named(limit, counter)}) has {limit.written(left)} of "
        f"{limit.rule.limit} left"
    )
    if amount > 1:
        text += f", and this request may use {limit.written(amount)}"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if at is None:
        text += ", which is more than the whole budget."
    elif counter.spent + amount <= limit.amount:
        text += "; the rest is reserved by requests that are under way."
        headers = ((b"Retry-After", b"%d" % _SOON_S),)
    else:
        text += f". It resets at {written(at)}."
        headers = ((b"Retry-After", b"%d" % max(-(-(at - now_ms) // 1000), 1)),)
    return CallerFault(text, status=limit.rule.status, code="budget_exceeded", headers=headers)


def unpriced(limit: Limit) -> CallerFault:
    """Of a model whose price nobody knows."""
    return CallerFault(
        f"The budget {limit.name} is in USD, and nobody knows what this model costs.",
        status=limit.rule.status,
        code="budget_unpriced",
    )


def unstoppable(limit: Limit) -> CallerFault:
    """Of a stream that states no maximum and that nobody here can end."""
    return CallerFault(
        f"The budget {limit.name} ends streams in flight, and cannot end one of Amazon's events: "
        "state the most output in the request (inferenceConfig.maxTokens, or max_tokens and its "
        "like), or ask without streaming.",
        status=400,
        code="budget_unstoppable",
    )


def crowded(limit: Limit) -> OwnFault:
    """Where there is no room for one more counter."""
    return OwnFault(
        "The gateway keeps as many budgets as it can; try again later.",
        status=503,
        code="budget_unavailable",
        detail=f"rule {limit.name}: counters_max",
        headers=((b"Retry-After", b"60"),),
    )


def blind() -> OwnFault:
    """While nobody knows yet what was spent before."""
    return OwnFault(
        "The gateway is still reading what was spent before; try again in a moment.",
        status=503,
        code="budget_unavailable",
        headers=((b"Retry-After", b"1"),),
    )


def lost() -> OwnFault:
    """While the shared store is away, where that lets nobody through."""
    return OwnFault(
        "The gateway cannot count against budgets right now; try again in a moment.",
        status=503,
        code="budget_unavailable",
        detail="the store is away",
        headers=((b"Retry-After", b"1"),),
    )


def named(limit: Limit, counter: Counter) -> str:
    """Whose counter it is, in words."""
    return ", ".join(
        f'{name} "{part}"' for name, part in zip(limit.dimensions, counter.subject, strict=True)
    )
