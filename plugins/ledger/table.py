"""The kept sums as a table: by any of their dimensions, and by the hour, day or month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway import parse_time

from .records import DIMENSIONS, HOUR_MS, SUMS
from .stores import Store

STEPS: Final = ("hour", "day", "month")
# What sums can be asked by; the hour is asked for as a step.
NAMES: Final = DIMENSIONS[1:]


class Wanted(NamedTuple):
    """What somebody asks for; times in milliseconds since 1970."""

    by: tuple[str, ...]
    step: str | None
    since_ms: int
    until_ms: int | None


def wanted(asked: Mapping[str, str], now_ms: int) -> Wanted:
    """Read `by`, `step`, `since` and `until`; ValueError where one cannot be."""
    unknown = sorted(asked.keys() - {"by", "step", "since", "until"})
    if unknown:
        raise ValueError(f"{unknown[0]}: wanted by, step, since or until")
    by = tuple(dict.fromkeys(name.strip() for name in asked.get("by", "").split(",") if name))
    for name in by:
        if name not in NAMES:
            raise ValueError(f"by: there is no {name!r}; wanted some of {', '.join(NAMES)}")
    step = asked.get("step")
    if step is not None and step not in STEPS:
        raise ValueError(f"step: wanted one of {', '.join(STEPS)}, given {step!r}")
    since, until = asked.get("since"), asked.get("until")
    return Wanted(
        by,
        step,
        0 if since is None else max(parse_time(since, now_ms), 0),
        None if until is None else max(parse_time(until, now_ms), 0),
    )


async def rows(store: Store, want: Wanted) -> list[dict[str, Any]]:
    """Rows in the order of time, then those that cost or ask most first."""
    by = ("hour", *want.by) if want.step is not None else want.by
    found = await store.sums(by, since_ms=want.since_ms, until_ms=want.until_ms)
    if want.step is not None:
        found = _folded(found, want.step)
    first = len(by) - len(want.by)
    rows = []
    for group, sums in found.items():
        row: dict[str, Any] = {"time": group[0]} if first else {}
        row.update(zip(want.by, group[first:], strict=True))
        row.update(zip(SUMS, sums, strict=True))
        rows.append(row)
    rows.sort(key=lambda row: (row.get("time", ""), -row["cost_nanousd"], -row["requests"]))
    return rows


def _folded(
    sums: Mapping[tuple[Any, ...], Sequence[int]], step: str
) -> dict[tuple[Any, ...], Sequence[int]]:
    """Hours as longer steps."""
    folded: dict[tuple[Any, ...], Sequence[int]] = {}
    for (hour, *rest), counts in sums.items():
        group = (begun(hour, step), *rest)
        before = folded.get(group)
        folded[group] = (
            counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
        )
    return folded


def begun(hour: int, step: str) -> str:
    """When the hour, day or month began that an hour since 1970 lies in, in UTC."""
    found = datetime.fromtimestamp(hour * HOUR_MS // 1000, UTC)
    if step != "hour":
        found = found.replace(hour=0)
    if step == "month":
        found = found.replace(day=1)
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")
