"""Follows rows as they come: asks the store again and again for what has arrived since.

Rows come in the order in which they arrived, not in that of their starts; so those of all workers
and of other gateways on the same store are seen, once each, half a second late at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

import msgspec

from gateway import StoreAway

from .reader import Reader
from .records import LogRow, Query

POLL_S: Final = 0.5
# In memory at once; who is further behind gets the next ones at once.
PAGE: Final = 200


class Seen(NamedTuple):
    """What one look found; trouble: why the store could not be asked, or None."""

    rows: list[LogRow]
    trouble: str | None = None


async def follow(
    reader: Reader, query: Query, arrived_after: int, *, poll_s: float = POLL_S
) -> AsyncGenerator[Seen]:
    """Look twice a second, without an end. Of `query` only the conditions count."""
    query = msgspec.structs.replace(query, arrived_after=arrived_after, limit=PAGE)
    while True:
        try:
            rows = await reader.find(query)
        except StoreAway as error:
            yield Seen([], str(error))
            rows = []
        else:
            yield Seen(rows)
        if rows:
            query = msgspec.structs.replace(query, arrived_after=rows[-1].arrival)
        if len(rows) < PAGE:
            await asyncio.sleep(poll_s)
