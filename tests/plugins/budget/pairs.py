"""The same counters in memory and in Redis, whose scripts get a clock that a test sets."""

from __future__ import annotations

from functools import partial
from typing import Any

import redis

from gateway import Script
from plugins.budget.counters import Store
from plugins.budget.holds import Hold
from plugins.budget.places import Place
from plugins.budget.reserving import Desk
from plugins.budget.rules import Limit, Rule
from plugins.budget.scripts import GIVE, TAKE
from plugins.budget.settling import alerts_of
from plugins.budget.windows import window_of, zone_of

# Far from now: keys expire at times of day, and must not while a test's clock stands there.
START_MS = 4_102_444_800_000 + 12_345
NAME = b'["s"]'
LEASE_MS = 10**9


def clocked(script: Script) -> str:
    """The script with a clock that the test sets."""
    time = b"{redis.call('GET', '{weir}:s'), redis.call('GET', '{weir}:us')}"
    assert script.text.count(b"redis.call('TIME')") == 1
    return script.text.replace(b"redis.call('TIME')", time).decode()


class Pair:
    """rules: each has one counter. told: alerts, of memory and of Redis."""

    def __init__(self, client: redis.Redis, *rules: dict[str, Any], reads: bool = False) -> None:
        client.flushdb()
        self.client = client
        self.now_ms = START_MS
        self.reads = b"1" if reads else b"0"
        self.told: tuple[list[str], list[str]] = ([], [])
        self.store = Store(1000, lambda: self.now_ms)
        self.desk = Desk(self.store, lambda limit, *_: self.told[0].append(limit.name))
        self.entries = []
        for number, keys in enumerate(rules):
            limit = Limit(Rule(**{"name": f"r{number}", "scope": "gateway", **keys}))
            make = partial(window_of, limit.period, limit.rule.window, zone_of(limit.rule.zone))
            self.entries.append((limit, self.store.tally(limit.key, make)))
        self.places = [Place(limit) for limit, _ in self.entries]
        self.calls = 0
        self.generations = [0 for _ in rules]

    def run(self, script: Script, arguments: list[Any], *more: bytes) -> Any:
        clock = {"{weir}:s": self.now_ms // 1000, "{weir}:us": self.now_ms % 1000 * 1000}
        self.client.mset(clock)
        keys = [key for place in self.places for key in place.keys(NAME)]
        keys += more
        return self.client.eval(clocked(script), len(keys), *keys, *arguments)

    def spans(self) -> list[list[bytes]]:
        pairs = zip(self.places, self.entries, strict=True)
        return [place.span(tally, self.now_ms) for place, (_, tally) in pairs]

    def take(self, cost: int, name: str) -> tuple[int, int, list[Hold]]:
        """Who refuses here and there, counted from 1, and what is held here."""
        holds = []
        refusing = 0
        for number, (limit, tally) in enumerate(self.entries):
            tally.turn(self.now_ms)
            counter = self.store.counter(tally, "s")
            assert counter is not None
            left = limit.amount - counter.spent - counter.reserved - cost
            if left < 0 and limit.hard and cost and not refusing:
                refusing = number + 1
            holds.append(Hold(limit, tally, counter, counter.epoch, cost))
        if not refusing:
            for hold in holds:
                hold.counter.add(hold.epoch, cost, 0)
        reply = self.asked(name, [cost for _ in holds])
        if reply[0] == 0:
            self.generations = [each[3] for each in reply[2:]]
            assert [each[2] for each in reply[2:]] == [hold.epoch for hold in holds]
        return refusing, reply[0], holds

    def asked(self, name: str, amounts: list[int], of: bytes = b"") -> list[Any]:
        arguments: list[Any] = [name, LEASE_MS, self.reads]
        for span, (limit, _), amount in zip(self.spans(), self.entries, amounts, strict=True):
            arguments += [*span, limit.amount, int(limit.hard), amount, of, NAME]
        found: list[Any] = self.run(TAKE, arguments)
        return found

    def give(
        self,
        name: str,
        holds: list[Hold],
        used: int,
        *,
        ended_us: int = 0,
        answer: bytes = b"",
        number: int = 0,
        key: bytes | None = None,
    ) -> list[Any]:
        """Settle in both; with no holds there only."""
        for hold in holds:
            self.desk._replace(hold, used)
        self.calls += 1
        arguments: list[Any] = [name, number or self.calls, self.reads, ended_us, answer]
        for place, (span, (limit, tally)) in enumerate(
            zip(self.spans(), self.entries, strict=True)
        ):
            epoch = holds[place].epoch if holds else tally.window.epoch
            generation = self.generations[place]
            arguments += [*span, epoch, used, generation, alerts_of(limit), NAME]
        last = [b"{weir}:p"] if key is None else [b"{weir}:p", key]
        reply: list[Any] = self.run(GIVE, arguments, *last)
        tells = zip(self.entries, reply[1:], strict=False)
        self.told[1].extend(limit.name for (limit, _), each in tells if each[3])
        return reply

    def here(self) -> list[tuple[int, int]]:
        """Spent and reserved in memory."""
        found = []
        for _, tally in self.entries:
            tally.turn(self.now_ms)
            counter = self.store.counter(tally, "s")
            assert counter is not None
            found.append((counter.spent, counter.reserved))
        return found

    def there(self) -> list[tuple[int, int]]:
        """The same in Redis; to hold nothing changes nothing."""
        reply = self.asked("", [0 for _ in self.entries])
        return [(each[0], each[1]) for each in reply[2:]]
