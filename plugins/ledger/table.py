"""The kept sums as a table: by any of their dimensions, and by the hour, day or month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, get_args

from msgspec import UNSET, Struct, UnsetType

from gateway import parse_time

from .records import DIMENSIONS, HOUR_MS, SUMS
from .stores import Store
from .sums import DAY_HOURS

Step = Literal["hour", "day", "month"]
STEPS: Final = get_args(Step)
# What sums can be asked by; the hour is asked for as a step.
NAMES: Final = DIMENSIONS[1:]


class UsageQuery(Struct, frozen=True):
    """Sums of whole hours, over all that is not asked for by name.

    by: Some of gateway, key, team, user, provider, model and outcome, with commas.
    step: A row for each of these, too.
    since: From the hour of then on: "2026-11-28", "2026-11-28T09:00Z" or "7d".
    until: Up to the hour of then, likewise.
    """

    by: str = ""
    step: Step | None = None
    since: str | None = None
    until: str | None = None


class UsageRow(Struct):
    """Sums, with `time` and those names that were asked for.

    time: When the hour, day or month began, in UTC.
    key: The id of the caller's.
    fresh_input: Tokens that no cache had.
    cache_read: Tokens of input.
    cache_write: Tokens of input.
    output_text: Tokens.
    output_reasoning: Tokens.
    cost_nanousd: Billionths of a dollar.
    unpriced: Attempts that used tokens whose price is not known.
    estimated: Attempts whose usage or cost is an estimate.
    duration_us: Microseconds.
    bytes_sent: To callers.
    """

    requests: int
    attempts: int
    fresh_input: int
    cache_read: int
    cache_write: int
    output_text: int
    output_reasoning: int
    cost_nanousd: int
    unpriced: int
    estimated: int
    duration_us: int
    bytes_sent: int
    time: str | UnsetType = UNSET
    gateway: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    team: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET


class UsageRows(Struct):
    """What was asked, used and spent.

    rows: In the order of time, then those that cost or ask most first.
    """

    rows: list[UsageRow]


class Wanted(NamedTuple):
    """What somebody asks for; times in milliseconds since 1970."""

    by: tuple[str, ...]
    step: str | None
    since_ms: int
    until_ms: int | None


def wanted(asked: UsageQuery, now_ms: int) -> Wanted:
    """ValueError where something cannot be asked for."""
    by = tuple(dict.fromkeys(name.strip() for name in asked.by.split(",") if name))
    for name in by:
        if name not in NAMES:
            raise ValueError(f"by: there is no {name!r}; wanted some of {', '.join(NAMES)}")
    return Wanted(
        by,
        asked.step,
        0 if asked.since is None else max(parse_time(asked.since, now_ms), 0),
        None if asked.until is None else max(parse_time(asked.until, now_ms), 0),
    )


async def rows(store: Store, want: Wanted) -> list[dict[str, Any]]:
    """Rows in the order of time, then those that cost or ask most first."""
    time = "hour" if want.step == "hour" else "day"
    by = (time, *want.by) if want.step is not None else want.by
    found = await store.sums(by, since_ms=want.since_ms, until_ms=want.until_ms)
    if want.step is not None:
        found = _folded(found, want.step, 1 if time == "hour" else DAY_HOURS)
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
    sums: Mapping[tuple[Any, ...], Sequence[int]], step: str, hours: int
) -> dict[tuple[Any, ...], Sequence[int]]:
    """Steps of so many hours as those that were asked for."""
    folded: dict[tuple[Any, ...], Sequence[int]] = {}
    times: dict[int, str] = {}
    for (number, *rest), counts in sums.items():
        time = times.get(number)
        if time is None:
            time = times[number] = begun(number * hours, step)
        group = (time, *rest)
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
