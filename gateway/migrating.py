"""The numbered steps of a plugin's schema, `migrations/KIND/NNNN_WORDS.sql` in its package.

Each is run once, in order. One that has been released is never changed; the next one is another
file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any


class SchemaFault(Exception):
    """A schema that this version cannot use; the text says why."""


def migrations(package: str, kind: str) -> list[tuple[int, str]]:
    """The numbered SQL files of a package's kind of store, in order."""
    folder = resources.files(package) / "migrations" / kind
    files = sorted((file for file in folder.iterdir()), key=lambda file: file.name)
    return [
        (int(file.name[:4]), file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".sql")
    ]


def statements(text: str) -> Iterator[str]:
    """The statements of a migration, one by one: `executescript` would commit before the first."""
    held = ""
    for line in text.splitlines(keepends=True):
        held += line
        if sqlite3.complete_statement(held):
            yield held
            held = ""


def migrate_sqlite(db: sqlite3.Connection, package: str) -> None:
    """Bring a file's schema up to date, in one transaction; several processes may try at once.

    db: in autocommit mode. Raises `SchemaFault` and `sqlite3.Error`, and has then changed nothing.
    """
    known = migrations(package, "sqlite")
    if _version_of_file(db, known[-1][0]) == known[-1][0]:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version_of_file(db, known[-1][0])  # as nobody changes it any more
        for number, text in known:
            if number > version:
                for statement in statements(text):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def look_at_sqlite(path: Path, package: str) -> None:
    """See whether a file can be used, and change nothing; one that is not there can.

    Raises `SchemaFault`, `sqlite3.Error` and `OSError`.
    """
    if not os.access(path, os.F_OK):
        return
    if not os.access(path, os.W_OK):
        raise SchemaFault(f"{path} cannot be written")
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
        _version_of_file(db, migrations(package, "sqlite")[-1][0])


async def migrate_postgres(db: Any, package: str, table: str, lock: int) -> None:
    """Bring a database's schema up to date; several gateways may try at once.

    db: asyncpg's connection. table: where the schema's number stands. lock: any number, so long as
    no other program on the same database takes it (pg_advisory_xact_lock). Raises `SchemaFault` and
    what asyncpg raises, and has then changed nothing.
    """
    known = migrations(package, "postgres")
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", lock)
        await db.execute("SET LOCAL client_min_messages = warning")
        await db.execute(f"CREATE TABLE IF NOT EXISTS {table} (version int NOT NULL)")
        version = await _version_of_database(db, table, known[-1][0])
        for number, text in known:
            if number > version:
                await db.execute(text)
                await db.execute(f"INSERT INTO {table} VALUES ($1)", number)  # noqa: S608 - ours


async def look_at_postgres(db: Any, package: str, table: str) -> None:
    """See whether a database can be used, and change nothing. Raises as `migrate_postgres`."""
    if await db.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
        await _version_of_database(db, table, migrations(package, "postgres")[-1][0])
    elif not await db.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
        raise SchemaFault("this user may not make tables here; grant it CREATE")


def _version_of_file(db: sqlite3.Connection, newest: int) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return _known(int(version), newest)


async def _version_of_database(db: Any, table: str, newest: int) -> int:
    version = await db.fetchval(f"SELECT max(version) FROM {table}")  # noqa: S608 - ours
    return _known(int(version or 0), newest)


def _known(version: int, newest: int) -> int:
    if version > newest:
        raise SchemaFault(
            f"the schema is {version}, newer than this version's {newest}: it was written by a "
            "newer Weir"
        )
    return version
