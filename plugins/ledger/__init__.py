"""Keeps a row of every exchange and of each of its attempts, through a crash at any moment.

An attempt is written into a journal before its first byte goes up, and the exchange's end before
its caller can see it; a thread moves what is over into a store. What a killed process has left
becomes rows at the next start, those without an end as `orphaned`. While the journal cannot be
written, new requests are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Self, cast

import msgspec
import orjson
from aiohttp import web

from gateway import (
    Attempt,
    Doc,
    Duration,
    Endpoint,
    ErrorAnswer,
    Exchange,
    Gateway,
    OwnFault,
    Size,
    StartError,
    StoreAway,
    closing_entry,
    get_logger,
    hookimpl,
    now_ms,
    opening_entry,
    parse_duration,
    parse_size,
    read_query,
)

from .journal import FILE_BYTES, Journal, JournalFailed
from .orphans import Prices
from .reader import Reader
from .shipper import Shipper
from .stores import opened
from .table import UsageQuery, UsageRows, wanted

log = get_logger("ledger")

NAME = "ledger"
JOURNAL = "journal"  # the folder, in the state directory
RETRY_S = 1.0
# Within this time what was written by several requests is made durable together.
GROUP_S = 0.002
USAGE = Doc(
    "What was asked, used and spent.",
    query=UsageQuery,
    answers={200: UsageRows, 400: ErrorAnswer, 503: ErrorAnswer},
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where rows are kept, and how long.

    store: "sqlite" for a file in the state directory, or "postgresql://user@host/database". It is
        one for all gateways, opened at start.
    durability: "process" survives a killed process, "power" a machine that loses power too, for
        which each request waits for the disk.
    journal_bytes_max: What may wait, in each process, for a store that is away; beyond it new
        requests are refused.
    keep: How long rows are kept; sums by the hour stay.
    keep_bytes_max: How large the rows may grow before the oldest go; 0 is no bound.
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
        kind = _Durable if config.durability == "power" else cls
        return cast("Self", super().__new__(kind))

    def __init__(self, config: Config) -> None:
        self.config = config
        self._journal: Journal | None = None
        self._gateway: Gateway | None = None
        self._reader: Reader | None = None
        self._late: deque[tuple[str, bytes]] = deque()  # closings that could not be written
        self._failing = False

    def check(self, config: Config, state: Path) -> Iterator[str]:
        """What would stop the start, or keep rows waiting in the journal."""
        folder = (state / JOURNAL).absolute()
        near = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
        if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
            yield f"{near}: the journal cannot be made there; set state_dir to a folder of yours"
        try:
            asyncio.run(opened(config.store, state).check())
        except (StartError, StoreAway) as error:
            yield f"store: {error}"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        config = self.config
        is_durable = config.durability == "power"
        # Both, before anything is made: one fault in the address is one message.
        stores = [opened(config.store, gateway.state_path, durable=is_durable) for _ in range(2)]
        folder = gateway.state_path / JOURNAL
        try:
            journal = Journal(folder, bytes_max=max(config.journal_bytes_max, 2 * FILE_BYTES))
        except (JournalFailed, OSError) as error:
            raise StartError(f"ledger: the journal cannot be made: {error}") from error
        self._journal = journal
        self._gateway = gateway
        prices: Prices | None = None
        with contextlib.suppress(StartError):  # nothing has to know them
            prices = gateway.require("prices")
        shipper = Shipper(journal, stores[0], config, self._trim, prices)
        self._reader = reader = Reader(shipper, stores[1])
        gateway.provide(NAME, reader)
        retrying = gateway.task(self._retry(), "ledger-retry")
        shipper.start()
        try:
            yield
        finally:
            retrying.cancel()
            late = self._leave(journal)
            if await asyncio.to_thread(shipper.stop, late, reader.close):
                journal.end()
            self._journal = None

    @hookimpl
    def endpoints(self, gateway: Gateway) -> list[Endpoint]:
        return [Endpoint("GET", "/api/usage", self._usage, doc=USAGE)]

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        self._open(exchange, attempt)

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        journal, key = self._journal, exchange.id
        if journal is None:
            return
        if self._failing and not journal.is_open(key):
            return  # refused because of that, mostly: nothing was asked of anybody
        line = closing_entry(exchange)
        try:
            journal.close(key, line)
        except JournalFailed as error:
            self._fail(error)
            if journal.is_open(key):
                self._late.append((key, line))

    def _open(self, exchange: Exchange, attempt: Attempt) -> None:
        journal = self._journal
        if journal is None or self._failing:
            raise _refusal()
        try:
            journal.open(exchange.id, opening_entry(exchange, attempt))
        except JournalFailed as error:
            self._fail(error)
            raise _refusal() from error

    def _trim(self) -> None:
        """Let go of files that were shipped."""
        if self._journal is not None:
            try:
                self._journal.trim()
            except JournalFailed as error:
                self._fail(error)

    async def _usage(self, request: web.Request) -> web.Response:
        """Sums by any of their dimensions: `?by=team,model&step=day&since=7d&until=...`."""
        assert self._reader is not None
        try:
            want = wanted(read_query(UsageQuery, request.query), now_ms())
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        try:
            return _json({"rows": await self._reader.table(want)})
        except StoreAway as error:
            return _json({"error": str(error)}, 503)

    # -- while the journal fails -------------------------------------------------------------------

    def _fail(self, error: JournalFailed) -> None:
        assert self._gateway is not None
        if not self._failing:
            log.error("journal_failed", detail=str(error))
        self._failing = True
        self._gateway.trouble(NAME, f"the journal cannot be written: {error}")

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            journal, gateway = self._journal, self._gateway
            if not self._failing or journal is None or gateway is None:
                continue
            late = len(self._late)
            try:
                self._resume(journal)
            except JournalFailed as error:
                self._fail(error)
                continue
            self._failing = False
            gateway.trouble(NAME, None)
            log.warning("journal_works_again", late=late)

    def _resume(self, journal: Journal) -> None:
        journal.renew()
        while self._late:
            journal.close(*self._late[0])
            self._late.popleft()

    def _leave(self, journal: Journal) -> list[bytes]:
        """At the end: what no journal can take, the store may."""
        if self._late:
            with contextlib.suppress(JournalFailed):
                self._resume(journal)
        return [line for _, line in self._late]


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


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
