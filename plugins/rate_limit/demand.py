"""How many tokens a request may use at most, as far as it says."""

from __future__ import annotations

from typing import Final

from gateway import BYTES_PER_TOKEN, Exchange, estimate_input, is_silent, stated_output

# No answer is longer; what is written beyond it is a mistake, or mischief.
_MOST_TOKENS: Final = 10**9


def demand_of(exchange: Exchange) -> tuple[int, int | None]:
    """Tokens of input, guessed, and of output; None where that is not stated."""
    if exchange.method != b"POST":
        return 0, 0
    body = exchange.body
    output: int | None = None
    if body is not None:
        document = exchange.document
        if type(document) is dict:
            stated, _ = stated_output(document)
            output = None if stated is None else min(stated, _MOST_TOKENS)
    if output is None and is_silent(exchange.path):
        output = 0
    return (_unread(exchange) if body is None else estimate_input(body)), output


def _unread(exchange: Exchange) -> int:
    """A body that nobody reads: JSON too large for it is text, anything else may be sound."""
    field = exchange.headers.get(b"content-length") or b""
    if b"json" not in (exchange.headers.get(b"content-type") or b"").lower():
        return 0
    return int(field) // BYTES_PER_TOKEN if field.isdigit() else 0
