"""A rate is read as people write it, and a wrong one is named with the way out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Rate, parse_rate
from gateway.rates import AMOUNT_MAX, UNITS, check_budget


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("50/min", (50, "requests", 60)),
        (" 50 / minute ", (50, "requests", 60)),
        ("5/s", (5, "requests", 1)),
        ("1 request/second", (1, "requests", 1)),
        ("10 requests/30s", (10, "requests", 30)),
        ("3 requests per 10 minutes", (3, "requests", 600)),
        ("100k tokens per hour", (100_000, "tokens", 3600)),
        ("2M input tokens/day", (2_000_000, "input tokens", 86_400)),
        ("1.5k output tokens/min", (1500, "output tokens", 60)),
        ("8 concurrent", (8, "concurrent", 0)),
        ("1k concurrent", (1000, "concurrent", 0)),
        ("1/366days", (1, "requests", 366 * 86_400)),
    ],
)
def test_a_rate_is_an_amount_a_unit_and_a_window(written: str, rate: tuple[int, str, int]) -> None:
    assert parse_rate(written) == Rate(*rate)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "50",
        "min",
        "50/fortnight",
        "5/ms",
        "50 apples/min",
        "-1/min",
        "1e3/min",
        "8 concurrent/s",
    ],
)
def test_what_is_no_rate_is_told_how_one_looks(written: str) -> None:
    with pytest.raises(ValueError, match="is no rate; wanted such as") as refused:
        parse_rate(written)

    assert f'"{written}"' in str(refused.value)


@pytest.mark.parametrize(
    "written", ["0/min", "1.5/min", "0.0001k/min", "0 concurrent", "9999999G/s"]
)
def test_an_amount_is_a_whole_number_within_bounds(written: str) -> None:
    with pytest.raises(ValueError, match="wanted a whole number above 0"):
        parse_rate(written)


def test_a_window_is_a_year_at_most() -> None:
    with pytest.raises(ValueError, match="at most a year"):
        parse_rate("1/367days")


@given(st.integers(1, AMOUNT_MAX // 10**9), st.sampled_from(UNITS), st.integers(1, 300))
def test_every_amount_unit_and_window_can_be_written(amount: int, unit: str, days: int) -> None:
    assert parse_rate(f"{amount}G {unit}/{days} days") == (amount * 10**9, unit, days * 86_400)


@pytest.mark.parametrize("written", ["200 USD/month", "1M tokens/day", "0.5 USD per hour"])
def test_a_budget_is_an_amount_and_a_period(written: str) -> None:
    check_budget(written)


@pytest.mark.parametrize(
    "written", ["", "200 USD", "200 EUR/month", "50/min", "1 USD/min", "-1 USD/day"]
)
def test_what_is_no_budget_is_told_how_one_looks(written: str) -> None:
    with pytest.raises(ValueError, match="is no budget; wanted an amount"):
        check_budget(written)
