"""Rules: what the configuration says, and the same ready for a request."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec

from gateway import Rate, Subject, check_scopes, parse_rate, subject_of

from .shapes import COUNTERS, SLOTS, Counter, Shape

REQUESTS: Final = "requests"
INPUT: Final = "input tokens"
OUTPUT: Final = "output tokens"
CONCURRENT: Final = "concurrent"
_NAME: Final = re.compile(r"[\x21-\x7e]{1,100}")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit.

    name: What it is called in refusals and headers.
    scope: Whose requests are counted together; one of gateway, key, team, user, provider, model,
        address, metadata.NAME, or a list of them.
    limit: So much in a time, "50/min" or "100k tokens/hour", or at once, "8 concurrent".
    shape: "bucket" fills up steadily, "fixed" is a window from the first request on, "sliding"
        weighs the last window with the present one.
    counts: "upstream" counts what is sent on, "calls" also what a cache answers.
    mode: "enforce" refuses, "shadow" only reports what it would refuse.
    output_default: Tokens of output reserved for a request that states no maximum.
    """

    name: str
    scope: str | tuple[str, ...]
    limit: str
    shape: Literal["bucket", "fixed", "sliding"] = "bucket"
    counts: Literal["upstream", "calls"] = "upstream"
    mode: Literal["enforce", "shadow"] = "enforce"
    output_default: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 1024

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name: wanted 1 to 100 printable characters without a space")
        for key, check in (
            ("scope", lambda: check_scopes(self.scopes)),
            ("limit", lambda: shape_of(parse_rate(self.limit), self.shape)),
        ):
            try:
                check()
            except ValueError as error:
                raise ValueError(f"{key}: of the rule {self.name}: {error}") from error
        if self.counts == "calls" and "provider" in self.scopes:
            raise ValueError(
                f'counts: of the rule {self.name}: "calls" are counted before a provider is known; '
                'take "provider" out of its scope, or count "upstream"'
            )

    @property
    def scopes(self) -> tuple[str, ...]:
        return (self.scope,) if isinstance(self.scope, str) else self.scope


def shape_of(rate: Rate, kind: str) -> Shape:
    """ValueError where it is too large to be counted exactly."""
    return Shape(SLOTS if rate.unit == CONCURRENT else kind, rate.amount, rate.window_s)


class Limit:
    """A rule ready for use, with its counters in this process.

    unit: what it counts; is_requests, is_tokens, is_slots: the same as flags. amount: the most.
    subject: finds a request's among its counters; None where the request has none.
    is_by_provider: whether an attempt's target decides which. shown: its limit for a header.
    local: the same limit by a share, for while a shared store is away.
    """

    __slots__ = (
        "amount",
        "counter",
        "counters",
        "enforced",
        "is_by_provider",
        "is_requests",
        "is_slots",
        "is_tokens",
        "key",
        "local",
        "name",
        "rule",
        "scopes",
        "shape",
        "shown",
        "subject",
        "tick_us",
        "unit",
        "window_s",
    )

    def __init__(self, rule: Rule, share: int = 1) -> None:
        rate = parse_rate(rule.limit)
        self.rule = rule
        self.name = rule.name
        self.scopes = rule.scopes
        self.unit = rate.unit
        self.window_s = rate.window_s
        self.amount = max(rate.amount // share, 1)
        self.shape = shape_of(rate._replace(amount=self.amount), rule.shape)
        self.tick_us = self.shape.tick_us
        self.enforced = rule.mode == "enforce"
        self.is_requests = rate.unit == REQUESTS
        self.is_slots = rate.unit == CONCURRENT
        self.is_tokens = not self.is_requests and not self.is_slots
        self.is_by_provider = "provider" in rule.scopes
        self.subject = subject_of(rule.scopes)
        self.counters: dict[Subject, Counter] = {}
        self.counter: type[Counter] = COUNTERS[self.shape.kind]
        self.shown = b"%d" % self.amount
        self.key = f"{{weir}}:{rule.name}:{self.shape.kind}:{rate.amount}:{rate.window_s}:".encode()
        self.local: Limit | None = None

    def ticks(self, now_us: int) -> int:
        return now_us // self.tick_us

    def wait_us(self, counter: Counter, amount: int) -> int | None:
        """How long until so much fits; None for never. The counter is up to date."""
        if amount > self.amount:
            return None
        return counter.wait(self.shape, amount) * self.tick_us

    def reset_us(self, counter: Counter) -> int:
        """How long until the whole limit is there again. The counter is up to date."""
        return counter.reset(self.shape) * self.tick_us


def borrowed(whose: str, written: str) -> Rule:
    """The rule of a limit that came with an identity. whose: "key", "team" or "user"."""
    return Rule(name=f"{whose}-limit", scope=whose, limit=written)


def named(limit: Limit, subject: Subject) -> str:
    """Whose counter it is, in words."""
    parts = (subject,) if isinstance(subject, str) else subject
    return ", ".join(f'{name} "{part}"' for name, part in zip(limit.scopes, parts, strict=True))
