"""Writes one line for every exchange: what was asked of whom, how it ended, and how long it took.

A line is a JSON object. It holds no header, no body and no query, and known secrets are blanked by
their value. It is made once the caller has its answer; a thread writes lines in batches, and where
the reader of the log cannot keep up, lines are dropped and the number of them is written. What an
exchange did not come to know is left out of its line.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec

from gateway import COMPLETE, Exchange, Gateway, LineWriter, StartError, hookimpl, record

NAME: Final = "access_log"
STDERR: Final = 2


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where lines go, and which.

    path: File to append to, which may be moved away at any time; empty means standard error. It
        is one for all gateways, opened at start.
    one_in: Of the exchanges that ended well, write one in that many; all others are written.
    """

    path: str = ""
    one_in: Annotated[int, msgspec.Meta(ge=1)] = 1


class Plugin:
    """Makes lines, and owns the thread that writes them."""

    def __init__(self, config: Config) -> None:
        self._path = config.path
        self._writer: LineWriter | None = None
        self._ended_well = 0

    def check(self, config: Config, _: Path) -> Iterator[str]:
        """What would stop the start, for `weir check`, which makes no file."""
        path = Path(config.path).expanduser()
        if config.path and not os.access(path if path.exists() else path.parent, os.W_OK):
            yield f"path {config.path}: cannot be written; its folder must be there"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        self._writer = writer = _opened(self._path)
        try:
            yield
        finally:
            self._writer = None
            await asyncio.to_thread(writer.close)

    @hookimpl
    def account(self, exchange: Exchange) -> None:
        writer = self._writer
        if writer is None:
            return
        if exchange.outcome == COMPLETE:
            self._ended_well += 1
            if self._ended_well % exchange.settings[NAME].one_in:
                return
        writer.put(record(exchange, "exchange"))


def _opened(path: str) -> LineWriter:
    if not path:
        return LineWriter(STDERR)
    try:
        return LineWriter(Path(path).expanduser())
    except OSError as error:
        raise StartError(f"path {path}: {error.strerror or error}") from error
