"""How many tokens a request may use at most, as far as it says."""

from __future__ import annotations

from typing import Any, Final

from gateway import BYTES_PER_TOKEN, Exchange, estimate_input

# Where a request states the most output: OpenAI's old and new name, that of Responses, and those of
# models at Bedrock.
_MOST: Final = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens_to_sample",
    "max_gen_len",
)
# The same in a table: Gemini's in both spellings, Bedrock's, Ollama's, Hugging Face's.
_TABLES: Final = (
    "generationConfig",
    "generation_config",
    "inferenceConfig",
    "options",
    "parameters",
)
_MOST_IN_TABLES: Final = (
    "maxOutputTokens",
    "max_output_tokens",
    "maxTokens",
    "max_new_tokens",
    "num_predict",
)
# How many answers are asked for, there and here.
_NUMBER: Final = ("n", "best_of")
_NUMBER_IN_TABLES: Final = ("candidateCount", "candidate_count")
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
# No answer is longer; what is written beyond it is a mistake, or mischief.
_MOST_TOKENS: Final = 10**9


def demand_of(exchange: Exchange) -> tuple[int, int | None]:
    """Tokens of input, guessed, and of output; None where that is not stated."""
    if exchange.method != b"POST":
        return 0, 0
    body = exchange.body
    output: int | None = None
    if body is not None:
        document = exchange.document
        if type(document) is dict:
            output = _count(document.get("max_tokens"))
            if not _RARE.isdisjoint(document):
                output = _rare(document, output)
    if output is None and exchange.path.partition(b"?")[0].endswith(_SILENT):
        output = 0
    return (_unread(exchange) if body is None else estimate_input(body)), output


def _rare(document: dict[str, Any], most: int | None) -> int | None:
    """The most output, of all that may say it, times the answers that are asked for."""
    found = [most, *(_count(document.get(name)) for name in _MOST[1:])]
    times = [_count(document.get(name)) for name in _NUMBER]
    for table in _TABLES:
        settings = document.get(table)
        if isinstance(settings, dict):
            found += [_count(settings.get(name)) for name in _MOST_IN_TABLES]
            times += [_count(settings.get(name)) for name in _NUMBER_IN_TABLES]
    stated = max((count for count in found if count is not None), default=None)
    if stated is None:
        return None
    return min(stated * max((count or 1 for count in times), default=1), _MOST_TOKENS)


def _count(value: object) -> int | None:
    if type(value) is float and 0 < value < float("inf"):
        value = int(value)  # what does not fit into 64 bits is read as one, too
    return min(value, _MOST_TOKENS) if type(value) is int and value > 0 else None


def _unread(exchange: Exchange) -> int:
    """A body that nobody reads: JSON too large for it is text, anything else may be sound."""
    field = exchange.headers.get(b"content-length") or b""
    if b"json" not in (exchange.headers.get(b"content-type") or b"").lower():
        return 0
    return int(field) // BYTES_PER_TOKEN if field.isdigit() else 0
