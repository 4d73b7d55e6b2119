"""Reading a request's body before it goes up, where a plugin wants that: whole, within a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import CallerFault
from gateway.forms import field_in, is_form

if TYPE_CHECKING:
    from gateway.attempting import Attempting

_KIND: Final = frozenset({b"content-type"})
# Of a form that is too large to be held.
BEGINNING_BYTES: Final = 16 * 1024


async def take_in(line: Attempting, reads: str) -> None:
    """Read what a plugin's `reads` asks for; what is too large streams on, or is refused where
    somebody has to see all.

    A body becomes `exchange.body`. Of a form only its model is looked for: it goes up as it came.
    """
    exchange, bytes_max = line.exchange, line.gateway.config.limits.read_bytes_max
    kind = b""
    if reads == "json":
        kinds = line.screened.passed.among(_KIND)
        kind = kinds[0][1] if kinds else b""
        if not is_json(kind) and not is_form(kind):
            return
    body = line.whole
    if line.coming is not None:
        body = await line.coming.read(bytes_max)
    elif body is not None and len(body) > bytes_max:
        body = None
    if is_form(kind):
        if body is None:
            body = line.whole
        if body is None and line.coming is not None:
            body = await line.coming.begin(BEGINNING_BYTES)
        _look_into(line, kind, body or b"")
        return
    exchange.body = body
    if body is None:
        if reads == "all":
            raise CallerFault(
                "The request's body is too large to be read.",
                status=413,
                code="read_bytes",
                detail="read_bytes_max",
            )
        return
    dialect = exchange.dialect
    if dialect is not None and isinstance(exchange.document, dict):
        exchange.model = dialect.model(exchange.document, exchange.path)
        exchange.streaming = dialect.streams(exchange.document, exchange.path)


def is_json(kind: bytes) -> bool:
    """Whether a Content-Type says that a body is JSON, plain or of some kind."""
    return kind == b"application/json" or b"json" in kind.lower()


def _look_into(line: Attempting, kind: bytes, body: bytes) -> None:
    """Find a form's model. Callers may send it behind a file, so as much is held as of JSON; of
    what is larger only the beginning.
    """
    exchange = line.exchange
    dialect = exchange.dialect
    if dialect is None:
        return
    model, stream = field_in(body, kind, b"model"), field_in(body, kind, b"stream")
    exchange.model = dialect.model({"model": model}, exchange.path)
    exchange.streaming = stream == "true"
