"""A SQLite file as a store uses it: in WAL mode, so that any number of processes read while one of
them writes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.migrating import SchemaFault, migrate_sqlite
from gateway.stores import StoreAway, StoreRefused

# How long to wait for who writes.
BUSY_S: Final = 5.0
# Twice the usual: a row that takes more than a quarter of a page gets one of its own.
_PAGE_BYTES: Final = 8192
_AGAIN_S: Final = 0.01


def open_sqlite(
    path: Path, package: str, *, busy_s: float = BUSY_S, durable: bool = False
) -> sqlite3.Connection:
    """Open a file, made for its owner alone where there is none, with its schema up to date.

    The connection is in autocommit mode, for one thread at a time. durable: what was committed
    survives a power cut. Without, a killed process is all that it has to survive.
    """
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
        _use_wal(db, busy_s)
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        migrate_sqlite(db, package)
    except BaseException:
        db.close()
        raise
    return db


def _use_wal(db: sqlite3.Connection, busy_s: float) -> None:
    """Have a file use WAL. SQLite does not wait here for another process that is just making the
    file, whatever its timeout; so we do.
    """
    until = time.monotonic() + busy_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


@contextlib.contextmanager
def sqlite_transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Write all of what is in the block, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def sqlite_faults() -> Iterator[None]:
    """Turn what SQLite says into `StoreAway` and `StoreRefused`."""
    try:
        yield
    except (sqlite3.DataError, sqlite3.IntegrityError, OverflowError, UnicodeError) as error:
        raise StoreRefused(f"sqlite: {error}") from error
    except (sqlite3.Error, OSError, SchemaFault) as error:
        raise StoreAway(f"sqlite: {error}") from error
