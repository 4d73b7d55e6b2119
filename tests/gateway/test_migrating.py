from __future__ import annotations

import contextlib
import sqlite3

import pytest

from gateway.migrating import (
    SchemaFault,
    look_at_sqlite,
    migrate_sqlite,
    migrations,
    statements,
)


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


def test_a_file_that_has_not_been_made_yet_can_be_used_and_is_not_made(tmp_path):
    look_at_sqlite(tmp_path / "x.db", "plugins.ledger")
    assert list(tmp_path.iterdir()) == []


def test_a_schema_of_a_newer_version_is_a_fault_and_stays(tmp_path):
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        migrate_sqlite(database, "plugins.ledger")
        migrate_sqlite(database, "plugins.ledger")
        look_at_sqlite(path, "plugins.ledger")
        database.execute("PRAGMA user_version = 99")
        with pytest.raises(SchemaFault, match="99, newer"):
            migrate_sqlite(database, "plugins.ledger")
        with pytest.raises(SchemaFault, match="99, newer"):
            look_at_sqlite(path, "plugins.ledger")


def test_a_step_that_fails_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE billed (mine TEXT)")  # in the way of the first step
        with pytest.raises(sqlite3.OperationalError, match="billed"):
            migrate_sqlite(database, "plugins.ledger")
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
        assert names == ["billed"]
        assert database.execute("PRAGMA user_version").fetchone() == (0,)
