"""How limits are written in the fields of an answer.

Ours are `weir-ratelimit-{limit,remaining,reset}-{requests,tokens}`, with the prefix that the caller
used, so that a provider's own stay what they are. A refusal has no provider's, and so it has
OpenAI's `x-ratelimit-...` of the same names, whose resets are written as "1m12s" or "120ms"; where
the caller speaks Anthropic's format also `anthropic-ratelimit-{requests,tokens}-...`, whose resets
are times of day (RFC 3339).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from gateway import Exchange, Headers, now_ms

from .holds import Hold, Note
from .memory import Refused
from .rules import Limit

Fields = tuple[tuple[bytes, bytes], ...]

_WHAT: Final = (b"limit", b"remaining", b"reset")
# Official SDKs that are told to wait for longer try again on their own terms instead.
_PATIENCE_US: Final = 60_000_000
_US_PER_MS: Final = 1000


class Names:
    """Of our fields with one prefix."""

    __slots__ = ("degraded", "every", "requests", "rule", "tokens")

    def __init__(self, prefix: bytes) -> None:
        ours = prefix + b"ratelimit-"
        self.requests = tuple(ours + what + b"-requests" for what in _WHAT)
        self.tokens = tuple(ours + what + b"-tokens" for what in _WHAT)
        self.rule = ours + b"rule"
        self.degraded = ours + b"degraded"
        self.every = frozenset((*self.requests, *self.tokens, self.rule, self.degraded))


def add_fields(headers: Headers, names: Names, note: Note) -> None:
    """Say what is left under the tightest rules of either kind."""
    if headers.among(names.every):  # an upstream that is a gateway like this one
        for name in names.every:
            headers.drop(name)
    if note.requests is not None:
        _add(headers, names.requests, note.requests)
    if note.tokens is not None:
        _add(headers, names.tokens, note.tokens)
    if note.is_degraded:
        headers.add(names.degraded, b"true")


def _add(headers: Headers, names: tuple[bytes, ...], hold: Hold) -> None:
    limit, counter = hold.limit, hold.counter
    reset_us = hold.reset_us
    if counter is not None:
        reset_us = counter.reset(limit.shape) * limit.tick_us
    headers.add(names[0], limit.shown)
    headers.add(names[1], b"%d" % hold.left)
    headers.add(names[2], lasting(reset_us))


def refusal_fields(exchange: Exchange, names: Names, refused: Refused) -> Fields:
    """What a refusal says: when to come again, which rule it was, and what is left of it."""
    limit = refused.wish.limit
    wait_us = refused.wait_us
    found: list[tuple[bytes, bytes]] = []
    if wait_us is not None:
        found.append((b"Retry-After", b"%d" % max(-(-wait_us // 1_000_000), 1)))
        found.append((b"retry-after-ms", b"%d" % max(-(-wait_us // _US_PER_MS), 1)))
    if wait_us is None or wait_us > _PATIENCE_US:
        found.append((b"x-should-retry", b"false"))
    if not limit.is_slots:
        left = max(refused.room, 0)
        what = b"requests" if limit.is_requests else b"tokens"
        values = (limit.shown, b"%d" % left, lasting(refused.reset_us))
        pairs = zip(_WHAT, values, strict=True)
        found += [(b"x-ratelimit-%b-%b" % (each, what), value) for each, value in pairs]
        if exchange.surface == "anthropic":
            at = _moment(now_ms() + refused.reset_us // _US_PER_MS)
            values = (limit.shown, b"%d" % left, at)
            kind = _anthropics(limit)
            pairs = zip(_WHAT, values, strict=True)
            found += [(b"anthropic-ratelimit-%b-%b" % (kind, each), value) for each, value in pairs]
    found.append((names.rule, limit.name.encode()))
    if refused.degraded:
        found.append((names.degraded, b"true"))
    return tuple(found)


def _anthropics(limit: Limit) -> bytes:
    return limit.unit.replace(" ", "-").encode()


def lasting(span_us: int) -> bytes:
    """A span of time as OpenAI writes it, to the second above from a second on."""
    if span_us <= 1_000_000:
        return b"1s" if span_us == 1_000_000 else b"%dms" % -(-span_us // _US_PER_MS)
    seconds = -(-span_us // 1_000_000)
    if seconds < 60:
        return b"%ds" % seconds
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return b"%dm%ds" % (minutes, seconds)
    return b"%dh%dm%ds" % (minutes // 60, minutes % 60, seconds)


def _moment(at_ms: int) -> bytes:
    at = datetime.fromtimestamp(-(-at_ms // 1000), UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
