"""Counters, in the dozen shapes that providers write them in.

The trap is what "input" means: OpenAI, Gemini and those who took after them count cached tokens in,
Anthropic, Bedrock's Converse and Ollama do not. Here the counters are disjoint, and unknown is
None, never 0. `gateway.reading` says where in an answer they stand, and whose documents they are.
"""

from __future__ import annotations

from typing import Final

from gateway.dialects.loose import at, items
from gateway.usage import Usage, total

# More than any provider can mean: a counter above it is noise, and would overflow a store's column.
COUNT_MAX: Final = 1 << 53


def read_counts(counts: dict[str, object], usage: Usage) -> None:
    """A member named `usage`, of whichever shape."""
    if "prompt_tokens" in counts or "completion_tokens" in counts:
        into = _either(counts, "prompt_tokens_details", "prompt_token_details")
        out = _either(counts, "completion_tokens_details", "completion_token_details")
        read_all, written = _count(counts, "prompt_tokens"), _count(counts, "completion_tokens")
        _read_inclusive(counts, usage, read_all, written, into, out)
    elif "billed_units" in counts or isinstance(counts.get("tokens"), dict):
        read_cohere(counts, usage)
    elif "inputTokens" in counts or "outputTokens" in counts:
        _read_converse(counts, usage)
    elif "total_input_tokens" in counts or "total_output_tokens" in counts:
        _read_interaction(counts, usage)
    elif counts.get("type") == "duration":  # OpenAI's transcription by the minute
        detail(usage, "input_audio_ms", _milliseconds(counts.get("seconds")))
    elif (
        "input_tokens_details" in counts
        or "input_token_details" in counts
        or "total_tokens" in counts
    ):  # of the two that say `input_tokens`, OpenAI names details or a total, Anthropic neither
        into = _either(counts, "input_tokens_details", "input_token_details")
        out = _either(counts, "output_tokens_details", "output_token_details")
        read_all, written = _count(counts, "input_tokens"), _count(counts, "output_tokens")
        _read_inclusive(counts, usage, read_all, written, into, out)
    elif "input_tokens" in counts or "output_tokens" in counts:
        _read_anthropic(counts, usage)
    tier = counts.get("service_tier")
    if isinstance(tier, str):
        usage.tier = tier
    if counts.get("speed") == "fast":  # Anthropic's has prices of its own, beside a tier "standard"
        usage.tier = "fast"


def _read_inclusive(
    counts: dict[str, object],
    usage: Usage,
    read_all: int | None,
    written: int | None,
    into: dict[str, object] | None,
    out: dict[str, object] | None,
) -> None:
    """OpenAI's way and its followers': details are parts of the two sums."""
    said = _count(counts, "total_tokens")
    cached = stored = reasoning = None
    if into is not None:
        cached = _count(into, "cached_tokens")
        stored = _first(into, "cache_write_tokens", "cache_creation_tokens")
    if cached is None:
        cached = _first(counts, "cached_tokens", "prompt_cache_hit_tokens")
    if out is not None:
        reasoning = _count(out, "reasoning_tokens")
    if reasoning is None:
        reasoning = _count(counts, "reasoning_tokens")
    if read_all is None and written is None:
        read_all = said  # an embedding of Voyage or Jina
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
    if into is not None:
        detail(usage, "input_audio", _count(into, "audio_tokens"))
        detail(usage, "input_image", _count(into, "image_tokens"))
        if "cached_tokens_details" in into:
            detail(usage, "cache_read_audio", count(into, "cached_tokens_details", "audio_tokens"))
        if "cache_write_tokens_details" in into:
            longer = count(into, "cache_write_tokens_details", "ttl_12h_tokens")
            detail(usage, "cache_write_12h", longer)
    if out is not None:
        detail(usage, "output_audio", _count(out, "audio_tokens"))
        detail(usage, "output_image", _count(out, "image_tokens"))
    detail(usage, "web_searches", _count(counts, "num_search_queries"))
    if "prompt_audio_seconds" in counts:  # Mistral's
        detail(usage, "input_audio_ms", _milliseconds(counts["prompt_audio_seconds"]))


def _either(counts: dict[str, object], name: str, other: str) -> dict[str, object] | None:
    """The object that stands under one of two names."""
    found = counts.get(name) or counts.get(other)
    return found if isinstance(found, dict) else None


def _milliseconds(seconds: object) -> int | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        return None
    return round(min(seconds * 1000, COUNT_MAX))


def _read_anthropic(counts: dict[str, object], usage: Usage) -> None:
    """Anthropic's: disjoint already, but for thinking; a stream's later words are cumulative."""
    fresh, written = _count(counts, "input_tokens"), _count(counts, "output_tokens")
    cached = _count(counts, "cache_read_input_tokens")
    stored = _count(counts, "cache_creation_input_tokens")
    usage.fresh_input = usage.fresh_input if fresh is None else fresh
    usage.cache_read = usage.cache_read if cached is None else cached
    usage.cache_write = usage.cache_write if stored is None else stored
    if written is not None:
        thinking = None
        if "output_tokens_details" in counts:
            thinking = count(counts, "output_tokens_details", "thinking_tokens")
        usage.output_reasoning = thinking
        usage.output_text = written - min(thinking or 0, written)
    if "cache_creation" in counts:
        longer = count(counts, "cache_creation", "ephemeral_1h_input_tokens")
        detail(usage, "cache_write_1h", longer)
    if "server_tool_use" in counts:
        detail(usage, "web_searches", count(counts, "server_tool_use", "web_search_requests"))


