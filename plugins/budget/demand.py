"""How much a request may use at most, as far as it says."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from gateway import BYTES_PER_TOKEN, Exchange, estimate_input

from .units import PICTURES, kind_of, picture_tokens, sound_ms, units_of

# Where a request states the most output: OpenAI's old and new name, that of Responses and Cohere,
# and those that Bedrock's models have for InvokeModel.
_MOST: Final = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens_to_sample",
    "max_gen_len",
    "maxTokens",
)
# The same in a table: Gemini's in both of its spellings, Bedrock's (Converse and Nova, Titan),
# Ollama's, Hugging Face's and Vertex's.
_TABLES: Final = (
    "generationConfig",
    "generation_config",
    "inferenceConfig",
    "textGenerationConfig",
    "options",
    "parameters",
)
_MOST_IN_TABLES: Final = (
    "maxOutputTokens",
    "max_output_tokens",
    "maxTokens",
    "max_new_tokens",
    "maxTokenCount",
    "num_predict",
)
# How many answers, or pictures, are asked for.
_NUMBER: Final = ("n", "best_of", "num_images")
_NUMBER_IN_TABLES: Final = ("candidateCount", "candidate_count", "sampleCount")
_RARE: Final = frozenset({*_MOST[1:], *_TABLES, *_NUMBER})
# Answers of these have no output that is counted.
_SILENT: Final = (
    b"embeddings",
    b"mbedContent",
    b"mbedContents",
    b"count_tokens",
    b"countTokens",
    b"input_tokens",
)
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
        output = document.get("max_tokens")
        if type(output) is not int or output <= 0:
            output = _count(output)
        if not _RARE.isdisjoint(document):
            output, answers = _output(document)
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
    if output is None and _is_silent(path):
        output = 0
    read = estimate_input(body)
    return Demand(exchange.model, read, output, tier, answers, body, document, kind)


def _is_silent(path: bytes) -> bool:
    return path.endswith(_SILENT) or (b"?" in path and path.split(b"?")[0].endswith(_SILENT))


def _output(document: dict[str, Any]) -> tuple[int | None, int]:
    """The most output, of all that may say it, and how many answers are asked for."""
    most = None
    for name in _MOST:
        most = _larger(most, _count(document.get(name)))
    times = max(_count(document.get(name)) or 1 for name in _NUMBER)
    for table in _TABLES:
        settings = document.get(table)
        if isinstance(settings, dict):
            for name in _MOST_IN_TABLES:
                most = _larger(most, _count(settings.get(name)))
            for name in _NUMBER_IN_TABLES:
                times = max(times, _count(settings.get(name)) or 1)
    return (None if most is None else most * times), times


def _count(value: object) -> int | None:
    if type(value) is float and 0 < value < float("inf"):
        value = int(value)  # what does not fit into 64 bits is read as one, too
    return value if type(value) is int and value > 0 else None


def _larger(one: int | None, other: int | None) -> int | None:
    return other if one is None or (other is not None and other > one) else one


def _of_unread(exchange: Exchange) -> Demand:
    """A body that nobody reads: JSON too large for it is text, anything else may be sound."""
    output = 0 if _is_silent(exchange.path) else None
    field = exchange.headers.get(b"content-length") or b""
    size = int(field) if field.isdigit() else 0
    if b"json" in (exchange.headers.get(b"content-type") or b"").lower():
        return Demand(exchange.model, size // BYTES_PER_TOKEN, output, None)
    return Demand(exchange.model, 0, output, None, sound_ms=sound_ms(size))
