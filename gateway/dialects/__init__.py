"""Wire formats: what a core that passes bytes on still has to understand of them.

A dialect is a pure reader, one module a format, no I/O: where the model stands, whether an answer
streams, which event is the last, where an error hides in a 200, and what text a delta holds. It
decodes JSON only for an event whose bytes say that it can matter. A provider's row names a family;
the path may choose another format of it, because many providers speak several.
"""

from __future__ import annotations

import difflib
import importlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol, cast

import orjson

from gateway.dialects import anthropic, gemini, openai, openai_responses
from gateway.errors import StartError

if TYPE_CHECKING:
    from gateway.sse import Event


class Dialect(Protocol):
    """A reader of one wire format. `document` is any decoded JSON, or None; no reader raises.

    name: for logs. surface: whose error shape its callers expect. goes_on, which may be left out:
    True where more that counts may come behind an end that is no error.
    """

    @property
    def name(self) -> str: ...
    @property
    def surface(self) -> str: ...

    def model(self, document: object, path: bytes) -> str | None:
        """Give the model that a request asks for; `path` is what follows the provider's slug."""

    def streams(self, document: object, path: bytes) -> bool:
        """Tell whether a request asks for a stream."""

    def is_end(self, event: Event) -> bool:
        """Tell whether after this event nothing is missing: the end marker, or an error."""

    def error_in(self, document: object) -> str | None:
        """Say in one line what error a body or event reports in spite of a 200, or None."""

    def text(self, document: object) -> str:
        """Take the answer's text from a whole body, or the piece of it from one event."""


# A row that says so has no reader: its bodies pass unread.
NONE: Final = "none"

_BUILT_IN: Final[dict[str, Dialect]] = {
    "openai": openai,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
}
# In this order. A thread and a stored completion have `messages` too, which are OpenAI's own.
_FORMS: Final = (
    (re.compile(rb"(?:^|/)(?:completions|embeddings)$"), openai),
    (re.compile(rb"(?:^|/)responses(?:/|$)"), openai_responses),
    (re.compile(rb"^(?!.*(?:threads|completions)/)(?:.*/)?messages(?:/count_tokens)?$"), anthropic),
    (re.compile(rb"(?:^|/)publishers/anthropic/"), anthropic),
    (re.compile(rb":(?:g|streamG)enerateContent$|:countTokens$"), gemini),
    (re.compile(rb":(?:e|batchE|asyncBatchE)mbedContents?$"), gemini),
)
# Paths hold ids and names that callers choose, so the memory is bounded in number and in length.
_CACHED_MAX: Final = 1024
_CACHED_PATH_BYTES_MAX: Final = 256


def load(name: str) -> Dialect | None:
    """Find a dialect by its built-in name or as "module:name"; None for "none"."""
    if name == NONE:
        return None
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        known = [*_BUILT_IN, NONE]
        near = difflib.get_close_matches(name, known, 1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise StartError(
            f'unknown dialect "{name}"; {hint}built in are {", ".join(known)}, '
            'and "module:name" names one of your own'
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise StartError(f'dialect "{name}" cannot be loaded: {error}') from error
    missing = [part for part in _PARTS if not hasattr(found, part)]
    if missing:
        raise StartError(f'dialect "{name}" lacks {", ".join(missing)}')
    return cast("Dialect", found)


_PARTS: Final = ("name", "surface", "model", "streams", "is_end", "error_in", "text")


def dialect_of(family: str, path: bytes) -> Dialect | None:
    """Choose the reader for a request to a provider of that family; `path` follows the slug."""
    if len(path) <= _CACHED_PATH_BYTES_MAX:
        return _cached(family, path)
    return _choose(family, path)


def _choose(family: str, path: bytes) -> Dialect | None:
    if family in _BUILT_IN:
        bare = path.partition(b"?")[0].rstrip(b"/")
        for form, dialect in _FORMS:
            if form.search(bare) is not None:
                return dialect
    return load(family)


_cached = lru_cache(_CACHED_MAX)(_choose)


def shape_error(surface: str, status: int, code: str, message: str) -> bytes:
    """Shape an error of ours as a surface's SDKs expect it: JSON, in UTF-8."""
    shape = _SHAPES.get(surface, _plain)
    # A message may quote what a caller sent, and that need not be valid text.
    return shape(status, code, message.encode("utf-8", "replace").decode())


def _plain(status: int, code: str, message: str) -> bytes:  # noqa: ARG001
    return orjson.dumps({"error": {"code": code, "message": message}})


def _cloudflare(status: int, code: str, message: str) -> bytes:
    number = _cloudflare_number(status, code)
    return orjson.dumps(
        {
            "success": False,
            "result": [],
            "messages": [],
            "error": [{"code": number, "message": message}],
            "name": "AiGatewayError",
            "httpCode": status,
            "internalCode": number,
            "message": message,
            "description": message,
        }
    )


def _cloudflare_number(status: int, code: str) -> int:
    if code in _CLOUDFLARE_CODES:
        return _CLOUDFLARE_CODES[code]
    if code.startswith("upstream_"):
        return 2005  # Failed to get response from provider
    return _CLOUDFLARE_STATUSES.get(status, 2000 if status >= 500 else 7003)


# The numbers that Cloudflare's clients know, each for what they take it to mean.
_CLOUDFLARE_CODES: Final = {
    "unknown_gateway": 2001,
    "unknown_provider": 2008,
}
_CLOUDFLARE_STATUSES: Final = {
    401: 2009,  # Unauthorized
    402: 2021,  # insufficient credits
    403: 2009,
    404: 7000,  # No route for that URI
    405: 7001,  # method not supported
    429: 2003,  # Rate limited
    502: 2005,
    503: 2005,
    504: 2005,
}
_SHAPES: Final = {
    "openai": openai.shape_error,
    "anthropic": anthropic.shape_error,
    "gemini": gemini.shape_error,
    "cloudflare": _cloudflare,
}
