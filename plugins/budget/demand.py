"""How much a request may use at most, as far as it says."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from gateway import BYTES_PER_TOKEN, Exchange, estimate_input

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
_NUMBER_IN_TABLES: Final = ("candidateCount", "candidate_count")
_RARE: Final = frozenset({*_MOST[1:], *_TABLES, "n", "best_of"})
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
    """

    model: str | None
    input: int
    output: int | None
    tier: str | None


def demand_of(exchange: Exchange) -> Demand | None:
    """What an exchange may use; None for one that uses nothing: it reads a list, or a result."""
    method = exchange.method
    if method != b"POST":
        if method != b"GET" or exchange.headers.get(b"upgrade") is None:
            return None
        found = _MODEL.search(exchange.path)  # a session: what it says of itself is in its address
        model = None if found is None else unquote_to_bytes(found[1]).decode("utf-8", "replace")
        return Demand(model, 0, None, None)
    body = exchange.body
    if body is None:
        output = 0 if _is_silent(exchange.path) else None
        return Demand(exchange.model, _unread(exchange), output, None)
    output, tier = None, None
    document = exchange.document
    if type(document) is dict:
        output = document.get("max_tokens")
        if type(output) is not int or output <= 0:
            output = _count(output)
        if not _RARE.isdisjoint(document):
            output = _output(document)
        tier = document.get("service_tier")
        if type(tier) is not str:
            tier = None
    if output is None and _is_silent(exchange.path):
        output = 0
    return Demand(exchange.model, estimate_input(body), output, tier)


def _is_silent(path: bytes) -> bool:
    return path.endswith(_SILENT) or (b"?" in path and path.split(b"?")[0].endswith(_SILENT))


def _output(document: dict[str, Any]) -> int | None:
    """The most output, of all that may say it and by how many answers are asked for."""
    most = None
    for name in _MOST:
        most = _larger(most, _count(document.get(name)))
    times = max(_count(document.get("n")) or 1, _count(document.get("best_of")) or 1)
    for table in _TABLES:
        settings = document.get(table)
        if isinstance(settings, dict):
            for name in _MOST_IN_TABLES:
                most = _larger(most, _count(settings.get(name)))
            for name in _NUMBER_IN_TABLES:
                times = max(times, _count(settings.get(name)) or 1)
    return None if most is None else most * times


def _count(value: object) -> int | None:
    if type(value) is float and 0 < value < float("inf"):
        value = int(value)  # what does not fit into 64 bits is read as one, too
    return value if type(value) is int and value > 0 else None


def _larger(one: int | None, other: int | None) -> int | None:
    return other if one is None or (other is not None and other > one) else one


def _unread(exchange: Exchange) -> int:
    """A body that nobody reads: JSON too large for it is text, anything else may be sound."""
    if b"json" not in (exchange.headers.get(b"content-type") or b"").lower():
        return 0
    size = exchange.headers.get(b"content-length") or b""
    return int(size) // BYTES_PER_TOKEN if size.isdigit() else 0
