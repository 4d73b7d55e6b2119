"""Durations and sizes as people write them in config: "5s", "250ms", "64KiB", "10MB".

Both are whole numbers (nanoseconds, bytes), so the code that uses them computes with plain
integers, and both give their written form back with `str()`, so what `weir config show` prints
can be put into the file again.
"""

from __future__ import annotations

import math
import re
from typing import Final

# Largest first: `str()` takes the first unit that divides exactly.
DURATION_UNITS: Final = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
SIZE_UNITS: Final = {
    "TiB": 1 << 40,
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "B": 1,
}
_SIZE_BY_LOWER: Final = {unit.lower(): factor for unit, factor in SIZE_UNITS.items()}

# Ten years and a pebibyte: far beyond any use, and far below where timers and offsets of the C
# libraries overflow.
DURATION_MAX: Final = 3650 * DURATION_UNITS["d"]
SIZE_MAX: Final = 1 << 50

# At most 18 digits on a side: everything in the ranges above, and no text whose conversion takes
# long.
_WRITTEN: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?[ ]?([A-Za-z]+)", re.ASCII)


class Duration(int):
    """A length of time in nanoseconds."""

    __slots__ = ()

    def __str__(self) -> str:
        return _written(int(self), DURATION_UNITS, "0s")

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"


class Size(int):
    """A number of bytes."""

    __slots__ = ()

    def __str__(self) -> str:
        return _written(int(self), SIZE_UNITS, "0B")

    def __repr__(self) -> str:
        return f"Size({str(self)!r})"


def parse_duration(value: object) -> Duration:
    """Read "5s", "250ms", "2m", "1h", or a number of seconds. ValueError says what is wrong."""
    if isinstance(value, str):
        count = _parse(value, DURATION_UNITS, "ns, us, ms, s, m, h or d")
    else:
        count = _number(value, DURATION_UNITS["s"])
    return Duration(_bounded(count, DURATION_MAX, "3650d"))


def parse_size(value: object) -> Size:
    """Read "64KiB", "1MiB", "10MB", or a number of bytes. ValueError says what is wrong."""
    if isinstance(value, str):
        lowered = _WRITTEN.sub(lambda found: found[0].lower(), value)
        count = _parse(lowered, _SIZE_BY_LOWER, "B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
    else:
        count = _number(value, 1)
    return Size(_bounded(count, SIZE_MAX, "1024TiB"))


def _parse(text: str, units: dict[str, int], names: str) -> int:
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"a number needs a unit: {names}")
    whole, fraction, unit = found[1], found[2] or "", found[3]
    if unit not in units:
        raise ValueError(f"unknown unit; use {names}")
    # Whole numbers all the way: a float would turn 0.1s into something near it.
    parts: int = 10 ** len(fraction)
    scaled, rest = divmod(int(whole + fraction) * units[unit], parts)
    if rest:
        raise ValueError("finer than the smallest unit")
    return scaled


def _number(value: object, factor: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("neither text nor a number")  # noqa: TRY004  # one kind of error to catch
    if isinstance(value, int):
        return value * factor
    count = value * factor
    if not math.isfinite(count):
        raise ValueError("not a finite number")
    return round(count)


def _bounded(count: int, largest: int, written: str) -> int:
    if count < 0:
        raise ValueError("below zero")
    if count > largest:
        raise ValueError(f"over {written}")
    return count


def _written(count: int, units: dict[str, int], zero: str) -> str:
    if count == 0:
        return zero
    unit = next(unit for unit, factor in units.items() if count % factor == 0)
    return f"{count // units[unit]}{unit}"