def read_gemini(counts: dict[str, object], usage: Usage) -> None:
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
    detail(usage, "input_audio", _modality(counts, "promptTokensDetails", "AUDIO"))
    detail(usage, "input_image", _modality(counts, "promptTokensDetails", "IMAGE"))
    detail(usage, "cache_read_audio", _modality(counts, "cacheTokensDetails", "AUDIO"))
    for name in ("candidatesTokensDetails", "responseTokensDetails"):
        detail(usage, "output_audio", _modality(counts, name, "AUDIO"))
        detail(usage, "output_image", _modality(counts, name, "IMAGE"))
    traffic = counts.get("trafficType") or counts.get("serviceTier")
    if isinstance(traffic, str):
        usage.tier = traffic


def _read_interaction(counts: dict[str, object], usage: Usage) -> None:
    """Google's of the Interactions API: like its others, under other names."""
    prompt = _count(counts, "total_input_tokens")
    if prompt is not None:
        cached = _count(counts, "total_cached_tokens")
        usage.cache_read = cached
        fresh = max(0, prompt - (cached or 0))
        usage.fresh_input = fresh + (_count(counts, "total_tool_use_tokens") or 0)
    written = _count(counts, "total_output_tokens")
    if written is not None:
        usage.output_text = written
        usage.output_reasoning = _count(counts, "total_thought_tokens")
    for name, by in (
        ("input_audio", "input_tokens_by_modality"),
        ("cache_read_audio", "cached_tokens_by_modality"),
        ("output_audio", "output_tokens_by_modality"),
    ):
        found = (
            count(one, "tokens") for one in items(counts, by) if at(one, "modality") == "audio"
        )
        detail(usage, name, total(*found))


def _modality(counts: dict[str, object], name: str, kind: str) -> int | None:
    if name not in counts:
        return None
    found = items(counts, name)
    return total(*(count(one, "tokenCount") for one in found if at(one, "modality") == kind))


def _read_converse(counts: dict[str, object], usage: Usage) -> None:
    """Bedrock's Converse: cached tokens stand beside its input."""
    fresh, written = _count(counts, "inputTokens"), _count(counts, "outputTokens")
    usage.fresh_input = usage.fresh_input if fresh is None else fresh
    usage.output_text = usage.output_text if written is None else written
    cached = _first(counts, "cacheReadInputTokens", "cacheReadInputTokenCount")
    stored = _first(counts, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    usage.cache_read = usage.cache_read if cached is None else cached
    usage.cache_write = usage.cache_write if stored is None else stored
    longer = (one for one in items(counts, "cacheDetails") if at(one, "ttl") == "1h")
    detail(usage, "cache_write_1h", total(*(count(one, "inputTokens") for one in longer)))


def read_cohere(counts: dict[str, object], usage: Usage) -> None:
    """Cohere's: what is billed counts, and where that is not said, what was seen."""
    billed, seen = counts.get("billed_units"), counts.get("tokens")
    read_all = count(billed, "input_tokens")
    written = count(billed, "output_tokens")
    if read_all is None:
        read_all = count(seen, "input_tokens")
    if written is None:
        written = count(seen, "output_tokens")
    pictures = count(billed, "image_tokens")
    if read_all is not None or pictures is not None:
        usage.cache_read = _count(counts, "cached_tokens")  # is not billed, and not in what is
        usage.fresh_input = (read_all or 0) + (pictures or 0)
        usage.output_text = 0 if written is None else written
    elif written is not None:
        usage.output_text = written
    detail(usage, "input_image", pictures)
    detail(usage, "search_units", count(billed, "search_units"))
    detail(usage, "classifications", count(billed, "classifications"))
    detail(usage, "images", count(billed, "images"))


def count(document: object, *steps: str | int) -> int | None:
    """The count that stands there. Cohere writes them as floats."""
    return _number(at(document, *steps))


def _number(found: object) -> int | None:
    # One kind after the other: a union of them is made anew each time it is asked for.
    if isinstance(found, bool):
        return None
    if isinstance(found, int):
        return found if 0 <= found <= COUNT_MAX else None
    if isinstance(found, float):
        return int(found) if 0 <= found <= COUNT_MAX else None
    return None


def _count(counts: dict[str, object], name: str) -> int | None:
    return _number(counts.get(name))


def _first(counts: dict[str, object], name: str, other: str) -> int | None:
    found = _number(counts.get(name))
    return _number(counts.get(other)) if found is None else found


def detail(usage: Usage, name: str, found: int | None) -> None:
    """Note a finer count; one that is 0 says nothing."""
    if found:
        if usage.details is None:
            usage.details = {}
        usage.details[name] = found
