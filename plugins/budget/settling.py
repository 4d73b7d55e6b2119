"""Settling in the shared store: what was used comes in the place of what was held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway import Exchange, RedisLink, Usage

from .amounts import spent
from .book import Book
from .counters import Counter, Tally
from .owing import Answer, Due, Owing
from .places import Held, snapshot
from .rules import Limit

_ID_CHARS_MAX: Final = 500


class Settling:
    """name: the process's. tell: called once an amount has come past an alert."""

    def __init__(
        self,
        book: Book,
        link: RedisLink,
        name: bytes,
        tell: Callable[[Limit, Tally, Counter], None],
    ) -> None:
        self._book = book
        self._tell = tell
        self.owing = Owing(link, name, self._encoded, self._heard)

    def give(self, exchange: Exchange, key: bytes, holds: Sequence[Held]) -> None:
        """Count what was used under each hold, and free it. An answer that may be asked for again
        has a call of its own, as it is counted once only. key: the name that holds have there.
        """
        now, ended_us = self._book.clock(), ended_at_us(exchange)
        plain, every = [0] * len(holds), [0] * len(holds)
        for attempt in exchange.attempts:
            usage, provider = attempt.usage, attempt.target.provider.name
            used = [
                spent(hold.limit, usage) if hold.provider in (None, provider) else 0
                for hold in holds
            ]
            every = [one + more for one, more in zip(every, used, strict=True)]
            answer = _answer(exchange, provider, usage)
            if answer is None:
                plain = [one + more for one, more in zip(plain, used, strict=True)]
            elif any(used):
                self.owing.add(Due(b"", ended_us, list(zip(holds, used, strict=True)), answer))
        for hold, amount in zip(holds, every, strict=True):
            self._book.shares.give(hold, amount, now)
        backs = [pair for pair in zip(holds, plain, strict=True) if key or pair[1]]
        if backs:
            self.owing.add(Due(key, ended_us, backs))

    def _encoded(self, due: Due) -> tuple[list[bytes], list[bytes]]:
        now = self._book.clock()
        keys: list[bytes] = []
        answer = b"" if due.answer is None else due.answer.known
        reads = b"1" if self._book.reads else b"0"
        arguments = [due.key, b"%d" % due.number, reads, b"%d" % due.ended_us, answer]
        for hold, amount in due.backs:
            keys += hold.place.keys(hold.name)
            arguments += hold.place.span(hold.tally, now)
            generation = b"%d" % hold.generation
            alerts = alerts_of(hold.limit)
            arguments += (b"%d" % hold.epoch, b"%d" % amount, generation, alerts, hold.name)
        return keys, arguments

    def _heard(self, due: Due, reply: list[Any]) -> None:
        self._book.hear_clock(reply[0])
        for (hold, _), (used, reserved, epoch, tells) in zip(due.backs, reply[1:], strict=False):
            if epoch:
                self._book.hear(hold, used + reserved)
            if tells:
                steps = [[epoch, reserved, used]]
                counter = snapshot(hold.counter.subject, hold.tally, used, reserved, steps)
                counter.told = hold.limit.told_of(used)
                self._tell(hold.limit, hold.tally, counter)


def alerts_of(limit: Limit) -> bytes:
    """The amounts of a rule's alerts, for a script."""
    return b",".join([b"%d" % int(each) for each in limit.thresholds[:-1]])


def ended_at_us(exchange: Exchange) -> int:
    """When an exchange ended, in microseconds since 1970, just as its row in a ledger says it."""
    began_us = int(exchange.id.replace("-", "")[:12], 16) * 1000
    ended_ns = exchange.ended_ns or exchange.started_ns
    return began_us + (ended_ns - exchange.started_ns) // 1000


def _answer(exchange: Exchange, provider: str, usage: Usage | None) -> Answer | None:
    if usage is None or usage.response_id is None or not usage.is_known:
        return None
    path = exchange.path
    if not (usage.reported or b"/responses" in path or b"/interactions" in path):
        return None
    known = b"e" if usage.estimated else b"n" if usage.cost_nanousd is None else b"d"
    if usage.reported:
        known += b"r"
    return Answer(provider, usage.response_id[:_ID_CHARS_MAX], known)
