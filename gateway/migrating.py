"""The numbered steps of a plugin's schema, `migrations/KIND/NNNN_WORDS.sql` in its package.

Each is run once, in order. One that has been released is never changed; the next one is another
file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib import resources


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
