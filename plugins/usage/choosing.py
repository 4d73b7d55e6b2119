"""Who watches an answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from gateway import Attempt, Exchange

from .later import Price, Prices, Results, results_of
from .session import Session
from .watching import Events, Lines, Messages, Watcher
from .whole import Whole

EVENT_STREAM: Final = b"text/event-stream"
_JSON: Final = b"application/json"
_KIND: Final = frozenset({b"content-type"})


def watcher_of(
    exchange: Exchange, attempt: Attempt, prices: Callable[[], Prices | None] = lambda: None
) -> Watcher | None:
    """Who can read this answer; None where it holds no counts, or nobody knows how.

    prices: asked for where an answer holds many others.
    """
    status = attempt.status
    if status == 101:
        return Session()
    if status is None or status >= 400:
        return None
    kind = kind_of(attempt)
    posted = exchange.method == b"POST"
    if kind == _JSON and posted:
        return Whole(always=True)
    if kind == EVENT_STREAM:
        return Events()
    if status == 200 and exchange.method == b"GET":
        of = results_of(exchange.path)
        if of is not None:
            return Results(of, _pricing(exchange, attempt, prices()))
    if kind.endswith((b"/json", b"+json")):
        return Whole(always=posted)
    if kind == b"application/vnd.amazon.eventstream":
        return Messages()
    if kind in (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines"):
        return Lines()
    return None


def _pricing(
    exchange: Exchange, attempt: Attempt, prices: Prices | None
) -> Callable[[str], Price | None] | None:
    if prices is None:
        return None
    provider, gateway = attempt.target.provider.name, exchange.gateway
    return lambda model: prices.price(provider, model, gateway)


def kind_of(attempt: Attempt) -> bytes:
    """The type of an answer, without its parameters and in small letters."""
    found = attempt.response_among(_KIND)
    return _plain(found[0][1]) if found else b""


@lru_cache(256)
def _plain(kind: bytes) -> bytes:
    return kind.partition(b";")[0].strip().lower()
