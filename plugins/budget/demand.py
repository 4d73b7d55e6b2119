"""How much a request may use at most, as far as it says."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from gateway import BYTES_PER_TOKEN, Exchange, estimate_input, is_silent, stated_output

from .units import PICTURES, kind_of, picture_tokens, sound_ms, units_of

_MODEL: Final = re.compile(rb"[?&]model=([^&]+)")


class Demand(msgspec.Struct, gc=False):
    """What a request says of itself. A struct, because one is made for every request.

    model: the one asked for, None where the request names none. input: its tokens, guessed.
    output: the most of its answer; None if unsaid. tier: the service tier it names.
    answers: how many it asks for. body, document: as it came; None where nobody has read it.
    kind: what its path is for (`units.kind_of`). sound_ms: how long its sound may be, if unread.
    """

    model: str | None
    input: int
    output: int | None
    tier: str | None
    answers: int = 1
    body: bytes | None = None
    document: dict[str, Any] | None = None
    kind: str = ""
    sound_ms: int = 0

    def has_media(self) -> bool:
        """Whether it may hold sound or pictures."""
        body = self.body
        return body is None or body.find(b"audio") >= 0 or body.find(b"image") >= 0

    def units(self) -> dict[str, int] | None:
        """How many it makes of what is no token, by what the usage of its answer calls it."""
        if self.document is not None:
            return units_of(self.kind, self.document, self.answers)
        return {"input_audio_ms": self.sound_ms} if self.sound_ms else None


def demand_of(exchange: Exchange) -> Demand | None:
    """What an exchange may use; None for one that uses nothing: it reads a list, or a result."""
    method, path = exchange.method, exchange.path
    if method != b"POST":
        if method != b"GET" or exchange.headers.get(b"upgrade") is None:
            return None
        found = _MODEL.search(path)  # a session: what it says of itself is in its address
        model = None if found is None else unquote_to_bytes(found[1]).decode("utf-8", "replace")
        return Demand(model, 0, None, None)
    body = exchange.body
    if body is None:
        return _of_unread(exchange)
    output, tier, answers, kind = None, None, 1, ""
    document = exchange.document
    if type(document) is dict:
        output, answers = stated_output(document)
        tier = document.get("service_tier")
        if document.get("speed") == "fast":  # Anthropic's, in place of a tier
            tier = "fast"
        elif type(tier) is not str:
            tier = None
        kind = kind_of(path)
        if output is None and kind == PICTURES:
            output = picture_tokens(document) * answers
    else:
        document = None
    if output is None and is_silent(path):
        output = 0
    read = estimate_input(body)
    return Demand(exchange.model, read, output, tier, answers, body, document, kind)


def _of_unread(exchange: Exchange) -> Demand:
    """A body that nobody reads: JSON too large for it is text, anything else may be sound."""
    output = 0 if is_silent(exchange.path) else None
    field = exchange.headers.get(b"content-length") or b""
    size = int(field) if field.isdigit() else 0
    if b"json" in (exchange.headers.get(b"content-type") or b"").lower():
        return Demand(exchange.model, size // BYTES_PER_TOKEN, output, None)
    return Demand(exchange.model, 0, output, None, sound_ms=sound_ms(size))
