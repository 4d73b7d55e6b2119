from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.units import DURATION_MAX, SIZE_MAX, Duration, Size, parse_duration, parse_size

DURATIONS = [
    ("5s", 5_000_000_000),
    ("250ms", 250_000_000),
    ("2m", 120_000_000_000),
    ("1h", 3_600_000_000_000),
    ("1d", 86_400_000_000_000),
    ("3us", 3_000),
    ("7ns", 7),
    ("1.5s", 1_500_000_000),
    ("0.1s", 100_000_000),
    ("0s", 0),
    (" 5 s ", 5_000_000_000),
    (5, 5_000_000_000),
    (0.25, 250_000_000),
    (0, 0),
]

SIZES = [
    ("0B", 0),
    ("500B", 500),
    ("64KiB", 65_536),
    ("64kib", 65_536),
    ("1MiB", 1_048_576),
    ("1.5MiB", 1_572_864),
    ("10MB", 10_000_000),
    ("10 mb", 10_000_000),
    ("2kB", 2_000),
    ("2KB", 2_000),
    ("1GiB", 1 << 30),
    ("1TB", 10**12),
    (4096, 4096),
]

BAD_DURATIONS = [
    ("5", "a number needs a unit: ns, us, ms, s, m, h or d"),
    ("", "a number needs a unit: ns, us, ms, s, m, h or d"),
    ("-5s", "a number needs a unit: ns, us, ms, s, m, h or d"),
    ("1m30s", "a number needs a unit: ns, us, ms, s, m, h or d"),
    ("\N{ARABIC-INDIC DIGIT FIVE}s", "a number needs a unit: ns, us, ms, s, m, h or d"),
    ("9" * 40 + "s", "a number needs a unit: ns, us, ms, s, m, h or d"),
    ("5 parsecs", "unknown unit; use ns, us, ms, s, m, h or d"),
    ("5S", "unknown unit; use ns, us, ms, s, m, h or d"),
    ("0.5ns", "finer than the smallest unit"),
    ("3651d", "over 3650d"),
    (-1, "below zero"),
    (True, "neither text nor a number"),
    (None, "neither text nor a number"),
    ([5], "neither text nor a number"),
    (math.nan, "not a finite number"),
    (math.inf, "not a finite number"),
    (1e300, "not a finite number"),
    (1e20, "over 3650d"),
    (10**400, "over 3650d"),
]

BAD_SIZES = [
    ("64K", "unknown unit; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"),
    ("64", "a number needs a unit: B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"),
    ("0.5B", "finer than the smallest unit"),
    ("1025TiB", "over 1024TiB"),
    (-1, "below zero"),
    (False, "neither text nor a number"),
]


@pytest.mark.parametrize(("written", "nanoseconds"), DURATIONS)
def test_a_duration_is_read_in_nanoseconds(written, nanoseconds):
    assert parse_duration(written) == nanoseconds
    assert type(parse_duration(written)) is Duration


@pytest.mark.parametrize(("written", "count"), SIZES)
def test_a_size_is_read_in_bytes(written, count):
    assert parse_size(written) == count
    assert type(parse_size(written)) is Size


@pytest.mark.parametrize(("written", "reason"), BAD_DURATIONS)
def test_a_bad_duration_is_refused_with_its_reason(written, reason):
    with pytest.raises(ValueError) as caught:
        parse_duration(written)
    assert str(caught.value) == reason


@pytest.mark.parametrize(("written", "reason"), BAD_SIZES)
def test_a_bad_size_is_refused_with_its_reason(written, reason):
    with pytest.raises(ValueError) as caught:
        parse_size(written)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("count", "written"),
    [(0, "0s"), (90_000_000_000, "90s"), (60_000_000_000, "1m"), (1, "1ns"), (1_500_000, "1500us")],
)
def test_a_duration_is_written_in_the_largest_unit_that_is_exact(count, written):
    assert str(Duration(count)) == f"{Duration(count)}" == written
    assert repr(Duration(count)) == f"Duration('{written}')"


@pytest.mark.parametrize(
    ("count", "written"), [(0, "0B"), (65_536, "64KiB"), (10_000_000, "10MB"), (1_001, "1001B")]
)
def test_a_size_is_written_in_the_largest_unit_that_is_exact(count, written):
    assert str(Size(count)) == f"{Size(count)}" == written
    assert repr(Size(count)) == f"Size('{written}')"


@given(st.integers(0, DURATION_MAX))
def test_a_written_duration_is_read_back_as_it_was(count):
    assert parse_duration(str(Duration(count))) == count


@given(st.integers(0, SIZE_MAX))
def test_a_written_size_is_read_back_as_it_was(count):
    assert parse_size(str(Size(count))) == count


@given(st.text(max_size=30) | st.floats() | st.integers())
def test_anything_else_is_a_value_error_and_nothing_worse(value):
    for parse, most in ((parse_duration, DURATION_MAX), (parse_size, SIZE_MAX)):
        try:
            count = parse(value)
        except ValueError:
            continue
        assert 0 <= count <= most


def test_arithmetic_gives_plain_integers():
    assert type(parse_duration("5s") + 1) is int
    assert parse_size("1KiB") * 2 == 2048
