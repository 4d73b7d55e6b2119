"""What an answer says of itself: counts, model, id and finish reason, read from whole ones and from
events, whoever wrote them.

One provider may speak several formats, and many speak one, so formats are told apart by their
member names and not by whom we asked.

Sources: the API references and SDK types of OpenAI (chat completions, responses, embeddings,
images, audio, realtime, batches), Anthropic (Messages), Google (generateContent, Live), Amazon
Bedrock (Converse, InvokeModel), Cohere (chat, embed, rerank), Mistral, Groq, DeepSeek, xAI,
OpenRouter, Voyage and Ollama.
"""

from __future__ import annotations

from typing import Final

from gateway.counts import count, detail, read_cohere, read_counts, read_gemini
from gateway.dialects.loose import at, items, string
from gateway.usage import Usage, total

# The objects of an event that may hold what a whole answer holds at its top, and those of which
# only the counts are the provider's own words.
_INNER: Final = ("response", "message", "delta", "messageStop", "interaction")
_COUNTING: Final = ("x_groq", "metadata")
# Members that few documents have: to ask for all of them at once is cheaper.
_ELSEWHERE: Final = frozenset(
    {
        *_INNER,
        *_COUNTING,
        "amazon-bedrock-invocationMetrics",
        "eval_count",
        "generation_token_count",
        "inputTextTokenCount",
        "prompt_eval_count",
        "prompt_token_count",
    }
)
# Of what has a type, only these have an id that is the answer's: events and items have their own.
_ANSWERS: Final = (None, "message", "message-start", "message-end")
_REASONS: Final = ("stop_reason", "finish_reason", "stopReason", "done_reason", "completionReason")
_REASONS_WITHIN: Final = (
    ("candidates", "finishReason"),
    ("results", "completionReason"),
    ("outputs", "stop_reason"),
)


def read(document: object, usage: Usage) -> None:
    """Note what a whole answer or one event says. Later words replace earlier ones. Never raises.

    document: decoded JSON of any kind; a list is Gemini's array of chunks.
    """
    if isinstance(document, list):
        for chunk in document:
            if isinstance(chunk, dict):
                read(chunk, usage)
        return
    if not isinstance(document, dict):
        return
    if document.get("object") == "batch":
        _read_batch(document, usage)
        return
    _read_part(document, usage)
    if not _ELSEWHERE.isdisjoint(document):
        _read_elsewhere(document, usage)
    if "created" in document and "usage" not in document:  # OpenAI's images without tokens
        made = items(document, "data")
        detail(usage, "images", sum(bool(at(one, "url") or at(one, "b64_json")) for one in made))


# -- where things stand ----------------------------------------------------------------------------


def _read_part(document: dict[str, object], usage: Usage) -> None:
    model = document.get("model") or document.get("modelVersion")
    if isinstance(model, str):
        usage.model = model
    found = document.get("id") or document.get("responseId")
    if isinstance(found, str) and document.get("type") in _ANSWERS:
        usage.response_id = found
    tier = document.get("service_tier")
    if isinstance(tier, str):
        usage.tier = tier
    reason = _finish_reason(document)
    if reason is not None:
        usage.finish_reason = reason
    counts = document.get("usage")
    if isinstance(counts, dict):
        read_counts(counts, usage)
    counts = document.get("usageMetadata")
    if isinstance(counts, dict):
        read_gemini(counts, usage)
    counts = document.get("meta")
    if isinstance(counts, dict) and isinstance(counts.get("billed_units"), dict):
        read_cohere(counts, usage)


def _finish_reason(document: dict[str, object]) -> str | None:
    choices = document.get("choices")  # most documents have these
    if isinstance(choices, list) and choices:
        found = choices[-1].get("finish_reason") if isinstance(choices[-1], dict) else None
        if isinstance(found, str) and found:
            return found
    for name in _REASONS:
        found = document.get(name)
        if isinstance(found, str) and found:
            return found
    for name, member in _REASONS_WITHIN:
        within = document.get(name)
        if isinstance(within, list) and within:
            last = within[-1]
            inner = last.get(member) if isinstance(last, dict) else None
            if isinstance(inner, str) and inner:
                return inner
    if document.get("object") in ("response", "realtime.response", "interaction"):
        state = string(document, "status")
        if state in ("queued", "in_progress"):
            return None  # it is not over
        return string(document, "incomplete_details", "reason") or state
    if "promptFeedback" in document:
        return string(document, "promptFeedback", "blockReason")
    return None


def _read_batch(batch: dict[str, object], usage: Usage) -> None:
    """OpenAI's: its sums are final once there is a file of results, which tells them again."""
    file = batch.get("output_file_id")
    counts = batch.get("usage")
    if isinstance(file, str) and isinstance(counts, dict):
        usage.response_id = file
        usage.model = string(batch, "model")
        usage.tier = "batch"
        read_counts(counts, usage)


def _read_elsewhere(document: dict[str, object], usage: Usage) -> None:
    """What stands in objects within, and counts that stand under names of their own."""
    for name in _INNER:
        part = document.get(name)
        if isinstance(part, dict):
            _read_part(part, usage)
    for name in _COUNTING:
        part = document.get(name)
        if isinstance(part, dict) and isinstance(part.get("usage"), dict):
            read_counts(part["usage"], usage)
    if "prompt_eval_count" in document or "eval_count" in document:  # Ollama's own API
        fresh, written = count(document, "prompt_eval_count"), count(document, "eval_count")
        usage.fresh_input = usage.fresh_input if fresh is None else fresh
        usage.output_text = usage.output_text if written is None else written
        if fresh is not None and written is None and "embeddings" in document:
            usage.output_text = 0
    metrics = document.get("amazon-bedrock-invocationMetrics")
    if isinstance(metrics, dict) and usage.fresh_input is None:
        usage.fresh_input = count(metrics, "inputTokenCount")
        usage.output_text = count(metrics, "outputTokenCount")
        usage.cache_read = count(metrics, "cacheReadInputTokenCount")
        usage.cache_write = count(metrics, "cacheWriteInputTokenCount")
    if "prompt_token_count" in document or "generation_token_count" in document:  # Bedrock's Llama
        fresh = count(document, "prompt_token_count")
        usage.fresh_input = usage.fresh_input if fresh is None else fresh
        usage.output_text = count(document, "generation_token_count")
    if "inputTextTokenCount" in document:  # Bedrock's Titan
        usage.fresh_input = count(document, "inputTextTokenCount")
        written = total(*(count(one, "tokenCount") for one in items(document, "results")))
        written = count(document, "totalOutputTextTokenCount") if written is None else written
        usage.output_text = 0 if written is None and "embedding" in document else written
