from __future__ import annotations

import math

import pytest

from bench.spread import Middle, Spread, middle, percentile, ratios, spread


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 5), (0.9, 9), (0.91, 10), (1.0, 10)]
)
def test_a_percentile_is_a_value_that_was_measured(share, expected):
    assert percentile(range(1, 11), share) == expected


def test_a_percentile_of_nothing_is_not_a_number():
    assert math.isnan(percentile([], 0.5))


def test_a_spread_sorts_and_divides_by_its_unit():
    values = [1000 * number for number in range(100, 0, -1)]
    assert spread(values, 1e3) == Spread(100, 50.0, 90.0, 99.0, 100.0)


def test_the_middle_of_rounds_leaves_out_those_without_a_value():
    assert middle([3.0, math.nan, 1.0, 2.0]) == Middle(2.0, 1.0, 3.0)
    assert middle([math.nan]) is None


def test_the_range_is_given_as_a_share_of_the_median():
    assert Middle(median=10.0, low=8.0, high=13.0).moved == 0.5


def test_ratios_are_taken_inside_each_round():
    assert ratios([20.0, 60.0, 5.0], [10.0, 20.0, math.nan]) == [2.0, 3.0]
