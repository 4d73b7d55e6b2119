"""Kept sums as SQL: by the hour in `rollups`, and by the day in `days`, which has far fewer rows.

Both stores speak it; mark: how theirs writes the n-th bound variable, from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from .records import DIMENSIONS, SUMS, Group, Sums

DAY_HOURS: Final = 24
HOURS_TABLE: Final = "rollups"
DAYS_TABLE: Final = "days"
_TIME_OF: Final = {HOURS_TABLE: "hour", DAYS_TABLE: "day"}
# What sums are asked by, in the order of the columns.
_ORDER: Final = ("hour", "day", *DIMENSIONS[1:])

Mark = Callable[[int], str]


def adding(table: str, mark: Mark) -> str:
    """The statement that adds sums to what a table has: its key's values, then the sums."""
    keys = [_TIME_OF[table], *map(_column, DIMENSIONS[1:])]
    names = ", ".join([*keys, *SUMS])
    marks = ", ".join(mark(n + 1) for n in range(len(keys) + len(SUMS)))
    changes = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUMS)
    return (
        f"INSERT INTO {table} ({names}) VALUES ({marks}) "  # noqa: S608 - our own names
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
    )


def days_of(sums: Sums) -> Sums:
    """Sums by the hour as sums by the day."""
    days: Sums = {}
    for (hour, *rest), counts in sums.items():
        _add(days, (hour // DAY_HOURS, *rest), counts)
    return days


def asking(
    by: Sequence[str], first: int, last: int, mark: Mark
) -> Iterator[tuple[str, tuple[int, int]]]:
    """The queries that give the sums of the hours from `first` to before `last`, and what is bound
    in each.
    """
    names = _ordered(by)
    for table, low, high in _parts("hour" in names, first, last):
        time = _TIME_OF[table]
        columns = [_column(name) for name in names]
        if table == HOURS_TABLE and "day" in names:
            columns[names.index("day")] = f"hour / {DAY_HOURS}"
        wanted = ", ".join([*columns, *(f"sum({name})" for name in SUMS)])
        bounds = f"{time} >= {mark(1)} AND {time} < {mark(2)}"
        text = f"SELECT {wanted} FROM {table} WHERE {bounds}"  # noqa: S608 - our own names
        if names:
            text += f" GROUP BY {', '.join(str(n + 1) for n in range(len(names)))}"
        yield text, (low, high)


def joined(
    by: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Mapping[tuple[Any, ...], Sequence[int]]:
    """What all of the queries gave, as one; the keys are in the order of `by`."""
    names = _ordered(by)
    places = [names.index(name) for name in by]
    found: Sums = {}
    for row in rows:
        if row[len(names)] is not None:  # the sum of nothing
            counts = [int(value) for value in row[len(names) :]]
            _add(found, tuple(row[place] for place in places), counts)
    return found


def _parts(by_hour: bool, first: int, last: int) -> Iterator[tuple[str, int, int]]:
    """The tables to look in, each with its first hour or day and the one past its last."""
    first_day, last_day = -(-first // DAY_HOURS), last // DAY_HOURS
    if by_hour or first_day >= last_day:
        yield HOURS_TABLE, first, last
        return
    if first < first_day * DAY_HOURS:
        yield HOURS_TABLE, first, first_day * DAY_HOURS
    yield DAYS_TABLE, first_day, last_day
    if last_day * DAY_HOURS < last:
        yield HOURS_TABLE, last_day * DAY_HOURS, last


def _ordered(by: Sequence[str]) -> list[str]:
    return [name for name in _ORDER if name in by]


def _column(name: str) -> str:
    return '"user"' if name == "user" else name  # a reserved word of PostgreSQL


def _add(sums: Sums, group: Group, counts: list[int]) -> None:
    before = sums.get(group)
    sums[group] = (
        list(counts) if before is None else [a + b for a, b in zip(before, counts, strict=True)]
    )
