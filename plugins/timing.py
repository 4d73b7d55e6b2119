"""Says on every answer where the time went: a Server-Timing field, as browsers and tools show it.

    Server-Timing: gateway;dur=0.412, plugin-metadata;dur=0.008, connect;dur=12.1, upstream;dur=230

All are milliseconds up to the head of the answer. `connect` and `upstream` (from the request to the
head of its answer) sum up all attempts; `gateway` is the rest of the time since the request's head
came, and so holds the plugins' as well as the wait for a body that one of them reads. A plugin's
own time includes what it waited for. An upstream's Server-Timing stays, in a field of its own.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from gateway import Exchange, Head, hookimpl

FIELD: Final = b"Server-Timing"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set."""


class Plugin:
    """Asks the plan to measure the plugins, and writes down what came of it."""

    measures = True

    def __init__(self, config: Config) -> None:
        self._labels: dict[str, bytes] = {}

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        now = time.monotonic_ns()
        connect, upstream = _spent_outside(exchange, now)
        own = max(0, now - exchange.started_ns - (connect or 0) - (upstream or 0))
        parts = [b"gateway;dur=", _ms(own)]
        labels = self._labels
        for name, ns in (exchange.spent or {}).items():
            if ns:
                us = (ns + 500) // 1000
                parts.append(labels.get(name) or self._label(name))
                parts.append(_BELOW_ONE[us] if us < 1000 else _ms(ns))
        if connect is not None:
            parts += (b", connect;dur=", _ms(connect))
        if upstream is not None:
            parts += (b", upstream;dur=", _ms(upstream))
        head.headers.add(FIELD, b"".join(parts))

    def _label(self, name: str) -> bytes:
        label = self._labels[name] = b", plugin-%b;dur=" % name.encode()
        return label


# Most times are below a millisecond, and are looked up.
_BELOW_ONE: Final = tuple(b"0.%03d" % us for us in range(1000))


def _ms(ns: int) -> bytes:
    """Milliseconds to three places."""
    us = (ns + 500) // 1000
    return _BELOW_ONE[us] if us < 1000 else b"%d.%03d" % (us // 1000, us % 1000)


def _spent_outside(exchange: Exchange, now: int) -> tuple[int | None, int | None]:
    """Nanoseconds of all attempts: to connect, and from request to answer. None where none did."""
    attempts = exchange.attempts
    if len(attempts) == 1:
        (attempt,) = attempts
        sent, first = attempt.sent_ns, attempt.first_byte_ns
        if sent is not None and first is not None and attempt.connected_ns is None:
            return None, first - sent  # on a kept connection, as nearly always
    connect: int | None = None
    upstream: int | None = None
    end = now
    for attempt in reversed(attempts):
        # An attempt that got no answer lasted until the next one began.
        sent, connected = attempt.sent_ns, attempt.connected_ns
        if sent is not None:
            upstream = (upstream or 0) + (attempt.first_byte_ns or end) - sent
        if connected is not None:
            connect = (connect or 0) + connected - attempt.started_ns
        elif sent is None and attempt.failure is not None:
            connect = (connect or 0) + end - attempt.started_ns
        end = attempt.started_ns
    return connect, upstream
