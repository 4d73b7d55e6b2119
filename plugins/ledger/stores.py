"""What a store of entries does, and how one is chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, cast

from gateway import open_store

from .records import DIMENSIONS, HOUR_MS, Entry

SQLITE_FILE: Final = "ledger.db"


class Store(Protocol):
    """Where entries are kept. Every method may raise `StoreAway`, and has then changed nothing.

    All are called by one thread's event loop, one at a time.
    """

    async def check(self) -> None:
        """See whether `open` would do, and change nothing. `StoreAway` says why not."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date."""

    async def close(self) -> None: ...

    async def progress(self, journals: Iterable[str]) -> dict[str, int]:
        """How far each of these journals' files has been taken; those not named are at 0."""

    async def add(self, entries: Sequence[Entry], journal: str | None, offset: int) -> None:
        """Take entries, their sums and the journal's new offset in one transaction.

        An entry that is there already is left as it is and adds to no sum; so is one whose
        `progress` shows that it was taken. May raise `StoreRefused`.
        """

    async def forget(self, journals: Iterable[str]) -> None:
        """These journals' files are gone."""

    def entries(self, *, since_ms: int = 0, until_ms: int | None = None) -> AsyncIterator[Entry]:
        """All entries of a span of time, oldest first."""

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """Read inside of this as of one moment, and write nothing."""

    async def has(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of some ids whose entries are there."""

    async def sums(
        self,
        by: Sequence[str] = DIMENSIONS,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
    ) -> Mapping[tuple[Any, ...], Sequence[int]]:
        """The kept sums, `records.SUMS` by some of `records.DIMENSIONS`, of whole hours.

        "day" may stand in the place of "hour".
        """

    async def billed(self, limit: int) -> Sequence[tuple[str, str]]:
        """Provider and response id of the latest answers that count once, oldest first."""

    async def bound_of(self, bytes_max: int) -> bytes | None:
        """The id below which entries have to go for the rest to take so many bytes."""

    async def expire(self, bound: bytes, limit: int) -> int:
        """Delete up to `limit` of the oldest entries below an id; give how many went."""


def hours(since_ms: int, until_ms: int | None) -> tuple[int, int]:
    """The first hour of a span of time, and the first that is past it."""
    last = (1 << 48) // HOUR_MS if until_ms is None else -(-until_ms // HOUR_MS)
    return since_ms // HOUR_MS, last


def opened(address: str, state: Path, *, durable: bool = False) -> Store:
    """The store of an address, not connected yet. durable: what it took survives a power cut."""
    return cast("Store", open_store(address, state / SQLITE_FILE, __package__, durable=durable))
