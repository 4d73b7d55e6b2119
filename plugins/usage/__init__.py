"""Notes what each attempt used: tokens by kind, model and finish reason, as its provider says.

It watches the upstream's side of every answer and changes nothing, but for one thing: where a
provider tells a stream's usage only when asked, and the caller did not ask, it asks, and takes the
answer to that out again (`stream_usage` of the provider's row).

Where an answer ends without its provider's count, a guess stands in its place, marked `estimated`;
there is none for what costs nothing or failed. What a caller reads later of an answer that it asked
for before (a poll, a batch's results) is marked `reported`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from gateway import Attempt, Exchange, Gateway, StartError, hookimpl

from .asking import Stripper, asked, asks_already
from .choosing import EVENT_STREAM, kind_of, watcher_of
from .later import Prices
from .settling import settle
from .watching import Note

NAME: Final = "usage"
_CODING: Final = frozenset({b"content-encoding"})
_READABLE: Final = (b"identity", b"gzip", b"x-gzip", b"deflate")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it asks for.

    ask: Ask for a stream's usage where the caller did not and the provider's row allows it.
    """

    ask: bool = True


class Plugin:
    """See the module's docstring."""

    reads = "json"
    watches = "upstream"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._gateway: Gateway | None = None

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        self._gateway = gateway
        yield

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        if not exchange.streaming:
            return
        note = exchange.notes[NAME] = Note()
        body = attempt.body
        if (
            body is None
            or not attempt.target.provider.stream_usage
            or not exchange.settings[NAME].ask
        ):
            return
        path = exchange.path.partition(b"?")[0]
        if not path.endswith(b"completions") or asks_already(exchange.document):
            return
        try:
            is_callers = body is exchange.body
            attempt.body = asked(body, exchange.document if is_callers else None)
        except ValueError:  # stream_options is no object: the provider will say so
            return
        note.asked = True

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Stripper | None:
        note = exchange.notes.get(NAME)
        attempt = exchange.attempt
        if note is None or not note.asked or attempt is None or attempt.response is None:
            return None
        if kind_of(attempt) != EVENT_STREAM:
            return None  # nothing of ours is in it, so it keeps its length
        # What cannot be read cannot be edited; better one chunk too many than no answer.
        readable = all(
            coding.strip().lower() in _READABLE for _, coding in attempt.response_among(_CODING)
        )
        return Stripper() if readable else None

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Any:
        if not exchange.attempts:
            return None
        watcher = watcher_of(exchange, exchange.attempts[-1], self._prices)
        if watcher is not None:
            note = exchange.notes.get(NAME)
            if note is None:
                note = exchange.notes[NAME] = Note()
            note.watcher = watcher
        return watcher

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        note = exchange.notes.get(NAME)
        settle(exchange, None if note is None else note.watcher)

    def _prices(self) -> Prices | None:
        """What a plugin that stands behind this one says of prices, if there is one."""
        if self._gateway is None:
            return None
        try:
            found: Prices = self._gateway.require("prices")
        except StartError:
            return None
        return found
