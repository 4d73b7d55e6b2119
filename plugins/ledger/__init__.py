"""Keeps a row of every exchange and of each of its attempts, through a crash at any moment.

An attempt is written into a journal before its first byte goes up, and the exchange's end before
its caller can see it; a thread moves what is over into a store. What a killed process has left
becomes rows at the next start, those without an end as `orphaned`. While the journal cannot be
written, new requests are refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Self

import msgspec

from gateway import (
    Attempt,
    Duration,
    Exchange,
    Gateway,
    OwnFault,
    Size,
    StartError,
    closing_entry,
    get_logger,
    hookimpl,
    opening_entry,
    parse_duration,
    parse_size,
)

from .journal import FILE_BYTES, Journal, JournalFailed
from .shipper import Shipper
from .stores import opened

log = get_logger("ledger")

NAME = "ledger"
RETRY_S = 1.0
# Within this time what was written by several requests is made durable together.
GROUP_S = 0.002


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where rows are kept. One ledger for all gateways, opened at start.

    store: "sqlite" for a file in the state directory, or "postgresql://user@host/database".
    durability: "process" survives a killed process, "power" a machine that loses power too, for
        which each request waits for the disk.
    journal_bytes_max: What may wait for a store that is away; beyond it new requests are refused.
    keep: How long rows are kept; sums by the hour stay.
    keep_bytes_max: How large the store may grow before its oldest rows go; 0 is no bound.
    """

    store: str = "sqlite"
    durability: Literal["process", "power"] = "process"
    journal_bytes_max: Size = parse_size("1GiB")
    keep: Duration = parse_duration("400d")
    keep_bytes_max: Size = parse_size("0B")


class Plugin:
    """Owns the journal and the thread that empties it."""

    after = ("usage", "cost", "budget")
    last_in = ("send",)

    def __new__(cls, config: Config) -> Self:
        """One who waits for the disk is another class, because the colour of `send` is fixed."""
        return super().__new__(_Durable if config.durability == "power" else cls)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._journal: Journal | None = None
        self._gateway: Gateway | None = None
        self._late: deque[tuple[str, bytes]] = deque()  # closings that could not be written
        self._failing = False

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        config = self.config
        folder = gateway.state_path / "journal"
        try:
            journal = Journal(folder, bytes_max=max(config.journal_bytes_max, 2 * FILE_BYTES))
        except (JournalFailed, OSError) as error:
            raise StartError(f"ledger: the journal cannot be made: {error}") from error
        self._journal = journal
        self._gateway = gateway
        shipper = Shipper(journal, opened(config.store, gateway.state_path), config)
        retrying = gateway.task(self._retry(), "ledger-retry")
        shipper.start()
        try:
            yield
        finally:
            retrying.cancel()
            await asyncio.to_thread(shipper.stop)
            self._journal = None
            journal.end()

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        self._open(exchange, attempt)

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        journal = self._journal
        if journal is None:
            return
        line = closing_entry(exchange)
        if self._failing:
            self._put_off(exchange.id, line)
            return
        try:
            journal.close(exchange.id, line)
        except JournalFailed as error:
            self._fail(error)
            self._put_off(exchange.id, line)

    def _open(self, exchange: Exchange, attempt: Attempt) -> None:
        journal = self._journal
        if journal is None or self._failing:
            raise _refusal()
        try:
            journal.open(exchange.id, opening_entry(exchange, attempt))
        except JournalFailed as error:
            self._fail(error)
            raise _refusal() from error

    # -- while the journal fails -------------------------------------------------------------------

    def _fail(self, error: JournalFailed) -> None:
        assert self._gateway is not None
        if not self._failing:
            log.error("journal_failed", detail=str(error))
        self._failing = True
        self._gateway.trouble(NAME, f"the journal cannot be written: {error}")

    def _put_off(self, key: str, line: bytes) -> None:
        """Keep a closing for later: what was open when the journal failed, and refusals."""
        assert self._journal is not None
        if self._journal.is_open(key):
            self._late.append((key, line))

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            journal, gateway = self._journal, self._gateway
            if not self._failing or journal is None or gateway is None:
                continue
            try:
                journal.renew()
                while self._late:
                    journal.close(*self._late[0])
                    self._late.popleft()
            except JournalFailed as error:
                self._fail(error)
                continue
            self._failing = False
            gateway.trouble(NAME, None)
            log.warning("journal_works_again", late=len(self._late))


class _Durable(Plugin):
    """Waits until the disk has the opening, together with others that wait."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._syncing: asyncio.Task[None] | None = None

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> None:  # type: ignore[override]  # waits
        self._open(exchange, attempt)
        syncing = self._syncing
        if syncing is None:
            syncing = self._syncing = asyncio.get_running_loop().create_task(self._sync())
        try:
            await asyncio.shield(syncing)
        except OSError as error:
            self._fail(JournalFailed(str(error)))
            raise _refusal() from error

    async def _sync(self) -> None:
        await asyncio.sleep(GROUP_S)
        self._syncing = None  # who writes from now on waits for the next
        journal = self._journal
        if journal is not None:
            await asyncio.to_thread(journal.sync)


def _refusal() -> OwnFault:
    return OwnFault(
        "The gateway cannot record this request now; try again later.",
        status=503,
        code="ledger_unavailable",
        headers=((b"Retry-After", b"5"),),
    )
