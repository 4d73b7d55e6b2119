"""What the stores of plugins have in common: how one is chosen, and what they raise.

A plugin that keeps rows has a module for each kind, `sqlite` with a `SqliteStore(file)` and
`postgres` with a `PostgresStore(address)`; only the one that is used is imported. Rows are known by
ids in the order of time (UUIDv7, RFC 9562 section 5.7).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from gateway.errors import StartError

# An id that is above all others.
ID_MAX: Final = b"\xff" * 16


class StoreAway(Exception):
    """The store cannot do it now; the text says why. Trying again may help."""


class StoreRefused(Exception):
    """The store will never take these rows; the text says why. Others it may."""


def open_store(address: str, file: Path, package: str, **options: Any) -> Any:
    """The store of an address, not connected yet. StartError for one that nobody knows.

    address: "sqlite" for `file`, or "postgresql://user@host/database". package: the plugin's.
    options: for its `SqliteStore`.
    """
    plugin = package.rpartition(".")[2]
    if address == "sqlite":
        return importlib.import_module(".sqlite", package).SqliteStore(file, **options)
    if address.startswith(("postgresql://", "postgres://")):
        try:
            module = importlib.import_module(".postgres", package)
        except ImportError as error:
            raise StartError(
                f"{plugin}: {error.name} is not installed, which PostgreSQL needs; "
                'pip install "weir[postgres]"'
            ) from error
        return module.PostgresStore(address)
    raise StartError(
        f'{plugin}: store = "{address.partition(":")[0]}...": wanted "sqlite" or '
        '"postgresql://user@host/database"'
    )


def id_at(at_ms: int) -> bytes:
    """The least id of that millisecond."""
    return max(at_ms, 0).to_bytes(6, "big") + bytes(10)


def id_after(id_: bytes) -> bytes:
    """The next id of all that there could be."""
    return (int.from_bytes(id_, "big") + 1).to_bytes(16, "big")
