"""Says on every answer where the time went: a Server-Timing field, as browsers and tools show it.

    Server-Timing: gateway;dur=0.412, plugin-metadata;dur=0.008, connect;dur=12.1, upstream;dur=230

All are milliseconds up to the head of the answer. `connect` and `upstream` (from the request to the
head of its answer) sum up all attempts; `gateway` is the rest of the time since the request's head
came, and so holds the plugins' as well as the wait for a body that one of them reads. A plugin's
own time includes what it waited for. An upstream's Server-Timing stays, in a field of its own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway import Exchange, Head, hookimpl, server_timing

FIELD: Final = b"Server-Timing"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set."""


class Plugin:
    """Asks the plan to measure the plugins, and writes down what came of it."""

    measures = True

    def __init__(self, config: Config) -> None:
        pass

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        head.headers.add(FIELD, server_timing(exchange))
