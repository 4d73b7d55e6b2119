"""A SQLite file: its owner's alone, many who read, one who writes, and what faults mean."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from gateway import (
    StoreAway,
    StoreRefused,
    open_sqlite,
    sqlite_faults,
    sqlite_transaction,
)

PACKAGE = "plugins.logs"


def write(db: sqlite3.Connection, *statements: str) -> None:
    with sqlite_transaction(db):
        for statement in statements:
            db.execute(statement)


def test_a_new_file_is_its_owners_alone_and_has_a_schema(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    db = open_sqlite(path, PACKAGE)

    assert path.stat().st_mode & 0o777 == 0o600
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM logs").fetchone() == (0,)
    db.close()


def test_a_durable_one_waits_for_the_disk(tmp_path: Path) -> None:
    db = open_sqlite(tmp_path / "x.db", PACKAGE, durable=True)

    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    db.close()


def test_a_block_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    db = open_sqlite(tmp_path / "x.db", PACKAGE)
    db.execute("CREATE TABLE t (n INTEGER)")
    with pytest.raises(sqlite3.OperationalError):
        write(db, "INSERT INTO t VALUES (1)", "no statement")
    write(db, "INSERT INTO t VALUES (2)")

    assert db.execute("SELECT n FROM t").fetchall() == [(2,)]
    assert not db.in_transaction
    db.close()


def test_who_writes_keeps_others_waiting_so_long_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    one, other = open_sqlite(path, PACKAGE), open_sqlite(path, PACKAGE, busy_s=0.05)
    with sqlite_transaction(one):
        with (
            pytest.raises(StoreAway, match="sqlite: database is locked"),
            sqlite_faults(),
            sqlite_transaction(other),
        ):
            pass
        assert other.execute("SELECT count(*) FROM logs").fetchone() == (0,)
    one.close()
    other.close()


def test_a_new_file_that_another_is_just_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    done.start()
    open_sqlite(path, PACKAGE).close()
    done.join()
    other.close()


def test_it_is_waited_for_no_longer_than_was_said(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match="locked"), sqlite_faults():
        open_sqlite(path, PACKAGE, busy_s=0.05)
    other.close()


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (sqlite3.OperationalError("disk I/O error"), StoreAway),
        (sqlite3.DatabaseError("file is not a database"), StoreAway),
        (PermissionError("no"), StoreAway),
        (sqlite3.IntegrityError("UNIQUE"), StoreRefused),
        (sqlite3.DataError("too big"), StoreRefused),
        (OverflowError("int"), StoreRefused),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate"), StoreRefused),
    ],
)
def test_a_fault_is_of_the_store_or_of_the_rows(error: Exception, meaning: type[Exception]) -> None:
    with pytest.raises(meaning, match=r"^sqlite: "), sqlite_faults():
        raise error


def test_what_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreAway), sqlite_faults():
        open_sqlite(path, PACKAGE)

    assert path.read_bytes() == b"no database" * 1000
