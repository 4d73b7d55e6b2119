"""Answers that may be asked for again, by their provider's ids: each is counted once.

What was counted by a guess, or without a price, is corrected once its provider tells more, as the
ledger does it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from gateway import Usage

# So many of the latest are remembered, and read from the ledger at a start.
ANSWERS_MAX: Final = 10_000
_ID_CHARS_MAX: Final = 500
_SUMMED: Final = (
    "fresh_input",
    "cache_read",
    "cache_write",
    "output_text",
    "output_reasoning",
    "cost_nanousd",
)


class Answers:
    """Those that were counted, and what of, where that may be corrected."""

    def __init__(self) -> None:
        # What of it may be corrected, and whether who told of it only asked again.
        self._known: OrderedDict[tuple[str, str], tuple[Usage | None, bool]] = OrderedDict()

    def note(self, provider: str, response_id: str) -> None:
        """Remember one as counted for good."""
        self._keep((provider, response_id[:_ID_CHARS_MAX]), None, reported=False)

    def new_in(self, provider: str, response_id: str, usage: Usage) -> Usage | None:
        """What of an answer's usage is not counted yet; None where all of it is.

        Two answers of which neither was asked for again are two, whatever ids a provider gives.
        """
        key = (provider, response_id[:_ID_CHARS_MAX])
        if key not in self._known:
            may_change = usage.estimated or usage.cost_nanousd is None
            self._keep(key, usage if may_change else None, reported=usage.reported)
            return usage
        first, was_reported = self._known[key]
        if not usage.reported and not was_reported:
            return usage
        if first is None or usage.estimated:
            return None
        if not first.estimated and usage.cost_nanousd is None:
            return None
        self._known[key] = (None, was_reported)
        return _less(usage, first)

    def _keep(self, key: tuple[str, str], first: Usage | None, *, reported: bool) -> None:
        self._known[key] = (first, reported)
        if len(self._known) > ANSWERS_MAX:
            self._known.popitem(last=False)


def _less(usage: Usage, first: Usage) -> Usage:
    """What a usage has beyond an earlier one; counts may be below zero."""
    more = Usage()
    for name in _SUMMED:
        count = getattr(usage, name)
        if count is not None:
            setattr(more, name, count - (getattr(first, name) or 0))
    return more
