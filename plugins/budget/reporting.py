"""Rules and counters as a report shows them: amounts are nano-dollars or tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from .counters import Counter, Tally
from .rules import Limit
from .windows import written

# Of one rule those are shown that are the nearest to their limit.
SHOWN_MAX: Final = 1000


class Subject(Struct):
    """Whose spending is counted, and what was spent in the window of now.

    subject: The value of each name in the rule's scope.
    spent: Of requests that are over.
    reserved: For requests that run.
    remaining: What is left of the limit.
    share: Spent, as a part of the limit; null where that is zero.
    resets_at: When some of it counts no more, in UTC.
    """

    subject: dict[str, str]
    spent: int
    reserved: int
    remaining: int
    share: float | None
    resets_at: str


class Budget(Struct):
    """A rule, and those who have spent under it.

    scope: Whose spending is counted together.
    limit: As it is configured.
    unit: Of all amounts: billionths of a dollar, or tokens.
    amount: The limit as a number.
    zone: The time zone of a calendar.
    hard: Whether requests are refused because of it.
    counters: How many have spent; subjects are at most 1000 of them.
    subjects: The nearest to their limit first.
    """

    name: str
    scope: list[str]
    limit: str
    unit: Literal["nanousd", "tokens"]
    amount: int
    window: Literal["calendar", "rolling"]
    zone: str
    hard: bool
    counters: int
    subjects: list[Subject]


class Budgets(Struct):
    """What is spent, reserved and left of each budget.

    rules: Those of all gateways; one that several share stands once.
    """

    rules: list[Budget]


def report(entries: Iterable[tuple[Limit, Tally]], now_ms: int) -> Budgets:
    return Budgets([_budget(limit, tally, now_ms) for limit, tally in entries])


def _budget(limit: Limit, tally: Tally, now_ms: int) -> Budget:
    """A rule with its counters, as far as they hold anything."""
    tally.turn(now_ms)
    counters = list(tally.counters.values())
    for counter in counters:
        counter.turn(tally.window)
    return budget(limit, tally, [each for each in counters if each.spent or each.reserved])


def budget(limit: Limit, tally: Tally, counters: list[Counter]) -> Budget:
    """A rule with those of its counters that hold anything."""
    counters.sort(key=lambda each: -(each.spent + each.reserved))
    rule = limit.rule
    return Budget(
        name=limit.name,
        scope=list(limit.dimensions),
        limit=rule.limit,
        unit="nanousd" if limit.in_usd else "tokens",
        amount=limit.amount,
        window=rule.window,
        zone=rule.zone,
        hard=limit.hard,
        counters=len(counters),
        subjects=[subject_of(limit, tally, each) for each in counters[:SHOWN_MAX]],
    )


def subject_of(limit: Limit, tally: Tally, counter: Counter) -> Subject:
    window = tally.window
    return Subject(
        subject=dict(zip(limit.dimensions, counter.subject, strict=True)),
        spent=counter.spent,
        reserved=counter.reserved,
        remaining=max(limit.amount - counter.spent - counter.reserved, 0),
        share=round(counter.spent / limit.amount, 6) if limit.amount else None,
        resets_at=written(counter.resets_ms(window)),
    )


def answered(found: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(found)
    return web.Response(body=body, status=status, content_type="application/json")
