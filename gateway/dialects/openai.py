"""OpenAI's chat completions, completions and embeddings, and what most other providers took over.

A stream of chunks ends with `data: [DONE]`. An error after the head comes as a chunk with an
`error` member, with or without a [DONE] after it. Speech, transcription and image streams of the
same API end with an event of their own type instead.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import orjson

from gateway.dialects.loose import at, decode, error_text, has, items, string

if TYPE_CHECKING:
    from gateway.sse import Event

name = "openai"
surface = "openai"

# Where a path names the model and the body need not, or there is none: Azure's deployments, Workers
# AI's model ids, the query of a realtime session.
_MODEL: Final = re.compile(
    rb"(?:^|/)deployments/([^/?]+)|(?:^|/)(@(?:cf|hf)/[^?]+)|[?&](?:model|deployment)=([^&]+)"
)
_END_TYPES: Final = frozenset(
    {
        "image_edit.completed",
        "image_generation.completed",
        "speech.audio.done",
        "transcript.text.done",
    }
)


def model(document: object, path: bytes) -> str | None:
    found = string(document, "model")
    if found is not None:
        return found
    match = _MODEL.search(path)
    if match is None:
        return None
    return unquote_to_bytes(match[1] or match[2] or match[3]).decode("utf-8", "replace")


def streams(document: object, path: bytes) -> bool:  # noqa: ARG001
    return at(document, "stream") is True


def is_end(event: Event) -> bool:
    raw = event.raw
    is_error = has(raw, b'"error"')
    if not is_error and has(raw, b'"choices":'):
        return False  # nearly all
    if has(raw, b"[DONE]") and event.data.startswith(b"[DONE]"):
        return True
    if is_error or has(raw, b'.done"') or has(raw, b'.completed"'):
        document = decode(event.data)
        return string(document, "type") in _END_TYPES or error_in(document) is not None
    return False


def error_in(document: object) -> str | None:
    found = error_text(at(document, "error"))
    if found is not None:
        return found
    # OpenRouter reports an upstream's failure in the choice that it cut short.
    return next((e for e in (error_text(at(c, "error")) for c in _choices(document)) if e), None)


def text(document: object) -> str:
    return "".join(
        _content(at(choice, "delta", "content"))
        or _content(at(choice, "message", "content"))
        or string(choice, "text")
        or ""
        for choice in _choices(document)
    )


def shape_error(status: int, code: str, message: str) -> bytes:
    """Shape an error as OpenAI's own look: the SDK shows `error.message` and gives `error.code`."""
    error = {"message": message, "type": _type_of(status), "param": None, "code": code}
    return orjson.dumps({"error": error})


def _choices(document: object) -> list[object]:
    return items(document, "choices")


def _content(content: object) -> str:
    """Take the text of a message's content, which some providers send in parts."""
    if isinstance(content, list):
        return "".join(string(part, "text") or "" for part in content)
    return content if isinstance(content, str) else ""


def _type_of(status: int) -> str:
    if status >= 500:
        return "server_error"
    types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return types.get(status, "invalid_request_error")
