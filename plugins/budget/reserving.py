"""Reserving what a request may cost, and putting what it did cost in the place of that.

All of a request's rules are asked before anything is added, and nothing awaits in between: a
request has all of its reservations or none. Money is that of an attempt's target. Where a request
is tried again, what its earlier attempts may have been charged for their input stays reserved.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from gateway import Attempt, CallerFault, Exchange, Usage

from .counters import Counter, Store, Tally
from .demand import Demand
from .holds import Entries, Hold, Note, Price, Prices
from .refusing import crowded, spent_up, unpriced
from .rules import Limit

# Answers that may be asked for again are remembered by the provider's id, so that each is counted
# once.
BILLED_MAX: Final = 10_000
_ID_CHARS_MAX: Final = 500


class Desk:
    """Where requests reserve and settle. tell: called once an amount has come past an alert.

    prices: what models cost, where a rule is in money.
    """

    def __init__(self, store: Store, tell: Callable[[Limit, Tally, Counter], None]) -> None:
        self.prices: Prices | None = None
        self._store = store
        self._tell = tell
        self._billed: OrderedDict[tuple[str, str], None] = OrderedDict()

    # -- before ------------------------------------------------------------------------------------

    def reserve(self, exchange: Exchange, note: Note, provider: str) -> None:
        """Hold what the request may cost at that provider. `GatewayError` where a rule refuses."""
        note.provider = provider
        demand = note.demand
        stated = demand.output
        now = self._store.clock()
        price: Price | None = None
        is_priced = False
        output, cost = -1, 0  # of the rule before: most rules ask for the same
        holds: list[Hold] = []
        least, of = 1, 0  # what is left under the tightest rule, and of how much
        for limit, tally in note.entries:
            subject = limit.subject(exchange, provider)
            if subject is None:
                continue
            expected = limit.output_default if stated is None else stated
            if not limit.in_usd:
                amount = demand.input + expected
            else:
                if not is_priced:
                    price, is_priced = self._price(exchange, note, provider), True
                if price is None:
                    amount = _unknown(limit, demand)
                else:
                    if expected != output:
                        cost = price.worst(demand.input, expected, demand.tier)
                        output = expected
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
        before = [each for each in exchange.attempts if each is not attempt and _is_charged(each)]
        if note.provider is None and not before:
            self.reserve(exchange, note, provider)
            return
        now = self._store.clock()
        price = self._price(exchange, note, provider)
        changes: list[tuple[Hold, int]] = []
        fresh: list[Hold] = []
        for limit, tally in note.entries:
            whose = provider if limit.is_by_provider else None
            amount = self._worst(limit, note.demand, price)
            subject = limit.subject(exchange, provider)
            if subject is None:
                continue
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

    def _worst(self, limit: Limit, demand: Demand, price: Price | None) -> int:
        """The most it may add to a rule."""
        output = demand.output
        if output is None:
            output = limit.output_default
        if not limit.in_usd:
            return demand.input + output
        if price is not None:
            return price.worst(demand.input, output, demand.tier)
        return _unknown(limit, demand)

    def _carried(
        self,
        exchange: Exchange,
        note: Note,
        limit: Limit,
        before: Sequence[Attempt],
        provider: str | None,
    ) -> int:
        found = 0
        for attempt in before:
            name = attempt.target.provider.name
            if provider is not None and name != provider:
                continue
            if not limit.in_usd:
                found += note.demand.input
                continue
            price = self._price(exchange, note, name)
            if price is not None:
                found += price.worst(note.demand.input, 0, note.demand.tier)
        return found

    def _price(self, exchange: Exchange, note: Note, provider: str) -> Price | None:
        model = note.demand.model
        if model is None or self.prices is None:
            return None
        return self.prices.price(provider, model, exchange.gateway)

    def _refusal(
        self, note: Note, limit: Limit, tally: Tally, counter: Counter, amount: int
    ) -> CallerFault:
        note.refused = (limit, tally, counter)
        return spent_up(limit, tally, counter, amount, self._store.clock())

    # -- while it streams --------------------------------------------------------------------------

    def extend(self, exchange: Exchange, note: Note, output: int, more: int) -> bool:
        """Hold more for a stream that has used up its reservation, under the rules that stop one.

        output: tokens of output that are held by now. more: how many in addition. False where that
        is too much for any of them; then nothing is held in addition.
        """
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
                price = self._price(exchange, note, note.provider or "")
                if price is None:
                    continue
                amount = price.worst(demand.input, output + more, demand.tier)
                amount -= price.worst(demand.input, output, demand.tier)
            if amount > hold.room():
                return False
            changes.append((hold, amount))
        for hold, amount in changes:
            hold.grow(amount)
        return True

    # -- after -------------------------------------------------------------------------------------

    def settle(self, exchange: Exchange, note: Note) -> None:
        """Put what was used in the place of what was held. Nobody knows of any: it is released."""
        holds, note.holds = note.holds, []
        attempts = exchange.attempts
        if len(attempts) == 1:
            usage = self._used(exchange, attempts[0])
            for hold in holds:
                self._replace(hold, _spent(hold.limit, usage))
            return
        used = [(each.target.provider.name, self._used(exchange, each)) for each in attempts]
        for hold in holds:
            some = (u for name, u in used if hold.provider is None or hold.provider == name)
            self._replace(hold, sum(_spent(hold.limit, usage) for usage in some))

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
                    self._replace(hold, _spent(limit, usage))

    def _replace(self, hold: Hold, spent: int) -> None:
        counter, limit = hold.counter, hold.limit
        if counter.told and hold.tally.window.is_rolling:
            counter.told = min(counter.told, limit.told_of(counter.spent))
        counter.add(hold.epoch, -hold.amount, spent)
        thresholds, told = limit.thresholds, counter.told
        # Another gateway's rule of this name may have more of them.
        if told < len(thresholds) and counter.spent >= thresholds[told]:
            counter.told = limit.told_of(counter.spent)
            self._tell(limit, hold.tally, counter)

    def _used(self, exchange: Exchange, attempt: Attempt) -> Usage | None:
        """What an attempt used, unless its answer was counted before. An answer that is still under
        way says nothing, and is told again.
        """
        usage = attempt.usage
        if usage is None or usage.response_id is None or not usage.is_known:
            return usage
        if usage.reported or b"/responses" in exchange.path:
            key = (attempt.target.provider.name, usage.response_id[:_ID_CHARS_MAX])
            if key in self._billed:
                return None
            self.bill(*key)
        return usage

    def bill(self, provider: str, response_id: str) -> None:
        """Remember an answer as counted."""
        self._billed[provider, response_id] = None
        if len(self._billed) > BILLED_MAX:
            self._billed.popitem(last=False)


def _unknown(limit: Limit, demand: Demand) -> int:
    """The same where the price is not known: nothing, and what it costs is counted if the model
    that answers has one. What names no model is let in for as long as anything is left.
    """
    if demand.model is None:
        return 1
    if limit.hard and limit.rule.unpriced == "refuse":
        raise unpriced(limit)
    return 0


def _spent(limit: Limit, usage: Usage | None) -> int:
    """What a usage comes to under a rule."""
    if usage is None:
        return 0
    if limit.in_usd:
        return usage.cost_nanousd or 0
    return (
        (usage.fresh_input or 0)
        + (usage.cache_read or 0)
        + (usage.cache_write or 0)
        + (usage.output_text or 0)
        + (usage.output_reasoning or 0)
    )


def _is_charged(attempt: Attempt) -> bool:
    """Whether a provider may charge for an attempt: it got it, and did not refuse it."""
    return attempt.sent_ns is not None and (attempt.status is None or attempt.status < 400)
