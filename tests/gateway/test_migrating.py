from __future__ import annotations

import sqlite3

import pytest

from gateway.migrating import migrations, statements


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_steps_are_numbered_from_one_without_a_gap(kind):
    numbers = [number for number, _ in migrations("plugins.ledger", kind)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_a_migration_is_run_statement_by_statement():
    text = "-- a; b\nCREATE TABLE a (x TEXT DEFAULT ';');\n\nCREATE TABLE b (\n  y TEXT\n);\n"
    found = list(statements(text))
    assert len(found) == 2
    database = sqlite3.connect(":memory:")
    for statement in found:
        database.execute(statement)
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    database.close()
    assert names == ["a", "b"]
