"""Rules and counters as a report shows them: amounts are nano-dollars or tokens."""

from __future__ import annotations

from typing import Any, Final

from .counters import Counter, Tally
from .rules import Limit
from .windows import written

# Of one rule those are shown that are the nearest to their limit.
SHOWN_MAX: Final = 1000


def rule_document(limit: Limit, tally: Tally, now_ms: int) -> dict[str, Any]:
    """A rule with its counters, as far as they hold anything."""
    tally.turn(now_ms)
    counters = list(tally.counters.values())
    for counter in counters:
        counter.turn(tally.window)
    counters = [each for each in counters if each.spent or each.reserved]
    counters.sort(key=lambda each: -(each.spent + each.reserved))
    rule = limit.rule
    return {
        "name": limit.name,
        "scope": list(limit.dimensions),
        "limit": rule.limit,
        "unit": "nanousd" if limit.in_usd else "tokens",
        "amount": limit.amount,
        "window": rule.window,
        "zone": rule.zone,
        "hard": limit.hard,
        "counters": len(counters),
        "subjects": [document_of(limit, tally, each) for each in counters[:SHOWN_MAX]],
    }


def document_of(limit: Limit, tally: Tally, counter: Counter) -> dict[str, Any]:
    """A counter."""
    window = tally.window
    return {
        "subject": dict(zip(limit.dimensions, counter.subject, strict=True)),
        "spent": counter.spent,
        "reserved": counter.reserved,
        "remaining": max(limit.amount - counter.spent - counter.reserved, 0),
        "share": round(counter.spent / limit.amount, 6) if limit.amount else None,
        "resets_at": written(counter.resets_ms(window)),
    }
