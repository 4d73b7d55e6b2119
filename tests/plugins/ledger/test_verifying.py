"""What does not agree is found: a row that is gone, a sum that is wrong, a file kept aside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.ledger.journal import Journal
from plugins.ledger.sqlite import SqliteStore
from plugins.ledger.verifying import Found, verify
from tests.plugins.ledger.entries import AT_MS, HOUR_MS, closing, entry, id_of, opening

COUNT = 30


def look(
    folder: Path,
    spoil: Callable[[Any], object] = lambda _: None,
    *,
    kept_since_ms: int | None = 0,
) -> Found:
    """Make a ledger of three hours, spoil it, and hold it against itself."""

    async def story() -> Found:
        store = SqliteStore(folder / "ledger.db")
        await store.open()
        journal = Journal(folder / "journal", bytes_max=1 << 30)
        try:
            given = [entry(id_of(n, AT_MS + n % 3 * HOUR_MS)) for n in range(COUNT)]
            for found in given:
                journal.open(found.document["id"], opening(found.document["id"]))
                journal.close(found.document["id"], found.text + b"\n")
            await store.add(given, journal.current.name, journal.current.at)
            for n in (COUNT, COUNT + 1):
                journal.open(id_of(n), opening(id_of(n)))
            journal.close(id_of(COUNT), closing(id_of(COUNT)))
            spoil(store.db)
            return await verify(store, folder / "journal", kept_since_ms=kept_since_ms)
        finally:
            await store.close()
            journal.current.close()

    return asyncio.run(story())


def test_a_ledger_that_agrees_has_no_difference(tmp_path):
    assert look(tmp_path) == Found(COUNT, 1, 1, 1, [])


def test_a_row_that_was_taken_and_is_gone_is_missed_twice(tmp_path):
    id_ = id_of(7, AT_MS + HOUR_MS)
    entry_id = entry(id_).id
    found = look(tmp_path, lambda db: db.execute("DELETE FROM entries WHERE id = ?", (entry_id,)))
    assert found.entries == COUNT - 1
    assert any(text.startswith(f"{id_}: was taken") for text in found.differences)
    assert any(text.startswith("requests of") for text in found.differences)


@pytest.mark.parametrize("name", ["requests", "output_text", "bytes_sent"])
def test_a_sum_that_is_wrong_is_named(name, tmp_path):
    hour = AT_MS // HOUR_MS
    text = f"UPDATE rollups SET {name} = {name} + 1 WHERE hour = {hour}"
    of_rows, of_days = look(tmp_path, lambda db: db.execute(text)).differences
    assert of_rows.startswith(f"{name} of ")
    assert f"'hour': {hour}" in of_rows
    assert of_days.startswith(f"{name} of {{'day': {hour // 24}")


def test_a_day_that_is_not_the_sum_of_its_hours_is_named(tmp_path):
    text = "UPDATE days SET cost_nanousd = cost_nanousd + 1"
    differences = look(tmp_path, lambda db: db.execute(text)).differences
    assert differences
    assert all("the hours say" in difference for difference in differences)


def test_a_sum_of_nothing_is_found(tmp_path):
    text = f"UPDATE rollups SET model = 'other' WHERE hour = {AT_MS // HOUR_MS}"
    assert len(look(tmp_path, lambda db: db.execute(text)).differences) > 2


def test_hours_whose_rows_may_have_gone_are_not_compared(tmp_path):
    bound = entry(id_of(0, AT_MS + HOUR_MS)).id

    def found(name: str, kept_since_ms: int | None) -> list[str]:
        folder = tmp_path / name
        folder.mkdir()
        text = "DELETE FROM entries WHERE id < ?"
        return look(
            folder, lambda db: db.execute(text, (bound,)), kept_since_ms=kept_since_ms
        ).differences

    assert found("any", None) == []
    assert found("old", AT_MS + HOUR_MS - 1) == []
    assert found("none", 0) != []


def test_what_was_kept_aside_or_cannot_be_read_is_a_difference(tmp_path):
    folder = tmp_path / "journal"

    def spoil(_: Any) -> None:
        (folder / "x-000000.damaged").write_bytes(b"?")
        (folder / "y-000000.journal").write_bytes(b"nonsense\n")

    found = look(tmp_path, spoil)
    assert [text.partition(":")[0] for text in found.differences] == [
        "x-000000.damaged",
        "y-000000.journal",
    ]
