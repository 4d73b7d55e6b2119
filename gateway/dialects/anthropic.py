"""Anthropic's Messages, at Anthropic itself, on Vertex and wherever else they are served.

A stream ends with `message_stop`, or with an `error` event after a 200; `ping` may come at any
time. Vertex and Bedrock name the model in the path, and with it whether the answer streams.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import orjson

from gateway.dialects.loose import at, decode, error_text, has, items, string

if TYPE_CHECKING:
    from gateway.sse import Event

name = "anthropic"
surface = "anthropic"

_MODEL: Final = re.compile(rb"(?:^|/)models?/([^/?]+?)(?:$|[/?]|:(?:streamR|r)awPredict)")
_STREAMS: Final = re.compile(rb":streamRawPredict(?:$|\?)|/invoke-with-response-stream(?:$|\?)")
_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def model(document: object, path: bytes) -> str | None:
    found = string(document, "model")
    if found is not None:
        return found
    match = _MODEL.search(path)
    return unquote_to_bytes(match[1]).decode("utf-8", "replace") if match is not None else None


def streams(document: object, path: bytes) -> bool:
    return at(document, "stream") is True or _STREAMS.search(path) is not None


def is_end(event: Event) -> bool:
    raw = event.raw
    if has(raw, b'"message_stop"') or has(raw, b'"error"'):
        return string(decode(event.data), "type") in ("message_stop", "error")
    return False


def error_in(document: object) -> str | None:
    if string(document, "type") != "error":
        return None
    return error_text(at(document, "error")) or "error"


def text(document: object) -> str:
    delta = at(document, "delta")
    if string(delta, "type") == "text_delta":
        return string(delta, "text") or ""
    return "".join(
        string(block, "text") or ""
        for block in items(document, "content")
        if string(block, "type") == "text"
    )


def shape_error(status: int, code: str, message: str) -> bytes:
    """Shape an error as Anthropic's own look; the SDK gives our code as `error_code`."""
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    error = {"type": kind, "message": message, "details": {"error_code": code}}
    return orjson.dumps({"type": "error", "error": error})
