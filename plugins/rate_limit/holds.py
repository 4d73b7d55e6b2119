"""What an exchange holds under each of its rules, until it is settled."""

from __future__ import annotations

import msgspec

from gateway import CACHED, Attempt, Exchange, Subject

from .demand import demand_of
from .rules import INPUT, OUTPUT, Limit
from .shapes import Counter


class Wish(msgspec.Struct, gc=False):
    """What a request needs of one subject's counter."""

    limit: Limit
    subject: Subject
    amount: int


class Hold(msgspec.Struct, gc=False):
    """What it got. left: how much was left then. reset_us: until all would be there again.

    epoch: of the counter, for giving back. provider: whose it is for; None is any's.
    counter: in this process; None where the shared store has it.
    """

    limit: Limit
    subject: Subject
    amount: int
    left: int
    counter: Counter | None = None
    epoch: int = 0
    reset_us: int = -1
    provider: str | None = None


class Ready(msgspec.Struct, frozen=True):
    """The rules of an exchange by when they are asked.

    calls: before a cache is. plain: before it is sent. by_provider: once it is known where to.
    """

    calls: tuple[Limit, ...] = ()
    plain: tuple[Limit, ...] = ()
    by_provider: tuple[Limit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.plain or self.by_provider or self.calls)


class Note(msgspec.Struct, gc=False):
    """Of one exchange. requests, tokens: of its holds of either kind, the one with the least left.

    key: its name in a shared store. is_degraded: that store was away.
    """

    ready: Ready
    holds: list[Hold] = []
    requests: Hold | None = None
    tokens: Hold | None = None
    provider: str | None = None
    demand: tuple[int, int | None] | None = None
    key: bytes = b""
    is_degraded: bool = False

    def amount(self, exchange: Exchange, limit: Limit) -> int:
        """What a rule has to have room for."""
        if not limit.is_tokens:
            return 1
        if self.demand is None:
            self.demand = demand_of(exchange)
        read, stated = self.demand
        if limit.unit == INPUT:
            return read
        output = limit.rule.output_default if stated is None else stated
        amount = output if limit.unit == OUTPUT else read + output
        if stated is None and amount > limit.amount:
            # A guess alone is no reason to refuse what a whole limit would do for.
            return max(limit.amount, read if limit.unit != OUTPUT else 0)
        return amount

    def add(self, hold: Hold) -> None:
        self.holds.append(hold)
        limit = hold.limit
        if limit.is_requests:
            if self.requests is None or hold.left < self.requests.left:
                self.requests = hold
        elif limit.is_tokens and (self.tokens is None or hold.left < self.tokens.left):
            self.tokens = hold


def backs(exchange: Exchange, note: Note) -> list[tuple[Hold, int]]:
    """What an ended exchange gives back of its holds; negative where it used more than that."""
    holds, note.holds = note.holds, []
    attempts = exchange.attempts
    if len(attempts) != 1 or attempts[0].sent_ns is None:
        every = [(hold, _surplus(exchange, hold)) for hold in holds]
        return [(hold, back) for hold, back in every if back]
    attempt = attempts[0]
    found = []
    for hold in holds:
        limit = hold.limit
        if limit.is_slots:
            found.append((hold, hold.amount))
        elif limit.is_tokens:
            back = hold.amount - _used(hold, attempt)
            if back:
                found.append((hold, back))
    return found


def _surplus(exchange: Exchange, hold: Hold) -> int:
    """The same of one hold, whatever came of the exchange."""
    limit = hold.limit
    if limit.is_slots:
        return hold.amount
    attempts = exchange.attempts
    if hold.provider is not None:
        attempts = [each for each in attempts if each.target.provider.name == hold.provider]
    sent = [each for each in attempts if each.sent_ns is not None]
    if not sent:
        # A cache answered: that is a call, without tokens of anybody's.
        is_call = limit.is_requests and limit.rule.counts == "calls"
        return 0 if is_call and exchange.outcome == CACHED else hold.amount
    if limit.is_requests:
        return 0
    return hold.amount - sum(_used(hold, attempt) for attempt in sent)


def _used(hold: Hold, attempt: Attempt) -> int:
    """Tokens that an attempt used which was sent."""
    usage = attempt.usage
    if usage is None:
        return _unread(hold, attempt)
    # Not `usage.input`: this is for every request.
    read = (usage.fresh_input or 0) + (usage.cache_read or 0) + (usage.cache_write or 0)
    wrote = (usage.output_text or 0) + (usage.output_reasoning or 0)
    if not read and not wrote and not usage.is_known:
        return _unread(hold, attempt)
    if usage.reported:
        return 0
    unit = hold.limit.unit
    return read if unit == INPUT else wrote if unit == OUTPUT else read + wrote


def _unread(hold: Hold, attempt: Attempt) -> int:
    """Nobody read what it was; a refusal costs nothing."""
    return hold.amount if attempt.status is not None and attempt.status < 400 else 0
