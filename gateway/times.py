"""Times of day, as kept rows and those who ask for them speak of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from gateway.units import parse_duration


def now_ms() -> int:
    """The time of day, in milliseconds since 1970: what an id of now begins with."""
    return time.time_ns() // 1_000_000


def parse_time(text: str, now: int) -> int:
    """A time as people write it: ISO 8601, in UTC where it does not say, or how long ago (`7d`).

    In milliseconds since 1970. ValueError for anything else.
    """
    try:
        return now - parse_duration(text) // 1_000_000
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f'{text!r}: wanted a time such as "2026-11-28" or "2026-11-28T09:00Z", or how long '
            'ago, such as "7d"'
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp() * 1000)
