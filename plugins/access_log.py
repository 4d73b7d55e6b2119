"""Writes one line for every exchange: what was asked of whom, how it ended, and how long it took.

A line is a JSON object. It holds no header, no body and no query, and known secrets are blanked by
their value. The exchange leaves a handful of values behind and goes on; a thread makes lines of
them and writes them in batches, and where the reader of the log cannot keep up, lines are dropped
and the number of them is written. What an exchange did not come to know is left out of its line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import orjson
import structlog

from gateway import COMPLETE, Exchange, Gateway, LineWriter, StartError, hookimpl

NAME: Final = "access_log"
STDERR: Final = 2
# A path is the caller's to choose, as long as a head may be; a line is not.
PATH_BYTES_MAX: Final = 1024

DURATIONS: Final = ("duration_ms", "head_ms", "connect_ms", "upstream_ms")
Values = dict[str, Any]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where lines go, and which.

    path: File to append to, which may be moved away at any time; empty means standard error. It
        is one for all gateways, opened at start.
    one_in: Of the exchanges that ended well, write one in that many; all others are written.
    """

    path: str = ""
    one_in: Annotated[int, msgspec.Meta(ge=1)] = 1


class Plugin:
    """Collects the values of a line, and owns the thread that writes them."""

    def __init__(self, config: Config) -> None:
        self._path = config.path
        self._writer: LineWriter | None = None
        self._ended_well = 0

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
        writer.put(values(exchange))


def values(exchange: Exchange) -> Values:
    """What the line of an exchange will hold, in its order, still as it was found."""
    ended = exchange.ended_ns or time.monotonic_ns()
    started = exchange.started_ns
    provider, error, identity = exchange.provider, exchange.error, exchange.identity
    answered, attempts = exchange.answered_ns, exchange.attempts
    connect = upstream = None
    if attempts:
        last = attempts[-1]
        provider = last.target.provider
        if last.connected_ns is not None:
            connect = last.connected_ns - last.started_ns
        if last.first_byte_ns is not None and last.sent_ns is not None:
            upstream = last.first_byte_ns - last.sent_ns
    return {
        "timestamp": ended,
        "level": "info",
        "event": "exchange",
        "id": exchange.id,
        "parent_id": exchange.parent_id,
        "method": exchange.method,
        "path": exchange.target,
        "gateway": exchange.gateway,
        "provider": None if provider is None else provider.name,
        "model": exchange.model,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "error": None if error is None else error.code,
        "attempts": len(attempts),
        "peer": exchange.peer,
        "key_id": None if identity is None else identity.key_id,
        "bytes_received": exchange.bytes_received,
        "bytes_sent": exchange.bytes_sent,
        "duration_ms": ended - started,
        "head_ms": None if answered is None else answered - started,
        "connect_ms": connect,
        "upstream_ms": upstream,
    }


# -- in the writer's thread ------------------------------------------------------------------------

_stamp: Final = structlog.processors.TimeStamper(fmt=None, utc=True)
_render: Final = structlog.processors.JSONRenderer(serializer=orjson.dumps)


def line(found: Values) -> bytes:
    """Make the line of what was found."""
    # The clock of the day is read here; the exchange ended some time before.
    late_s = (time.monotonic_ns() - found["timestamp"]) / 1e9
    at = _stamp(None, "", {})["timestamp"] - late_s
    shown = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    found["timestamp"] = shown.replace("+00:00", "Z")
    found["method"] = found["method"].decode("ascii", "backslashreplace")
    path = found["path"].partition(b"?")[0][:PATH_BYTES_MAX]
    found["path"] = path.decode("utf-8", "backslashreplace")
    for key in DURATIONS:
        if found[key] is not None:
            found[key] = round(found[key] / 1e6, 3)
    known = {key: value for key, value in found.items() if value is not None}
    rendered: Any = _render(None, "", known)
    return bytes(rendered)


def _opened(path: str) -> LineWriter:
    if not path:
        return LineWriter(STDERR, render=line)
    try:
        return LineWriter(Path(path).expanduser(), render=line)
    except OSError as error:
        raise StartError(f"path {path}: {error.strerror or error}") from error
