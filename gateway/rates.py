"""Limits as people write them: "50/min", "100k tokens/min", "8 concurrent", "200 USD/month"."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NamedTuple

REQUESTS: Final = "requests"
TOKENS: Final = "tokens"
INPUT_TOKENS: Final = "input tokens"
OUTPUT_TOKENS: Final = "output tokens"
CONCURRENT: Final = "concurrent"
UNITS: Final = (REQUESTS, TOKENS, INPUT_TOKENS, OUTPUT_TOKENS)
# Far beyond any use, and within what a counter of Lua, a float of 53 bits, holds exactly.
AMOUNT_MAX: Final = 10**15
WINDOW_MAX_S: Final = 366 * 86_400  # what lasts longer is a budget
_SECONDS: Final = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "day": 86_400,
    "d": 86_400,
}
_SCALES: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_NUMBER: Final = r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([kMG]?)"
_CONCURRENT: Final = re.compile(rf"{_NUMBER} ?concurrent")
_RATE: Final = re.compile(
    rf"{_NUMBER} ?(?:(requests?|(?:input |output )?tokens?)?)"
    r"(?: ?/ ?| per )(?:([1-9][0-9]{0,5}) ?)?([a-z]+?)s?"
)
_BUDGET: Final = re.compile(
    r"[0-9]{1,15}(?:\.[0-9]{1,9})? ?[kMG]? ?(?:USD|tokens?)(?: ?/ ?| per )"
    r"(?:minute|hour|day|week|month|year)"
)


class Rate(NamedTuple):
    """So much of a unit within so many seconds; `window_s` is 0 for `concurrent`."""

    amount: int
    unit: str
    window_s: int


def parse_rate(written: str) -> Rate:
    """Read "50/min", "10 requests/30s", "100k tokens per hour" or "8 concurrent". ValueError says
    what is wrong.
    """
    text = written.strip()
    found = _CONCURRENT.fullmatch(text)
    if found is not None:
        return Rate(_amount(found[1], found[2], written), CONCURRENT, 0)
    found = _RATE.fullmatch(text)
    if found is None or found[5] not in _SECONDS:
        raise ValueError(
            f'"{written}" is no rate; wanted such as "50/min", "100k tokens/hour", '
            '"10 requests/30s" or "8 concurrent"; periods are s, min, hour and day'
        )
    unit = found[3] or REQUESTS
    unit = unit if unit.endswith("s") else unit + "s"
    window_s = int(found[4] or 1) * _SECONDS[found[5]]
    if window_s > WINDOW_MAX_S:
        raise ValueError(f'"{written}": wanted a window of at most a year')
    return Rate(_amount(found[1], found[2], written), unit, window_s)


def check_budget(written: str) -> None:
    """ValueError, which says what is wanted, where that is no budget."""
    if _BUDGET.fullmatch(written.strip()) is None:
        raise ValueError(
            f'"{written}" is no budget; wanted an amount, USD or tokens, and a period, such as '
            '"200 USD/month" or "1M tokens/day"; periods are minute, hour, day, week, month, year'
        )


def _amount(number: str, scale: str, written: str) -> int:
    amount = Decimal(number) * _SCALES[scale]
    if amount != int(amount) or not 0 < amount <= AMOUNT_MAX:
        raise ValueError(f'"{written}": wanted a whole number above 0')
    return int(amount)
