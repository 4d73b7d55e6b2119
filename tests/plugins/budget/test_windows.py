"""Windows begin and end where the calendar of a zone says, and rolling ones hold what is recent."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plugins.budget.windows import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    PERIODS,
    Calendar,
    Rolling,
    span,
    written,
    zone_of,
)

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
YEARS = st.integers(0, 70 * 365 * DAY_MS)


def ms(text: str, zone: str = "UTC") -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)


@pytest.mark.parametrize(
    ("period", "zone", "now", "start", "end"),
    [
        ("minute", "UTC", "2026-11-28T10:15:59.999", "2026-11-28T10:15", "2026-11-28T10:16"),
        ("hour", "Asia/Kolkata", "2026-11-28T10:45+05:30", "2026-11-28T10:00+05:30",
         "2026-11-28T11:00+05:30"),
        ("day", "Asia/Kolkata", "2026-11-28T00:00+05:30", "2026-11-28T00:00+05:30",
         "2026-11-29T00:00+05:30"),
        ("week", "UTC", "2026-11-29T23:59:59", "2026-11-23", "2026-11-30"),
        ("month", "UTC", "2026-02-28T23:59:59", "2026-02-01", "2026-03-01"),
        ("month", "UTC", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
        ("month", "America/New_York", "2026-12-31T23:59-05:00", "2026-12-01T00:00-05:00",
         "2027-01-01T00:00-05:00"),
        ("month", "UTC", "2026-01-31T12:00", "2026-01-01", "2026-02-01"),
        ("year", "UTC", "2026-12-31T23:59:59.999", "2026-01-01", "2027-01-01"),
        # 23 hours, 25 hours.
        ("day", "Europe/Berlin", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00",
         "2026-03-30T00:00+02:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00",
         "2026-10-26T00:00+01:00"),
        # The hour between 2 and 3 comes twice, and is two hours.
        ("hour", "Europe/Berlin", "2026-10-25T02:30+02:00", "2026-10-25T02:00+02:00",
         "2026-10-25T02:00+01:00"),
        ("hour", "Europe/Berlin", "2026-10-25T02:30+01:00", "2026-10-25T02:00+01:00",
         "2026-10-25T03:00+01:00"),
        # There is no midnight, or there are two: the day begins with what is first.
        ("day", "Africa/Cairo", "2024-04-26T12:00+03:00", "2024-04-26T01:00+03:00",
         "2024-04-27T00:00+03:00"),
        ("day", "America/Havana", "2026-11-01T00:30-05:00", "2026-11-01T00:00-04:00",
         "2026-11-02T00:00-05:00"),
        # A day that there never was.
        ("day", "Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-29T00:00-10:00",
         "2011-12-31T00:00+14:00"),
    ],
)  # fmt: skip
def test_a_calendars_span(period, zone, now, start, end):
    assert span(period, zone_of(zone), ms(now)) == (ms(start), ms(end))


@given(st.sampled_from(PERIODS), st.sampled_from(ZONES), YEARS)
@example("day", "Africa/Cairo", ms("2024-04-26T00:00+02:00"))
@example("day", "Australia/Lord_Howe", ms("2026-04-05T01:45+10:30"))
def test_now_lies_in_its_span_and_spans_join(period, zone, now):
    start, end = span(period, zone_of(zone), now)
    assert start <= now < end
    if period not in ("minute", "hour"):  # clocks may be changed by half an hour
        assert span(period, zone_of(zone), end)[0] == end
        assert span(period, zone_of(zone), start - 1)[1] == start


@pytest.mark.parametrize("period", PERIODS)
def test_a_rolling_window_counts_what_is_within_its_length(period):
    window = Rolling(period)
    window.turn(ms("2026-11-28T10:15:30.5"))
    length = window.steps * window.step_ms
    now = ms("2026-11-28T10:15:30.5")
    assert window.since_ms <= now < window.until_ms
    # All of the length counts, and at most a step more.
    assert now - length - window.step_ms < window.starts_ms() <= now - length
    assert window.epoch_of(window.starts_ms()) == window.epoch - window.steps
    assert window.leaves_ms(window.epoch) >= now + length
    if period in ("minute", "hour"):
        assert length == {"minute": MINUTE_MS, "hour": HOUR_MS}[period]
    else:
        assert window.step_ms % HOUR_MS == 0  # or a ledger's sums would lie in two steps


def test_a_clock_set_back_a_little_does_not_forget_the_present_span():
    window = Calendar("day", UTC)
    midnight = ms("2026-11-28")
    window.turn(midnight)
    assert not window.is_past(midnight - 5)
    assert window.is_past(midnight - 2 * HOUR_MS)
    assert window.is_past(midnight + DAY_MS)


def test_an_earlier_time_has_the_epoch_of_its_span():
    window = Calendar("month", zone_of("Europe/Berlin"))
    window.turn(ms("2026-11-28"))
    assert window.epoch_of(ms("2026-11-01")) == window.epoch == window.starts_ms()
    assert window.epoch_of(ms("2026-10-31T12:00")) == ms("2026-10-01T00:00+02:00")


def test_a_zone_that_is_not_there_is_named_with_the_way_out():
    with pytest.raises(ValueError, match=r'"Mars/Base" is no time zone.*Europe/Berlin'):
        zone_of("Mars/Base")
    with pytest.raises(ValueError, match="is no time zone"):
        zone_of("../etc/passwd")


def test_times_are_written_to_the_second_above():
    assert written(ms("2026-12-01")) == "2026-12-01T00:00:00Z"
    assert written(ms("2026-12-01") - 1) == "2026-12-01T00:00:00Z"
