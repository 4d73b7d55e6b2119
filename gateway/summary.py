"""What an exchange came to, as one record for a log.

It holds no field, no body and no query, and what the exchange did not come to know is left out.
Here and not in a plugin, because every log and export wants it and it is made for every request.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.exchange import Exchange

# A path is the caller's to choose, as long as a head may be; what a log shows of it is not.
SHOWN_PATH_BYTES_MAX: Final = 1024
# The text of the last second told.
_second = 0
_shown_second = ""


def summary(exchange: Exchange, event: str) -> dict[str, Any]:
    """The record of an exchange that is over, in the order in which people read it. Durations are
    milliseconds to three places.
    """
    ended = exchange.ended_ns or time.monotonic_ns()
    started, answered, provider = exchange.started_ns, exchange.answered_ns, exchange.provider
    attempt = exchange.attempt
    if attempt is not None:
        provider = attempt.target.provider
    found: dict[str, Any] = {
        "timestamp": time_of_day(ended),
        "level": "info",
        "event": event,
        "id": exchange.id,
    }
    if exchange.parent_id is not None:
        found["parent_id"] = exchange.parent_id
    found["method"] = exchange.method.decode("ascii", "backslashreplace")
    path = exchange.target.partition(b"?")[0][:SHOWN_PATH_BYTES_MAX]
    found["path"] = path.decode("utf-8", "backslashreplace")
    found["gateway"] = exchange.gateway
    if provider is not None:
        found["provider"] = provider.name
    if exchange.model is not None:
        found["model"] = exchange.model
    if exchange.status is not None:
        found["status"] = exchange.status
    found["outcome"] = exchange.outcome
    if exchange.error is not None:
        found["error"] = exchange.error.code
    found["attempts"] = len(exchange.attempts)
    found["peer"] = exchange.peer
    if exchange.identity is not None and exchange.identity.key_id is not None:
        found["key_id"] = exchange.identity.key_id
    found["bytes_received"] = exchange.bytes_received
    found["bytes_sent"] = exchange.bytes_sent
    found["duration_ms"] = _ms(ended - started)
    if answered is not None:
        found["head_ms"] = _ms(answered - started)
    if attempt is not None:
        if attempt.connected_ns is not None:
            found["connect_ms"] = _ms(attempt.connected_ns - attempt.started_ns)
        if attempt.first_byte_ns is not None and attempt.sent_ns is not None:
            found["upstream_ms"] = _ms(attempt.first_byte_ns - attempt.sent_ns)
    return found


def time_of_day(monotonic_ns: int) -> str:
    """An instant of the monotonic clock as ISO 8601 in UTC to the millisecond, by what the clock of
    the day says now.
    """
    global _second, _shown_second
    ns = time.time_ns() - time.monotonic_ns() + monotonic_ns
    second = ns // 1_000_000_000
    if second != _second:
        _second = second
        _shown_second = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
    thousandths = str(1000 + ns // 1_000_000 % 1000)
    return _shown_second + thousandths[1:] + "Z"


def _ms(ns: int) -> float:
    return (ns + 500) // 1000 / 1000
