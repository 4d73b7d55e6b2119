"""Holds a ledger's journal, rows and sums against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from .journal import DAMAGED_SUFFIX, SUFFIX, lines_of
from .records import DIMENSIONS, HOUR_MS, SUMS, Damaged, Entry, Group, Sums, record_of, sums_of
from .stores import Store
from .sums import days_of

_PAGE: Final = 1_000
_BY_DAY: Final = ("day", *DIMENSIONS[1:])


class Found(NamedTuple):
    """What there is, and every difference in words.

    waiting: ended exchanges that the store has not taken yet. open: those without an end.
    """

    entries: int
    files: int
    waiting: int
    open: int
    differences: list[str]


async def verify(store: Store, folder: Path, *, kept_since_ms: int | None) -> Found:
    """kept_since_ms: rows from before then may have gone; None where any may have."""
    differences = [
        f"{path.name}: holds what could not be read or stored"
        for path in _paths(folder, DAMAGED_SUFFIX)
    ]
    files = waiting = 0
    opened: set[str] = set()
    closed: set[str] = set()
    for path in _paths(folder, SUFFIX):
        try:
            entries, openings, damaged = _read(path)
        except FileNotFoundError:
            continue  # it has just been shipped
        files += 1
        differences += [f"{path.name}: {text}" for text in damaged]
        opened |= openings
        closed |= {entry.facts.id for _, entry in entries}
        # In this order: what is taken while we look is not missing.
        taken = (await store.progress([path.stem])).get(path.stem, 0)
        ids = [entry.id for end, entry in entries if end <= taken]
        there = await store.has(ids)
        waiting += len(entries) - len(ids)
        oldest = _oldest(kept_since_ms)
        differences += [
            f"{entry.facts.id}: was taken from {path.name} and is not there"
            for end, entry in entries
            if end <= taken and entry.id not in there and entry.at_ms >= oldest
        ]
    async with store.snapshot():
        count, more = await _sums_differ(store, kept_since_ms)
    return Found(count, files, waiting, len(opened - closed), differences + more)


def _paths(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"*{suffix}"))


def _oldest(kept_since_ms: int | None) -> int:
    return 1 << 62 if kept_since_ms is None else kept_since_ms


def _read(path: Path) -> tuple[list[tuple[int, Entry]], set[str], list[str]]:
    """The closings of a file with where they end, what it opens, and what cannot be read."""
    with path.open("rb") as file:
        lines, _ = lines_of(file.fileno(), 0)
    entries, openings, damaged = [], set(), []
    at = 0
    for line in lines:
        at += len(line) + 1
        try:
            record = record_of(line)
        except Damaged as error:
            damaged.append(str(error))
            continue
        if isinstance(record, Entry):
            entries.append((at, record))
        elif record is not None:
            openings.add(record.id)
    return entries, openings, damaged


async def _sums_differ(store: Store, kept_since_ms: int | None) -> tuple[int, list[str]]:
    count, first = 0, None
    counted: Sums = {}
    page: list[Entry] = []
    async for entry in store.entries():
        first = entry.at_ms // HOUR_MS if first is None else first
        count += 1
        page.append(entry)
        if len(page) == _PAGE:
            _add(counted, sums_of(page))
            page = []
    _add(counted, sums_of(page))
    kept = {group: list(sums) for group, sums in (await store.sums()).items()}
    differences = _differences(counted, kept, _comparable_from(first, kept_since_ms))
    in_days = await store.sums(_BY_DAY)
    return count, differences + _differences(days_of(kept), in_days, 0, ("hours", "days"), _BY_DAY)


def _comparable_from(first: int | None, kept_since_ms: int | None) -> int:
    """The first hour whose rows must all be there. Rows go by age or size, and their sums stay."""
    if kept_since_ms is None:
        return 1 << 62 if first is None else first + 1
    return kept_since_ms // HOUR_MS + 1 if kept_since_ms > 0 else 0


def _add(counted: Sums, more: Sums) -> None:
    for group, counts in more.items():
        before = counted.get(group)
        counted[group] = (
            counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
        )


def _differences(
    counted: Mapping[Group, Sequence[int]],
    kept: Mapping[Group, Sequence[int]],
    since: int,
    who: tuple[str, str] = ("rows", "sums"),
    names: Sequence[str] = DIMENSIONS,
) -> list[str]:
    texts = []
    nothing = [0] * len(SUMS)
    for group in sorted({*counted, *kept}):
        if group[0] < since:
            continue
        rows, sums = list(counted.get(group, nothing)), list(kept.get(group, nothing))
        for name, of_rows, in_sums in zip(SUMS, rows, sums, strict=True):
            if of_rows != in_sums:
                facts = dict(zip(names, group, strict=True))
                texts.append(
                    f"{name} of {facts}: the {who[0]} say {of_rows}, the {who[1]} {in_sums}"
                )
    return texts
