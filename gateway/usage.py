"""What an attempt used, as its provider says: read from whole answers and from events.

Providers put their counts in a dozen shapes, and one provider may speak several of them, so they
are told apart by their member names and not by whom we asked. The trap is what "input" means:
OpenAI, Gemini and those who took after them count cached tokens in, Anthropic, Bedrock's Converse
and Ollama do not. Here the counters are disjoint, and unknown is None, never 0.

Sources: the API references and SDK types of OpenAI (chat completions, responses, embeddings,
images, audio, realtime), Anthropic (Messages), Google (generateContent), Amazon Bedrock (Converse,
InvokeModel), Cohere (chat v2, embed, rerank), Mistral, Groq, DeepSeek, xAI, OpenRouter and Ollama.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.dialects.loose import at, string

# More than any provider can mean: a counter above it is noise, and would overflow a store's column.
COUNT_MAX: Final = 1 << 53


class Usage:
    """What one attempt used. Counts and facts are None until somebody says them.

    fresh_input, cache_read, cache_write: what the provider read, disjoint; their sum is its input.
    output_text, output_reasoning: what it wrote, disjoint; `output_text` is all but the reasoning.
    details: finer counts by name, each a part of one of the five (`cache_write_1h`, `input_audio`,
    `cache_read_audio`, `input_image`, `output_audio`, `output_image`) or a count of its own
    (`images`, `web_searches`, `search_units`, `input_audio_ms`, `input_characters`).
    tier: which price list it was served under, in the provider's words (`flex`, `priority`, ...).
    model, response_id, finish_reason: as the answer says them.
    estimated: the counters are our guess. problem: why the answer could not be read.
    cost_nanousd: what it cost, in billionths of a dollar. prices: where that price is from.
    """

    __slots__ = (
        "cache_read",
        "cache_write",
        "cost_nanousd",
        "details",
        "estimated",
        "finish_reason",
        "fresh_input",
        "model",
        "output_reasoning",
        "output_text",
        "prices",
        "problem",
        "response_id",
        "tier",
    )

    def __init__(self) -> None:
        self.fresh_input: int | None = None
        self.cache_read: int | None = None
        self.cache_write: int | None = None
        self.output_text: int | None = None
        self.output_reasoning: int | None = None
        self.details: dict[str, int] | None = None
        self.tier: str | None = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.finish_reason: str | None = None
        self.estimated = False
        self.problem: str | None = None
        self.cost_nanousd: int | None = None
        self.prices: str | None = None

    @property
    def input(self) -> int | None:
        """All that was read; None where nothing is known."""
        return total(self.fresh_input, self.cache_read, self.cache_write)

    @property
    def output(self) -> int | None:
        """All that was written; None where nothing is known."""
        return total(self.output_text, self.output_reasoning)

    @property
    def is_known(self) -> bool:
        """Whether there is any counter."""
        return self.input is not None or self.output is not None or bool(self.details)

    def add(self, other: Usage) -> None:
        """Count another attempt's in: sums of what is known, one guess makes the sum a guess."""
        self.fresh_input = total(self.fresh_input, other.fresh_input)
        self.cache_read = total(self.cache_read, other.cache_read)
        self.cache_write = total(self.cache_write, other.cache_write)
        self.output_text = total(self.output_text, other.output_text)
        self.output_reasoning = total(self.output_reasoning, other.output_reasoning)
        self.cost_nanousd = total(self.cost_nanousd, other.cost_nanousd)
        if other.details:
            details = self.details = dict(self.details or {})
            for name, count in other.details.items():
                details[name] = details.get(name, 0) + count
        self.estimated = self.estimated or other.estimated
        self.problem = self.problem or other.problem
        self.tier = other.tier or self.tier
        self.model = other.model or self.model
        self.response_id = other.response_id or self.response_id
        self.finish_reason = other.finish_reason or self.finish_reason
        self.prices = other.prices or self.prices


def total(*counts: int | None) -> int | None:
    """Sum what is known; None where nothing is."""
    found: int | None = None
    for count in counts:
        if count is not None:
            found = count if found is None else found + count
    return found


# What a token weighs in UTF-8 text, by and large, and what a picture or a minute of sound costs
# beside the many bytes that carry it.
BYTES_PER_TOKEN: Final = 4
_ENCODED: Final = re.compile(rb'"[A-Za-z0-9+/_=-]{1024,}"')
_ENCODED_TOKENS: Final = 1000


