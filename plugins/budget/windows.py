"""The spans of time that budgets are for: of the calendar in a time zone, or rolling.

A window knows its present span: `epoch` names it, and it is over at `until_ms`. A calendar's span
is the minute, hour, day, week (from Monday), month or year. A rolling window moves on in steps, and
a step counts for as long as any of it lies within the window, so no span of the window's length
ever holds more than was counted. A month rolls in 30 days, a year in 365.

Times are milliseconds since 1970, of the time of day.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
PERIODS: Final = ("minute", "hour", "day", "week", "month", "year")
# How long a rolling window is, and its step. From a day on steps are whole hours, because that is
# how a ledger keeps its sums.
_ROLLING: Final = {
    "minute": (MINUTE_MS, SECOND_MS),
    "hour": (HOUR_MS, MINUTE_MS),
    "day": (DAY_MS, HOUR_MS),
    "week": (7 * DAY_MS, 2 * HOUR_MS),
    "month": (30 * DAY_MS, 12 * HOUR_MS),
    "year": (365 * DAY_MS, 5 * DAY_MS),
}
# A clock that is set back by less does not begin an earlier span, which would forget the present
# one; a clock that was wrong by more is believed at last.
_SET_BACK_MS: Final = HOUR_MS


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name. ValueError for one that is not there."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f'"{name}" is no time zone of this machine; wanted a name of the IANA database, such '
            'as "Europe/Berlin" (its data is in the package tzdata), or "UTC"'
        ) from error


class Window:
    """What both kinds have in common: the present span, and when it began and ends."""

    __slots__ = ("_shown", "epoch", "period", "since_ms", "until_ms")

    is_rolling = False

    def __init__(self, period: str) -> None:
        self.period = period
        self.epoch = self.since_ms = self.until_ms = 0
        self._shown = (0, b"")

    def is_past(self, now_ms: int) -> bool:
        """Whether the present span has to be found anew."""
        return now_ms >= self.until_ms or now_ms < self.since_ms - _SET_BACK_MS

    def turn(self, now_ms: int) -> None:
        """Make the span of that time the present one."""
        raise NotImplementedError

    def shown(self, at_ms: int) -> bytes:
        """A time for a header; the last one is remembered."""
        if self._shown[0] != at_ms:
            self._shown = (at_ms, written(at_ms).encode())
        return self._shown[1]

    def epoch_of(self, at_ms: int) -> int:
        """The epoch of an earlier time."""
        raise NotImplementedError

    def starts_ms(self) -> int:
        """Since when spending counts in the present span."""
        raise NotImplementedError


class Calendar(Window):
    """The epoch is when the span began."""

    __slots__ = ("_zone",)

    def __init__(self, period: str, zone: tzinfo) -> None:
        super().__init__(period)
        self._zone = zone

    def turn(self, now_ms: int) -> None:
        self.since_ms, self.until_ms = span(self.period, self._zone, now_ms)
        self.epoch = self.since_ms

    def epoch_of(self, at_ms: int) -> int:
        if self.since_ms <= at_ms < self.until_ms:
            return self.epoch
        return span(self.period, self._zone, at_ms)[0]

    def starts_ms(self) -> int:
        return self.since_ms

    def next_ms(self) -> int:
        """When the span after the present one ends."""
        return span(self.period, self._zone, self.until_ms)[1]


class Rolling(Window):
    """The epoch is the number of the present step since 1970; the `steps` before it count too."""

    __slots__ = ("step_ms", "steps")

    is_rolling = True

    def __init__(self, period: str) -> None:
        super().__init__(period)
        length_ms, self.step_ms = _ROLLING[period]
        self.steps = length_ms // self.step_ms

    def turn(self, now_ms: int) -> None:
        self.epoch = now_ms // self.step_ms
        self.since_ms = self.epoch * self.step_ms
        self.until_ms = self.since_ms + self.step_ms

    def epoch_of(self, at_ms: int) -> int:
        return at_ms // self.step_ms

    def starts_ms(self) -> int:
        return (self.epoch - self.steps) * self.step_ms

    def leaves_ms(self, epoch: int) -> int:
        """When what was spent in a step counts no more."""
        return (epoch + self.steps + 1) * self.step_ms


def window_of(period: str, kind: str, zone: tzinfo) -> Window:
    return Rolling(period) if kind == "rolling" else Calendar(period, zone)


def span(period: str, zone: tzinfo, now_ms: int) -> tuple[int, int]:
    """When the minute, hour, day and so on of a time begins and ends, by the clocks of a zone."""
    if period in ("minute", "hour"):
        # By the offset of now: clocks may be changed within an hour, by half of one.
        length_ms = MINUTE_MS if period == "minute" else HOUR_MS
        local = datetime.fromtimestamp(now_ms / 1000, zone)
        offset = (local.utcoffset() or timedelta()) // timedelta(milliseconds=1)
        start = (now_ms + offset) // length_ms * length_ms - offset
        return start, start + length_ms
    today = datetime.fromtimestamp(now_ms // 1000, zone).date()
    first = _first(period, today)
    return _midnight(first, zone), _midnight(_next(period, first), zone)


def _first(period: str, today: date) -> date:
    if period == "week":
        return today - timedelta(days=today.weekday())
    if period == "month":
        return today.replace(day=1)
    return today.replace(month=1, day=1) if period == "year" else today


def _next(period: str, first: date) -> date:
    if period == "year":
        return first.replace(year=first.year + 1)
    if period == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if period == "week" else 1)


def _midnight(day: date, zone: tzinfo) -> int:
    """When a day begins: the first midnight of two, and where clocks leap over it, that moment
    (PEP 495: with fold=0 a time in the gap is read by the offset before it).
    """
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000


def written(at_ms: int) -> str:
    """A time as ISO 8601 has it, in UTC, to the second above."""
    at = datetime.fromtimestamp(-(-at_ms // 1000), UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
