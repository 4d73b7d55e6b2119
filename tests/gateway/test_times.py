from __future__ import annotations

import time

import pytest

from gateway.times import now_ms, parse_time

NOW = 1_800_000_000_000
DAY = 86_400_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("7d", NOW - 7 * DAY),
        ("90s", NOW - 90_000),
        ("1970-01-02", DAY),
        ("1970-01-02T01:00", DAY + 3_600_000),
        ("1970-01-02T01:00Z", DAY + 3_600_000),
        ("1970-01-02T01:00+01:00", DAY),
    ],
)
def test_a_time_is_read_as_people_write_it(text, ms):
    assert parse_time(text, NOW) == ms


@pytest.mark.parametrize("text", ["", "yesterday", "7", "1970-13-01"])
def test_what_is_no_time_is_said(text):
    with pytest.raises(ValueError, match="wanted a time"):
        parse_time(text, NOW)


def test_now_is_the_time_of_day():
    assert abs(now_ms() - time.time() * 1000) < 5_000