def estimate_input(body: bytes) -> int:
    """Guess how many tokens a request's body makes: for reservations, and where an attempt ends
    without its provider's own count.
    """
    if len(body) < 2048:
        return len(body) // BYTES_PER_TOKEN + 1
    text, pictures = _ENCODED.subn(b"", body)
    return len(text) // BYTES_PER_TOKEN + 1 + pictures * _ENCODED_TOKENS


def may_tell(raw: bytes) -> bool:
    """Whether an event's bytes may hold counts or a finish reason, so that decoding it is worth
    while. Never False for one that does.

    Streams that were asked for usage say `"usage":null` and `"finish_reason":null` in every chunk.
    A quote within a JSON string stands behind a backslash, so text cannot look like a member.
    """
    if b'"usage' in raw and (
        raw.count(b'"usage') != raw.count(b'"usage":null') or b'"usageMetadata"' in raw
    ):
        return True
    if b'_reason"' in raw and raw.count(b'_reason"') != raw.count(b'_reason":null'):
        return True
    return (
        b'Reason"' in raw or b"oken_count" in raw or b"TokenCount" in raw or b'eval_count"' in raw
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
    for holder in (document, *_inner(document)):
        _read_facts(holder, usage)
        counts = holder.get("usage")
        if isinstance(counts, dict):
            _read_counts(counts, usage)
        counts = holder.get("usageMetadata")
        if isinstance(counts, dict):
            _read_gemini(counts, usage)
    _read_oddities(document, usage)


# -- where things stand ----------------------------------------------------------------------------


def _inner(document: dict[str, object]) -> list[dict[str, object]]:
    """The objects of an event that may hold what a whole answer holds at its top."""
    found = []
    for name in ("response", "message", "delta", "x_groq", "metadata"):
        part = document.get(name)
        if isinstance(part, dict):
            found.append(part)
    return found


def _read_facts(document: dict[str, object], usage: Usage) -> None:
    model = document.get("model") or document.get("modelVersion")
    if isinstance(model, str):
        usage.model = model
    kind = document.get("type")
    found = document.get("id") or document.get("responseId")
    # A realtime event and a chunk of an item have ids of their own, which are no answer's.
    if isinstance(found, str) and (kind is None or kind == "message"):
        usage.response_id = found
    tier = document.get("service_tier")
    if isinstance(tier, str):
        usage.tier = tier
    reason = _finish_reason(document)
    if reason is not None:
        usage.finish_reason = reason


def _finish_reason(document: dict[str, object]) -> str | None:
    for name in ("stop_reason", "finish_reason", "stopReason", "done_reason"):
        found = document.get(name)
        if isinstance(found, str) and found:
            return found
    for name, member in (("choices", "finish_reason"), ("candidates", "finishReason")):
        found = string(document, name, -1, member)
        if found:
            return found
    found = string(document, "promptFeedback", "blockReason")
    if found is None and document.get("object") == "response":
        found = string(document, "incomplete_details", "reason") or string(document, "status")
        if found in ("queued", "in_progress"):
            return None  # it is not over
    return found


# -- counts ----------------------------------------------------------------------------------------


def _count(document: object, *steps: str | int) -> int | None:
    """The count that stands there. Cohere writes them as floats."""
    found = at(document, *steps)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return int(found) if 0 <= found <= COUNT_MAX else None


def _first(counts: object, *names: str) -> int | None:
    for name in names:
        found = _count(counts, name)
        if found is not None:
            return found
    return None


def _read_counts(counts: dict[str, object], usage: Usage) -> None:
    """A member named `usage`, of whichever shape."""
    if "billed_units" in counts or isinstance(counts.get("tokens"), dict):
        _read_cohere(counts, usage)
    elif "inputTokens" in counts or "outputTokens" in counts:
        _read_converse(counts, usage)
    elif "prompt_tokens" in counts or "completion_tokens" in counts:
        _read_inclusive(counts, usage, "prompt_tokens", "completion_tokens")
    elif counts.get("type") == "duration":  # OpenAI's transcription by the minute
        seconds = counts.get("seconds")
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
            _detail(usage, "input_audio_ms", min(round(seconds * 1000), COUNT_MAX))
    elif any(name in counts for name in _INCLUSIVE_MARKS):
        _read_inclusive(counts, usage, "input_tokens", "output_tokens")
    elif "input_tokens" in counts or "output_tokens" in counts:
        _read_anthropic(counts, usage)
    tier = counts.get("service_tier")
    if isinstance(tier, str):
        usage.tier = tier


# Of the two that say `input_tokens`, OpenAI names details or a total, Anthropic neither.
_INCLUSIVE_MARKS: Final = (
    "input_tokens_details",
    "input_token_details",
    "total_tokens",
)


def _read_inclusive(
    counts: dict[str, object], usage: Usage, input_name: str, output_name: str
) -> None:
    """OpenAI's way and its followers': details are parts of the two sums."""
    into = _details(counts, input_name)
    out = _details(counts, output_name)
    read_all, written = _count(counts, input_name), _count(counts, output_name)
    said = _count(counts, "total_tokens")
    cached = _first(into, "cached_tokens")
    if cached is None:
        cached = _first(counts, "cached_tokens", "prompt_cache_hit_tokens")
    stored = _first(into, "cache_write_tokens", "cache_creation_tokens")
    reasoning = _first(out, "reasoning_tokens")
    if reasoning is None:
        reasoning = _first(counts, "reasoning_tokens")
    if read_all is not None:
        usage.cache_read = cached
        usage.cache_write = stored
        apart = (cached or 0) + (stored or 0)
        # Some count what was cached beside their input: then it is more than the input, or the
        # total says so.
        beside = apart > read_all or (
            apart > 0 and said is not None and said == read_all + apart + (written or 0)
        )
        usage.fresh_input = read_all if beside else read_all - apart
    if written is None and read_all is not None and said == read_all:
        written = 0  # an embedding: all of the total is input
    if written is not None:
        usage.output_reasoning = reasoning
        # xAI counts reasoning beside its output, and only the total tells.
        beside = reasoning is not None and (
            reasoning > written or (reasoning > 0 and said == (read_all or 0) + written + reasoning)
        )
        usage.output_text = written if beside or reasoning is None else written - reasoning
    _detail(usage, "input_audio", _first(into, "audio_tokens"))
    _detail(usage, "input_image", _first(into, "image_tokens"))
    _detail(usage, "cache_read_audio", _count(into, "cached_tokens_details", "audio_tokens"))
    _detail(usage, "output_audio", _first(out, "audio_tokens"))
    _detail(usage, "output_image", _first(out, "image_tokens"))
    longer = _count(into, "cache_write_tokens_details", "ttl_12h_tokens")
    _detail(usage, "cache_write_12h", longer)
    _detail(usage, "web_searches", _first(counts, "num_search_queries"))
    seconds = _count(counts, "prompt_audio_seconds")  # Mistral's Voxtral
    _detail(usage, "input_audio_ms", None if seconds is None else seconds * 1000)


def _details(counts: dict[str, object], name: str) -> object:
    return counts.get(f"{name}_details") or counts.get(f"{name.removesuffix('s')}_details")


def _read_anthropic(counts: dict[str, object], usage: Usage) -> None:
    """Anthropic's: disjoint already, but for thinking; a stream's later words are cumulative."""
    fresh, written = _count(counts, "input_tokens"), _count(counts, "output_tokens")
    cached, stored = (
        _count(counts, "cache_read_input_tokens"),
        _count(counts, "cache_creation_input_tokens"),
    )
    usage.fresh_input = usage.fresh_input if fresh is None else fresh
    usage.cache_read = usage.cache_read if cached is None else cached
    usage.cache_write = usage.cache_write if stored is None else stored
    if written is not None:
        thinking = _count(counts, "output_tokens_details", "thinking_tokens")
        usage.output_reasoning = thinking
        usage.output_text = written - min(thinking or 0, written)
    _detail(usage, "cache_write_1h", _count(counts, "cache_creation", "ephemeral_1h_input_tokens"))
    _detail(usage, "web_searches", _count(counts, "server_tool_use", "web_search_requests"))


def _read_gemini(counts: dict[str, object], usage: Usage) -> None:
    """Google's: cached is within the prompt, thoughts and tool prompts stand beside."""
    prompt = _count(counts, "promptTokenCount")
    if prompt is not None:
        cached = _count(counts, "cachedContentTokenCount")
        usage.cache_read = cached
        fresh = max(0, prompt - (cached or 0))
        usage.fresh_input = fresh + (_count(counts, "toolUsePromptTokenCount") or 0)
    written = _first(counts, "candidatesTokenCount", "responseTokenCount")
    thoughts = _count(counts, "thoughtsTokenCount")
    if written is None and prompt is not None:
        # Left out where nothing was written but thoughts; the total says whether that is so.
        said = _count(counts, "totalTokenCount")
        if said is not None and said == prompt + (thoughts or 0):
            written = 0
    if written is not None:
        usage.output_text = written
    if thoughts is not None:
        usage.output_reasoning = thoughts
    _detail(usage, "input_audio", _modality(counts, "promptTokensDetails", "AUDIO"))
    _detail(usage, "input_image", _modality(counts, "promptTokensDetails", "IMAGE"))
    _detail(usage, "cache_read_audio", _modality(counts, "cacheTokensDetails", "AUDIO"))
    for name in ("candidatesTokensDetails", "responseTokensDetails"):
        _detail(usage, "output_audio", _modality(counts, name, "AUDIO"))
        _detail(usage, "output_image", _modality(counts, name, "IMAGE"))
    traffic = counts.get("trafficType")
    if isinstance(traffic, str):
        usage.tier = traffic


def _modality(counts: dict[str, object], name: str, kind: str) -> int | None:
    found = counts.get(name)
    if not isinstance(found, list):
        return None
    return total(*(_count(one, "tokenCount") for one in found if at(one, "modality") == kind))


def _read_converse(counts: dict[str, object], usage: Usage) -> None:
    """Bedrock's Converse: cached tokens stand beside its input."""
    fresh, written = _count(counts, "inputTokens"), _count(counts, "outputTokens")
    usage.fresh_input = usage.fresh_input if fresh is None else fresh
    usage.output_text = usage.output_text if written is None else written
    cached = _first(counts, "cacheReadInputTokens", "cacheReadInputTokenCount")
    stored = _first(counts, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    usage.cache_read = usage.cache_read if cached is None else cached
    usage.cache_write = usage.cache_write if stored is None else stored
    details = counts.get("cacheDetails")
    if isinstance(details, list):
        longer = [_count(one, "inputTokens") for one in details if at(one, "ttl") == "1h"]
        _detail(usage, "cache_write_1h", total(*longer))


def _read_cohere(counts: dict[str, object], usage: Usage) -> None:
    """Cohere's: what is billed counts, and where that is not said, what was seen."""
    billed, seen = counts.get("billed_units"), counts.get("tokens")
    read_all = _count(billed, "input_tokens")
    written = _count(billed, "output_tokens")
    if read_all is None:
        read_all = _count(seen, "input_tokens")
    if written is None:
        written = _count(seen, "output_tokens")
    cached = _count(counts, "cached_tokens")
    if read_all is not None:
        usage.cache_read = cached  # which is not billed, and not in what is
        usage.fresh_input = read_all
        usage.output_text = 0 if written is None else written
    elif written is not None:
        usage.output_text = written
    _detail(usage, "search_units", _count(billed, "search_units"))
    _detail(usage, "classifications", _count(billed, "classifications"))
    _detail(usage, "images", _count(billed, "images"))


def _read_oddities(document: dict[str, object], usage: Usage) -> None:
    """Counts that stand under names of their own."""
    meta = document.get("meta")
    if isinstance(meta, dict) and isinstance(meta.get("billed_units"), dict):  # Cohere's embed
        _read_cohere(meta, usage)
    if "prompt_eval_count" in document or "eval_count" in document:  # Ollama's own API
        fresh, written = _count(document, "prompt_eval_count"), _count(document, "eval_count")
        usage.fresh_input = usage.fresh_input if fresh is None else fresh
        usage.output_text = usage.output_text if written is None else written
        if fresh is not None and written is None and "embeddings" in document:
            usage.output_text = 0
    metrics = document.get("amazon-bedrock-invocationMetrics")
    if isinstance(metrics, dict) and usage.fresh_input is None:
        usage.fresh_input = _count(metrics, "inputTokenCount")
        usage.output_text = _count(metrics, "outputTokenCount")
        usage.cache_read = _count(metrics, "cacheReadInputTokenCount")
        usage.cache_write = _count(metrics, "cacheWriteInputTokenCount")
    if "prompt_token_count" in document or "generation_token_count" in document:  # Bedrock's Llama
        fresh = _count(document, "prompt_token_count")
        usage.fresh_input = usage.fresh_input if fresh is None else fresh
        usage.output_text = _count(document, "generation_token_count")
    if "inputTextTokenCount" in document:  # Bedrock's Titan
        usage.fresh_input = _count(document, "inputTextTokenCount")
        written = total(*(_count(one, "tokenCount") for one in _results(document)))
        written = _count(document, "totalOutputTextTokenCount") if written is None else written
        usage.output_text = 0 if written is None and "embedding" in document else written


def _results(document: dict[str, object]) -> list[object]:
    found = document.get("results")
    return found if isinstance(found, list) else []


def _detail(usage: Usage, name: str, count: int | None) -> None:
    """Note a finer count; one that is 0 says nothing."""
    if count:
        if usage.details is None:
            usage.details = {}
        usage.details[name] = count
