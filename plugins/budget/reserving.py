"""Reserving what a request may cost, and putting what it did cost in the place of that.

All of a request's rules are asked before anything is added, and nothing awaits in between: a
request has all of its reservations or none. Money is that of an attempt's target. Where a request
is tried again, what its earlier attempts may have been charged for their input stays reserved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gateway import Attempt, CallerFault, Exchange, Usage

from .amounts import output_of, spent, worst
from .answers import Answers
from .counters import Counter, Store, Tally
from .demand import Demand
from .holds import Entries, Hold, Note, Price, Prices
from .refusing import crowded, spent_up
from .rules import Limit

# Ends a session for want of room under a rule.
End = Callable[[Limit], None]


class Desk:
    """Where requests reserve and settle. tell: called once an amount has come past an alert.

    prices: what models cost, where a rule is in money.
    """

    def __init__(self, store: Store, tell: Callable[[Limit, Tally, Counter], None]) -> None:
        self.prices: Prices | None = None
        self._store = store
        self._tell = tell
        self.answers = Answers()

    # -- before ------------------------------------------------------------------------------------

    def reserve(self, exchange: Exchange, note: Note, provider: str) -> None:
        """Hold what the request may cost at that provider. `GatewayError` where a rule refuses."""
        note.provider = provider
        demand = note.demand
        now = self._store.clock()
        price = self._price(exchange, note, provider)
        output, cost = -1, 0  # of the rule before: most rules ask for the same
        holds: list[Hold] = []
        least, of = 1, 0  # what is left under the tightest rule, and of how much
        for limit, tally in note.entries:
            subject = limit.subject(exchange, provider)
            if subject is None:
                continue
            if price is None or not limit.in_usd:
                amount = worst(limit, demand, price)
            else:
                expected = output_of(limit, demand, price)
                if expected != output:
                    cost, output = worst(limit, demand, price), expected
                amount = cost
            window = tally.window
            if now >= window.until_ms or now < window.since_ms:
                tally.turn(now)
            counter = tally.counters.get(subject)
            if counter is None or counter.epoch != window.epoch:
                counter = self._store.counter(tally, subject, [hold.counter for hold in holds])
                if counter is None:
                    if limit.hard:
                        raise crowded(limit)
                    continue
            left = limit.amount - counter.spent - counter.reserved - amount
            if left < 0 and limit.hard and amount:
                raise self._refusal(note, limit, tally, counter, amount)
            whose = provider if limit.is_by_provider else None
            hold = Hold(limit, tally, counter, counter.epoch, amount, whose)
            holds.append(hold)
            if left * of < least * limit.amount or not of:
                least, of = left, limit.amount
                note.tightest = hold
        for hold in holds:
            hold.counter.add(hold.epoch, hold.amount, 0)
        note.holds = holds

    def retarget(self, exchange: Exchange, attempt: Attempt, note: Note) -> None:
        """The same for an attempt that goes elsewhere, or once more: beside what those before it
        may be charged for.
        """
        provider = attempt.target.provider.name
        before = [each for each in exchange.attempts if each is not attempt and is_charged(each)]
        if note.provider is None and not before:
            self.reserve(exchange, note, provider)
            return
        now = self._store.clock()
        price = self._price(exchange, note, provider)
        changes: list[tuple[Hold, int]] = []
        fresh: list[Hold] = []
        for limit, tally in note.entries:
            whose = provider if limit.is_by_provider else None
            subject = limit.subject(exchange, provider)
            if subject is None:
                continue
            amount = worst(limit, note.demand, price)
            amount += self._carried(exchange, note, limit, before, whose)
            hold = next((h for h in note.holds if h.limit is limit and h.provider == whose), None)
            if hold is not None:
                more = amount - hold.amount
                if limit.hard and more > 0 and more > hold.room():
                    raise self._refusal(note, limit, tally, hold.counter, more)
                changes.append((hold, more))
                continue
            tally.turn(now)
            counter = self._store.counter(tally, subject, [each.counter for each in fresh])
            if counter is None:
                if limit.hard:
                    raise crowded(limit)
                continue
            if limit.hard and amount and amount > limit.amount - counter.spent - counter.reserved:
                raise self._refusal(note, limit, tally, counter, amount)
            fresh.append(Hold(limit, tally, counter, counter.epoch, amount, whose))
        for hold in note.holds:  # where it does not go any more
            if hold.provider is not None and hold.provider != provider:
                left = self._carried(exchange, note, hold.limit, before, hold.provider)
                hold.grow(left - hold.amount)
        for hold, more in changes:
            hold.grow(more)
        for hold in fresh:
            hold.counter.add(hold.epoch, hold.amount, 0)
        note.holds += fresh
        note.provider = provider
        mine = [hold for hold in note.holds if hold.provider in (None, provider)]
        note.tightest = min(
            mine, key=lambda hold: hold.room() / (hold.limit.amount or 1), default=None
        )

    def _carried(
        self,
        exchange: Exchange,
        note: Note,
        limit: Limit,
        before: Sequence[Attempt],
        provider: str | None,
    ) -> int:
        found, demand = 0, note.demand
        for attempt in before:
            name = attempt.target.provider.name
            if provider is not None and name != provider:
                continue
            if not limit.in_usd:
                found += demand.input
                continue
            price = self._price(exchange, note, name) or limit.fallback
            if price is not None:
                found += price.worst(demand.input, 0, demand.tier, demand)
        return found

    def _price(
        self, exchange: Exchange, note: Note, provider: str, model: str | None = None
    ) -> Price | None:
        model = model or note.demand.model
        if model is None or self.prices is None:
            return None
        return self.prices.price(provider, model, exchange.gateway)

    def _refusal(
        self, note: Note, limit: Limit, tally: Tally, counter: Counter, amount: int
    ) -> CallerFault:
        note.refused = (limit, tally, counter)
        return spent_up(limit, tally, counter, amount, self._store.clock())

    # -- while it streams --------------------------------------------------------------------------

    def held(self, exchange: Exchange, note: Note, limits: Iterable[Limit]) -> int:
        """Tokens of output that are held under all of some rules."""
        price = self._price(exchange, note, note.provider or "")
        return min(output_of(limit, note.demand, price) for limit in limits)

    def extend(self, exchange: Exchange, note: Note, output: int, more: int) -> bool:
        """Hold more for a stream that has used up its reservation, under the rules that stop one.

        output: tokens of output that are held by now. more: how many in addition. False where that
        is too much for any of them; then nothing is held in addition.
        """
        changes = self._extension(exchange, note, output, more)
        if any(amount > hold.room() for hold, amount in changes):
            return False
        for hold, amount in changes:
            hold.grow(amount)
        return True

    def _extension(
        self, exchange: Exchange, note: Note, output: int, more: int
    ) -> list[tuple[Hold, int]]:
        changes = []
        demand = note.demand
        for hold in note.holds:
            limit = hold.limit
            if not limit.rule.stop_in_flight:
                continue
            if hold.provider is not None and hold.provider != note.provider:
                continue
            amount = more
            if limit.in_usd:
                price = self._price(exchange, note, note.provider or "") or limit.fallback
                if price is None:
                    continue
                amount = price.worst(demand.input, output + more, demand.tier)
                amount -= price.worst(demand.input, output, demand.tier)
            changes.append((hold, amount))
        return changes

    def renew(self, exchange: Exchange, note: Note, used: Usage, demand: Demand, end: End) -> None:
        """Hold what a session has used and what it may use next.

        used: by all of its answers so far. demand: of those that are to come. end: called with a
        hard rule that has no room for that; then everything stays as it is.
        """
        changes = self._renewal(exchange, note, used, demand)
        if isinstance(changes, Limit):
            end(changes)
            return
        for hold, more in changes:
            if hold.limit.hard and more > 0 and more > hold.room():
                end(hold.limit)
                return
        for hold, more in changes:
            hold.grow(more)

    def _renewal(
        self, exchange: Exchange, note: Note, used: Usage, demand: Demand
    ) -> list[tuple[Hold, int]] | Limit:
        price = self._price(exchange, note, note.provider or "", demand.model)
        usage = Usage()
        usage.add(used)
        usage.cost_nanousd = None if price is None else price.cost(used)
        changes = []
        for hold in note.holds:
            limit = hold.limit
            if hold.provider is not None and hold.provider != note.provider:
                continue
            try:
                amount = spent(limit, usage) + worst(limit, demand, price)
            except CallerFault:  # by now it has said its model, and nobody knows the price
                return limit
            changes.append((hold, amount - hold.amount))
        return changes

    # -- after -------------------------------------------------------------------------------------

    def settle(self, exchange: Exchange, note: Note) -> None:
        """Put what was used in the place of what was held. Nobody knows of any: it is released."""
        holds, note.holds = note.holds, []
        attempts = exchange.attempts
        if len(attempts) == 1:
            usage = self._used(exchange, attempts[0])
            for hold in holds:
                self._replace(hold, spent(hold.limit, usage))
            return
        used = [(each.target.provider.name, self._used(exchange, each)) for each in attempts]
        for hold in holds:
            some = (u for name, u in used if hold.provider is None or hold.provider == name)
            self._replace(hold, sum(spent(hold.limit, usage) for usage in some))

    def count(self, exchange: Exchange, entries: Entries) -> None:
        """Count what was used by a request that nothing was held for: a result read later."""
        now = self._store.clock()
        for attempt in exchange.attempts:
            usage = self._used(exchange, attempt)
            if usage is None:
                continue
            for limit, tally in entries:
                subject = limit.subject(exchange, attempt.target.provider.name)
                if subject is None:
                    continue
                tally.turn(now)
                counter = self._store.counter(tally, subject)
                if counter is not None:
                    hold = Hold(limit, tally, counter, counter.epoch, 0)
                    self._replace(hold, spent(limit, usage))

    def _replace(self, hold: Hold, used: int) -> None:
        counter, limit = hold.counter, hold.limit
        if counter.told and hold.tally.window.is_rolling:
            counter.told = min(counter.told, limit.told_of(counter.spent))
        counter.add(hold.epoch, -hold.amount, used)
        thresholds, told = limit.thresholds, counter.told
        # Another gateway's rule of this name may have more of them.
        if told < len(thresholds) and counter.spent >= thresholds[told]:
            counter.told = limit.told_of(counter.spent)
            self._tell(limit, hold.tally, counter)

    def _used(self, exchange: Exchange, attempt: Attempt) -> Usage | None:
        """What an attempt used, as far as its answer was not counted before. One that is still
        under way says nothing, and is told again.
        """
        usage = attempt.usage
        if usage is None or usage.response_id is None or not usage.is_known:
            return usage
        path = exchange.path
        if usage.reported or b"/responses" in path or b"/interactions" in path:
            return self.answers.new_in(attempt.target.provider.name, usage.response_id, usage)
        return usage


def is_charged(attempt: Attempt) -> bool:
    """Whether a provider may charge for an attempt: it got it, and did not refuse it."""
    return attempt.sent_ns is not None and (attempt.status is None or attempt.status < 400)
