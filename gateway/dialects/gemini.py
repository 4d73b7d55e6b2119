"""Google's generateContent, at AI Studio and on Vertex.

The path names model and method. A stream is events (`alt=sse`) or one JSON array; it has no end
marker but the `finishReason` of a candidate's last chunk. Behind that may come other candidates,
counts in a chunk of their own, or, of older models, more of the same candidate. A blocked prompt
ends it with a `blockReason` and no candidate at all, an error with an `error` member where
candidates should be. An interaction is asked for and ends like a response of OpenAI's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import orjson

from gateway.dialects.loose import at, decode, error_text, has, items, string

if TYPE_CHECKING:
    from gateway.sse import Event

name = "gemini"
surface = "gemini"
goes_on = True

_MODEL: Final = re.compile(rb"(?:^|/)(?:models|tunedModels|endpoints)/([^/?:]+)")
# google.rpc.Code by HTTP status, as Google's own mapping has it.
_STATUSES: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def model(document: object, path: bytes) -> str | None:
    match = _MODEL.search(path)
    if match is not None:
        return unquote_to_bytes(match[1]).decode("utf-8", "replace")
    found = string(document, "model")
    return None if found is None else found.removeprefix("models/")


def streams(document: object, path: bytes) -> bool:
    if b"/interactions" in path:
        return at(document, "stream") is True
    return b":streamGenerateContent" in path


def is_end(event: Event) -> bool:
    raw = event.raw
    if has(raw, b'"finishReason"') or has(raw, b'"blockReason"') or has(raw, b'"error"'):
        document = decode(event.data)
        return (
            string(document, "candidates", -1, "finishReason") is not None
            or string(document, "promptFeedback", "blockReason") is not None
            or error_in(document) is not None
        )
    if has(raw, b'"interaction.complete'):  # or "completed", by the API's revision
        return (string(decode(event.data), "event_type") or "").startswith("interaction.complete")
    return False


def error_in(document: object) -> str | None:
    if isinstance(document, list):  # the array form of a stream: an error is its last element
        return error_in(document[-1]) if document and isinstance(document[-1], dict) else None
    return error_text(at(document, "error"))


def text(document: object) -> str:
    if isinstance(document, list):
        return "".join(text(chunk) for chunk in document if isinstance(chunk, dict))
    return "".join(
        string(part, "text") or ""
        for candidate in items(document, "candidates")
        for part in items(candidate, "content", "parts")
        if at(part, "thought") is not True
    )


def shape_error(status: int, code: str, message: str) -> bytes:
    """Shape an error as Google's own look; our code is the reason of a google.rpc.ErrorInfo."""
    known = _STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": code.upper(),
        "domain": "weir",
    }
    error = {"code": status, "message": message, "status": known, "details": [info]}
    return orjson.dumps({"error": error})
