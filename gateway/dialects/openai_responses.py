"""OpenAI's Responses API.

Each event names its type in the data too. The last one carries the whole response again, so `text`
takes text from deltas and from whole bodies, never from the events between or after.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.dialects.loose import at, decode, error_text, has, items, string

if TYPE_CHECKING:
    from gateway.sse import Event

name = "openai_responses"
surface = "openai"

_END_TYPES: Final = frozenset(
    {
        "error",
        "response.cancelled",
        "response.completed",
        "response.failed",
        "response.incomplete",
    }
)
_RESUMED: Final = re.compile(rb"[?&]stream=true(?:&|$)")


def model(document: object, path: bytes) -> str | None:  # noqa: ARG001
    return string(document, "model")


def streams(document: object, path: bytes) -> bool:
    # A background response is read again as a stream by GET, which has no body to say so.
    return at(document, "stream") is True or _RESUMED.search(path) is not None


def is_end(event: Event) -> bool:
    raw = event.raw
    line = raw.partition(b"\n")[0]
    if line[-6:] == b".delta" and line[:6] == b"event:":
        return False  # nearly all
    # Decoding is for the few events that can be the end; early ones hold a null `error` member.
    if (
        has(raw, b'"response.completed"')
        or has(raw, b'"error"')
        or has(raw, b'"response.incomplete"')
        or has(raw, b'"response.failed"')
        or has(raw, b'"response.cancelled"')
    ):
        document = decode(event.data)
        return (
            string(document, "type") in _END_TYPES or error_text(at(document, "error")) is not None
        )
    return has(raw, b"[DONE]") and event.data.startswith(b"[DONE]")


def error_in(document: object) -> str | None:
    if string(document, "type") == "error":
        return error_text(at(document, "error") or document)
    response = at(document, "response")
    if isinstance(response, dict):
        document = response
    found = error_text(at(document, "error"))
    return found or ("error: failed" if string(document, "status") == "failed" else None)


def text(document: object) -> str:
    if string(document, "type") == "response.output_text.delta":
        return string(document, "delta") or ""
    return "".join(
        string(part, "text") or ""
        for item in items(document, "output")
        for part in items(item, "content")
        if string(part, "type") == "output_text"
    )
