from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.query import read_query
from gateway.times import parse_time
from plugins.ledger.records import SUMS
from plugins.ledger.stores import opened
from plugins.ledger.table import NAMES, UsageQuery, UsageRow, Wanted, begun, rows, wanted
from tests.plugins.ledger.entries import AT_MS, HOUR_MS, attempt, entry, id_of

DAY_MS = 24 * HOUR_MS


def table(folder, want: Wanted) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        store = opened("sqlite", folder)
        await store.open()
        given = [
            entry(
                id_of(n, AT_MS + n * HOUR_MS), attempt(cost_nanousd=n), team="ab"[n % 2], model="m"
            )
            for n in range(72)
        ]
        await store.add(given, None, 0)
        try:
            return await rows(store, want)
        finally:
            await store.close()

    return asyncio.run(read())


def facts(found: list[dict[str, Any]], *names: str) -> list[tuple]:
    return [tuple(row[name] for name in names) for row in found]


def test_everything_is_one_row(tmp_path):
    found = table(tmp_path, Wanted((), None, 0, None))
    assert facts(found, "requests", "cost_nanousd", "output_text") == [(72, sum(range(72)), 360)]


def test_rows_are_by_what_was_asked_in_that_order_the_dearest_first(tmp_path):
    found = table(tmp_path, Wanted(("model", "team"), None, 0, None))
    assert list(found[0])[:2] == ["model", "team"]
    odd = sum(range(1, 72, 2))
    even = sum(range(0, 72, 2))
    assert facts(found, "team", "cost_nanousd") == [("b", odd), ("a", even)]


def test_days_are_the_sums_of_their_hours(tmp_path):
    found = table(tmp_path, Wanted(("team",), "day", 0, None))
    assert [row["time"] for row in found] == sorted(row["time"] for row in found)
    assert {row["time"][10:] for row in found} == {"T00:00:00Z"}
    assert sum(row["requests"] for row in found) == 72
    assert len(found) == 2 * 4  # the first of four days begins at eight
    assert sum(row["requests"] for row in table(tmp_path, Wanted((), "month", 0, None))) == 72


def test_a_span_is_of_whole_hours(tmp_path):
    found = table(tmp_path, Wanted((), "hour", AT_MS + HOUR_MS, AT_MS + 3 * HOUR_MS))
    assert facts(found, "requests") == [(1,), (1,)]


def test_what_is_asked_is_read():
    asked = UsageQuery(by="team, model,team", step="day", since="1d", until="1970-01-02")
    assert wanted(asked, 10 * DAY_MS) == Wanted(("team", "model"), "day", 9 * DAY_MS, DAY_MS)
    assert wanted(UsageQuery(), 0) == Wanted((), None, 0, None)


@pytest.mark.parametrize(
    "asked",
    [{"by": "hour"}, {"by": "team;drop"}, {"step": "week"}, {"since": "soon"}, {"of": "x"}],
)
def test_what_cannot_be_asked_is_said(asked):
    with pytest.raises(ValueError, match="wanted"):
        wanted(read_query(UsageQuery, asked), 0)


def test_a_row_is_described_with_all_that_it_can_hold():
    assert sorted(UsageRow.__struct_fields__) == sorted(("time", *NAMES, *SUMS))


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("hour", "2026-11-28T09:00:00Z"),
        ("day", "2026-11-28T00:00:00Z"),
        ("month", "2026-11-01T00:00:00Z"),
    ],
)
def test_an_hour_lies_in_a_day_and_a_month(step, text):
    assert begun(parse_time("2026-11-28T09:00Z", 0) // 3_600_000, step) == text
