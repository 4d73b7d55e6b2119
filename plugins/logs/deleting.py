"""Deletes rows in steps, so that those who write are not held up for long."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway import now_ms

from .reader import Reader
from .records import Query

STEP: Final = 500


async def delete(reader: Reader, query: Query) -> int:
    """Delete all rows of a query, whatever its limit says; how many went.

    What begins from now on is not meant, and would keep this from ending. `StoreAway` in the
    middle: those that went are gone.
    """
    step = msgspec.structs.replace(query, limit=STEP)
    if query.until_ms is None and query.id is None:
        step = msgspec.structs.replace(step, until_ms=now_ms() + 1)
    total = gone = await reader.delete(step)
    while gone == STEP:
        gone = await reader.delete(step)
        total += gone
    return total
