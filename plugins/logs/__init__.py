"""Keeps a searchable row of every exchange, and its bodies where that is wanted.

A row holds the facts of the exchange, as the ledger has them; with `payload`, the beginnings of the
request's and the answer's bodies, after what must not be kept was blanked. It can be judged
(feedback, score) and deleted. Rows are written behind the traffic's back: a store that is away,
slow or full costs rows, and never delays or fails a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from gateway import (
    Duration,
    Endpoint,
    Exchange,
    Gateway,
    Size,
    StartError,
    StoreAway,
    closing_entry,
    hookimpl,
    parse_duration,
    parse_size,
)

from .api import endpoints
from .collecting import Collector, Passed, credentials_of, kind_of_answer, side_of_request
from .reader import Reader
from .rules import Rule
from .stores import opened
from .writer import Writer

NAME: Final = "logs"
COLLECT: Final = b"collect-log"
PAYLOAD: Final = b"collect-log-payload"
BODY_BYTES_MAX: Final = parse_size("16MiB")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept, where, and how long.

    collect: Keep a row of each exchange.
    payload: Keep its bodies too.
    by_header: Callers may say otherwise for a request, with `weir-collect-log` and
        `weir-collect-log-payload` (or the cf-aig names): "true" or "false".
    body_bytes_max: How much of each body is kept, from its beginning.
    redact: What to blank in bodies, a table each: `pattern`, a regular expression, and `with`.
    queue_bytes_max: What may wait, in each process, for the store; beyond it rows are dropped. It
        is fixed at start.
    store: "sqlite" for a file in the state directory, or "postgresql://user@host/database". It is
        one for all gateways, opened at start.
    keep: How long rows are kept. It is fixed at start.
    keep_bytes_max: About how large the rows may grow before the oldest go; 0 is no bound. It is
        fixed at start.
    """

    collect: bool = True
    payload: bool = False
    by_header: bool = True
    body_bytes_max: Size = parse_size("64KiB")
    redact: tuple[Rule, ...] = ()
    queue_bytes_max: Size = parse_size("32MiB")
    store: str = "sqlite"
    keep: Duration = parse_duration("30d")
    keep_bytes_max: Size = parse_size("1GiB")

    def __post_init__(self) -> None:
        if self.body_bytes_max > BODY_BYTES_MAX:
            raise ValueError(f"body_bytes_max: wanted at most {BODY_BYTES_MAX}")


class Plugin:
    """Hands over what has passed, and owns the threads that write and read."""

    after = ("usage", "cost")
    reads = "json"
    watches = "caller"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    def idle(self, config: Config) -> tuple[str, ...]:
        if config.by_header or (config.collect and config.payload):
            return ()
        return ("tap",) if config.collect else ("tap", "account")

    def check(self, config: Config, state: Path) -> list[str]:
        """What would stop a start, or keep rows out of the store."""
        try:
            asyncio.run(opened(config.store, state).check())
        except (StartError, StoreAway) as error:
            return [f"store: {error}"]
        return []

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        config = self.config
        stores = [opened(config.store, gateway.state_path) for _ in range(2)]
        writer = Writer(stores[0], config, partial(gateway.count, "logs_dropped"))
        reader = Reader(stores[1])
        self._reader = reader
        writer.start()
        reader.start()
        self._writer = writer
        try:
            yield
        finally:
            self._writer = None
            await asyncio.gather(asyncio.to_thread(writer.stop), asyncio.to_thread(reader.stop))

    @hookimpl
    def endpoints(self, gateway: Gateway) -> list[Endpoint]:
        assert self._reader is not None
        return endpoints(self._reader, lambda: gateway.is_draining)

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Collector | None:
        writer = self._writer
        if writer is None:
            return None
        config: Config = exchange.settings[NAME]
        if not _wants(exchange, config, config.payload, PAYLOAD) or not _wants(
            exchange, config, config.collect, COLLECT
        ):
            return None
        earlier: Collector | None = exchange.notes.get(NAME)
        if earlier is not None:  # of an answer that was replaced by one of our own
            writer.tally.came -= len(earlier.data)
        kind = kind_of_answer(exchange)
        collector = exchange.notes[NAME] = Collector(writer.tally, config.body_bytes_max, kind)
        return collector

    @hookimpl
    def account(self, exchange: Exchange) -> None:
        writer = self._writer
        if writer is None:
            return
        config: Config = exchange.settings[NAME]
        if not _wants(exchange, config, config.collect, COLLECT):
            return
        entry = closing_entry(exchange)
        if _wants(exchange, config, config.payload, PAYLOAD):
            writer.put(self._passed(exchange, entry, config, writer))
        else:
            writer.put(entry)

    def _passed(self, exchange: Exchange, entry: bytes, config: Config, writer: Writer) -> Passed:
        tally, limit = writer.tally, config.body_bytes_max
        request = side_of_request(exchange, limit)
        if request is not None:
            tally.came += len(request.data)
        collector: Collector | None = exchange.notes.get(NAME)
        response = None if collector is None else collector.side()
        return Passed(entry, request, response, limit, config.redact, credentials_of(exchange))


def _wants(exchange: Exchange, config: Config, usual: bool, field: bytes) -> bool:
    """Whether an exchange is to be kept; a field that says neither true nor false says nothing."""
    if exchange.controls is None or not config.by_header:
        return usual
    said = exchange.control(field)
    if said is None:
        return usual
    return {b"true": True, b"false": False}.get(said.strip().lower(), usual)
