"""Asking for usage where a stream tells it only when asked, and taking out again what came of it.

OpenAI's chat and text completions say what a stream used in one more chunk if
`stream_options.include_usage` is set; every other chunk then has a null `usage` member. A caller
that did not ask sees neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from gateway import Event, remove, set_value

PATH = ("stream_options", "include_usage")
_NULL = b'"usage":null'


def asks_already(document: dict[str, Any]) -> bool:
    options = document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def asked(body: bytes) -> bytes:
    """The request's body with the question in it; ValueError where there is no place for it."""
    return set_value(body, PATH, True)


class Stripper:
    """Takes the answer to our question out of a stream."""

    def event(self, event: Event) -> Iterable[Event]:
        raw = event.raw
        if b'"usage"' not in raw:
            return (event,)
        if raw.count(b'"usage"') != raw.count(_NULL):
            return () if _is_answer(event.data) else (event,)
        # Nearly always the last member of one line.
        if raw.startswith(b"data: {") and raw.endswith(b"," + _NULL + b"}\n\n"):
            return (Event(raw[: -len(_NULL) - 4] + b"}\n\n"),)
        return (_without(event),)

    def end(self) -> bytes:
        return b""


def _is_answer(data: bytes) -> bool:
    """Whether a chunk is the one more: no choice, and usage."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(document, dict)
        and document.get("choices") == []
        and isinstance(document.get("usage"), dict)
    )


def _without(event: Event) -> Event:
    """A chunk without its null `usage`, all else as it was."""
    data = event.data
    try:
        document = orjson.loads(data)
        if not isinstance(document, dict) or "usage" not in document or document["usage"]:
            return event
        return Event(event.raw.replace(data, remove(data, ("usage",)), 1))
    except ValueError:
        return event
