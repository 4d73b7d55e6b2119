"""Gives every answer the exchange's id, so that a caller and our log can speak of the same request.

The id goes out as `weir-request-id`, or with the other prefix if the caller used that one; an
upstream's own `x-request-id` stays beside it. The upstream is told it in the same field. What a
caller sends as `weir-event-id` comes back unchanged: it is the caller's word for what several
requests have in common.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway import Attempt, Exchange, Head, hookimpl

NAME: Final = "request_id"
REQUEST: Final = b"request-id"
EVENT: Final = b"event-id"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who gets the id, beside the caller.

    send_upstream: Send it to the upstream too, in the same field, for its own log.
    """

    send_upstream: bool = True


class Plugin:
    """Adds the fields; the id itself is the exchange's and made when first asked for."""

    def __init__(self, config: Config) -> None:
        pass  # each gateway has its own settings, which come with the exchange

    def idle(self, config: Config) -> tuple[str, ...]:
        return () if config.send_upstream else ("send",)

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        if exchange.settings[NAME].send_upstream:
            attempt.headers.set(exchange.prefix + REQUEST, exchange.id.encode())

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        # Set, not added: an upstream may be a gateway of the same kind, and this hop's id counts.
        prefix = exchange.prefix
        head.headers.set(prefix + REQUEST, exchange.id.encode())
        event = exchange.control(EVENT)
        if event is not None:
            head.headers.set(prefix + EVENT, event)
