"""Asking for usage where a stream tells it only when asked, and taking out again what came of it.

OpenAI's chat and text completions say what a stream used in one more chunk if
`stream_options.include_usage` is set; every other chunk then has a null `usage` member. A caller
that did not ask sees neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

from gateway import Event, remove, set_value

OPTIONS: Final = "stream_options"
_QUESTION: Final = b',"stream_options":{"include_usage":true}}'
_PLAIN_NULL: Final = b',"usage":null'
_NULL: Final = re.compile(rb',[ \t]*+"usage"[ \t]*+:[ \t]*+null(?=[ \t]*+[,}])')


def asks_already(document: dict[str, Any]) -> bool:
    options = document.get(OPTIONS)
    return isinstance(options, dict) and options.get("include_usage") is True


def asked(body: bytes, document: dict[str, Any] | None) -> bytes:
    """The request's body with the question in it; ValueError where there is no place for it.

    document: what the body decodes to, if that is known.
    """
    if document and OPTIONS not in document:  # its last brace is its own
        return body[: body.rindex(b"}")] + _QUESTION
    if document and document[OPTIONS] is None:
        return set_value(body, (OPTIONS,), {"include_usage": True})
    return set_value(body, (OPTIONS, "include_usage"), True)


class Stripper:
    """Takes the answer to our question out of a stream."""

    __slots__ = ("_end", "_rest")

    def __init__(self) -> None:
        # How the last chunk with a null ended, and how it did without; most end alike.
        self._end = b"\0"
        self._rest = b""

    def event(self, event: Event) -> Iterable[Event]:
        raw = event.raw
        if raw.endswith(self._end):
            return (Event(raw[: -len(self._end)] + self._rest),)
        at = raw.find(b'"usage"')
        if at < 0:
            return (event,)
        start, end = _null_in(raw, at)
        rest = raw[end:]
        # One brace closes the chunk: so this is a member of its own, and no text.
        if 0 < start < at and rest.count(b"}") == 1 and b'"usage"' not in rest:
            self._end, self._rest = raw[start:], rest
            return (Event(raw[:start] + rest),)
        return _told_apart(event)

    def end(self) -> bytes:
        return b""


def _null_in(raw: bytes, at: int) -> tuple[int, int]:
    """Where a null `usage` stands with the comma before it, from `at` on if it is written as
    usual; -1 where there is none.
    """
    end = at - 1 + len(_PLAIN_NULL)
    if raw.startswith(_PLAIN_NULL, at - 1) and raw[end : end + 1] in (b",", b"}"):
        return at - 1, end
    found = _NULL.search(raw)
    return (-1, 0) if found is None else found.span()


def _told_apart(event: Event) -> Iterable[Event]:
    """The chunk without a null `usage`, all else as it was; nothing of the one chunk more."""
    data = event.data
    try:
        chunk = orjson.loads(data)
        if not isinstance(chunk, dict) or "usage" not in chunk:
            return (event,)
        if chunk["usage"] is None:
            return (Event(event.raw.replace(data, remove(data, ("usage",)), 1)),)
        is_answer = chunk.get("choices") == [] and isinstance(chunk["usage"], dict)
    except ValueError:
        return (event,)
    return () if is_answer else (event,)
