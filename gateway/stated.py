"""What a request states of its answer before there is one: the most output, and how many answers.

Sources: the API references of OpenAI, Anthropic, Google, Amazon Bedrock, Cohere, Ollama, Hugging
Face.
"""

from __future__ import annotations

from typing import Any, Final

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


def stated_output(document: dict[str, Any]) -> tuple[int | None, int]:
    """The tokens of all answers at most, None where nothing says that, and how many answers."""
    most = _count(document.get("max_tokens"))
    if _RARE.isdisjoint(document):
        return most, 1
    for name in _MOST[1:]:
        most = _larger(most, _count(document.get(name)))
    times = 1
    for name in _NUMBER:
        times = max(times, _count(document.get(name)) or 1)
    for table in _TABLES:
        settings = document.get(table)
        if isinstance(settings, dict):
            for name in _MOST_IN_TABLES:
                most = _larger(most, _count(settings.get(name)))
            for name in _NUMBER_IN_TABLES:
                times = max(times, _count(settings.get(name)) or 1)
    return (None if most is None else most * times), times


def is_silent(path: bytes) -> bool:
    """Whether what answers there has no output that is counted."""
    return path.partition(b"?")[0].endswith(_SILENT)


def _count(value: object) -> int | None:
    if type(value) is float and 0 < value < float("inf"):
        value = int(value)  # what does not fit into 64 bits is read as one, too
    return value if type(value) is int and value > 0 else None


def _larger(one: int | None, other: int | None) -> int | None:
    return other if one is None or (other is not None and other > one) else one
