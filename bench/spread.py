"""The few statistics a bench needs, spelled out so that a reader can check them.

Percentiles are by nearest rank: the p99 is a value that was measured, never one between two. Over
rounds we give the median and the range, since five rounds are too few for a deviation to say
anything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """How the values of one run lie."""

    count: int
    p50: float
    p90: float
    p99: float
    most: float


class Middle(msgspec.Struct, frozen=True):
    """One figure over the rounds."""

    median: float
    low: float
    high: float

    @property
    def moved(self) -> float:
        """The range as a share of the median: how far to trust it."""
        return (self.high - self.low) / self.median if self.median else 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value such that `share` of all are not above it."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Iterable[float], unit: float = 1.0) -> Spread:
    """Sort and describe; `unit` divides, so nanoseconds become whatever a column shows."""
    ordered = sorted(values)
    p50, p90, p99, most = (percentile(ordered, share) / unit for share in (0.5, 0.9, 0.99, 1.0))
    return Spread(len(ordered), p50, p90, p99, most)


def middle(values: Iterable[float]) -> Middle | None:
    """Median and range, leaving out rounds without a value; None where there is none at all."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None
    return Middle(statistics.median(known), min(known), max(known))


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each round against the same round of the base, so that what slows the whole machine cancels
    out.
    """
    return [
        value / other
        for value, other in zip(values, base, strict=False)
        if other and not math.isnan(value) and not math.isnan(other)
    ]
