"""Answers in each format that providers speak, and what they say was used.

Shapes are those of the providers' own documents; text and numbers are made up. Of each stream the
numbers differ from counter to counter, so that one taken for another is seen.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway import Usage

SSE: Final = b"text/event-stream; charset=utf-8"
JSON: Final = b"application/json"
AWS: Final = b"application/vnd.amazon.eventstream"
NDJSON: Final = b"application/x-ndjson"


@dataclass(frozen=True)
class Case:
    """One answer. counts: fresh input, cache read, cache write, output text, output reasoning.

    rest: what else the usage says, by name.
    """

    name: str
    provider: str
    path: bytes
    kind: bytes
    body: bytes
    counts: tuple[int | None, int | None, int | None, int | None, int | None]
    request: dict[str, Any] = field(default_factory=lambda: {"model": "m"})
    rest: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def counts_of(usage: Usage) -> tuple[int | None, ...]:
    return (
        usage.fresh_input,
        usage.cache_read,
        usage.cache_write,
        usage.output_text,
        usage.output_reasoning,
    )


def sse(*documents: Any, named: bool = False, done: bool = False, end: bytes = b"\n") -> bytes:
    """An event stream. A string is a comment; named: with `event` lines, as Anthropic does."""
    lines = []
    for document in documents:
        if isinstance(document, str):
            lines.append(b": " + document.encode() + end + end)
            continue
        name = b"event: " + document["type"].encode() + end if named else b""
        lines.append(name + b"data: " + orjson.dumps(document) + end + end)
    return b"".join(lines) + (b"data: [DONE]" + end + end if done else b"")


def spaced(document: Any) -> bytes:
    """JSON as Google and Python's own module write it: with a space behind colons and commas."""
    if isinstance(document, dict):
        members = (orjson.dumps(name) + b": " + spaced(part) for name, part in document.items())
        return b"{" + b", ".join(members) + b"}"
    if isinstance(document, list):
        return b"[" + b", ".join(map(spaced, document)) + b"]"
    return orjson.dumps(document)


def aws_message(payload: bytes, kind: bytes) -> bytes:
    """A message of Amazon's event stream."""
    headers = b""
    for name, value in (
        (b":event-type", kind),
        (b":content-type", b"application/json"),
        (b":message-type", b"event"),
    ):
        headers += bytes([len(name)]) + name + b"\x07" + len(value).to_bytes(2, "big") + value
    size = 16 + len(headers) + len(payload)
    prelude = size.to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    message = prelude + binascii.crc32(prelude).to_bytes(4, "big") + headers + payload
    return message + binascii.crc32(message).to_bytes(4, "big")


def converse(*events: tuple[str, Any]) -> bytes:
    return b"".join(aws_message(orjson.dumps(event), name.encode()) for name, event in events)


def invoked(*events: Any) -> bytes:
    packed = (base64.b64encode(orjson.dumps(event)).decode() for event in events)
    return b"".join(
        aws_message(orjson.dumps({"bytes": one, "p": "abc"}), b"chunk") for one in packed
    )


# -- OpenAI and its followers ----------------------------------------------------------------------

WORDS: Final = (
    "The",
    " sky",
    " is",
    ' "blue"',
    " \u00fcber",
    " \u5929",
    ' usage":{',
    " today",
    ".",
)
CHAT: Final = b"v1/chat/completions"
OPENAI_COUNTS: Final = {
    "prompt_tokens": 130,
    "completion_tokens": 70,
    "total_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 41, "audio_tokens": 3},
}
OPENAI: Final = (66, 64, None, 29, 41)


def chat_chunk(
    delta: dict[str, Any] | None, reason: str | None = None, **more: Any
) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1764000000,
        "model": "gpt-5-2025-08-07",
        "service_tier": "default",
        "choices": choices,
        **more,
    }


def chat_chunks(usage: Any = None, **more: Any) -> list[dict[str, Any]]:
    """A chat's chunks; with `usage` as they come when it was asked for."""
    nulls = {} if usage is None else {"usage": None}
    chunks = [chat_chunk({"role": "assistant", "content": ""}, **nulls, **more)]
    chunks += [chat_chunk({"content": word}, **nulls, **more) for word in WORDS]
    chunks.append(chat_chunk({}, "stop", **nulls, **more))
    return chunks if usage is None else [*chunks, chat_chunk(None, usage=usage, **more)]


def response(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "gpt-5-2025-08-07",
        "metadata": {"id": "not_it", "model": "not-it", "usage": "none"},
        "output": [],
        "service_tier": "flex",
        "usage": None,
        **more,
    }


RESPONSE_COUNTS: Final = {
    "input_tokens": 130,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 70,
    "output_tokens_details": {"reasoning_tokens": 41},
    "total_tokens": 200,
}


def response_events(last: dict[str, Any]) -> list[dict[str, Any]]:
    item = {"type": "message", "id": "msg_9", "status": "in_progress", "content": []}
    return [
        {"type": "response.created", "sequence_number": 0, "response": response("in_progress")},
        {"type": "response.in_progress", "sequence_number": 1, "response": response("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        *(
            {"type": "response.output_text.delta", "item_id": "msg_9", "delta": word, "pad": "x"}
            for word in WORDS
        ),
        {"type": "response.output_text.done", "item_id": "msg_9", "text": "".join(WORDS)},
        {"type": f"response.{last['status']}", "response": last},
    ]


EMBEDDING: Final = {"object": "embedding", "index": 0, "embedding": [0.1, -0.2, 0.3]}
ASKING: Final = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
STREAMING: Final = {"model": "m", "stream": True}
GPT: Final = {"model": "gpt-5-2025-08-07", "finish_reason": "stop", "response_id": "chatcmpl-1"}
RESP: Final = {"model": "gpt-5-2025-08-07", "response_id": "resp_1", "tier": "flex"}

OPENAI_STREAMS: Final = [
    Case(
        "openai-chat-stream", "openai", CHAT, SSE, sse(*chat_chunks(OPENAI_COUNTS), done=True),
        OPENAI, ASKING,
        {**GPT, "tier": "default", "details": {"input_audio": 5, "output_audio": 3}},
    ),
    Case(
        "openai-completions-stream", "openai", b"v1/completions", SSE,
        sse(
            *(
                {"id": "cmpl-1", "model": "davinci-002", "usage": None,
                 "choices": [{"text": word, "index": 0, "finish_reason": None}]}
                for word in WORDS
            ),
            {"id": "cmpl-1", "model": "davinci-002", "usage": None,
             "choices": [{"text": "", "index": 0, "finish_reason": "length"}]},
            {"id": "cmpl-1", "model": "davinci-002", "choices": [],
             "usage": {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13}},
            done=True,
        ),
        (4, None, None, 9, None), ASKING,
        {"model": "davinci-002", "finish_reason": "length", "response_id": "cmpl-1"},
    ),
    Case(
        "openai-responses-stream", "openai", b"v1/responses", SSE,
        sse(*response_events(response(usage=RESPONSE_COUNTS)), named=True),
        OPENAI, STREAMING, {**RESP, "finish_reason": "completed"},
    ),
    Case(
        "openai-responses-incomplete", "openai", b"v1/responses", SSE,
        sse(
            *response_events(
                response(
                    "incomplete",
                    usage=RESPONSE_COUNTS,
                    incomplete_details={"reason": "max_output_tokens"},
                )
            ),
            named=True,
        ),
        OPENAI, STREAMING, {**RESP, "finish_reason": "max_output_tokens"},
    ),
    Case(
        "openai-transcript-stream", "openai", b"v1/audio/transcriptions", SSE,
        sse(
            {"type": "transcript.text.delta", "delta": "I see"},
            {"type": "transcript.text.done", "text": "I see",
             "usage": {"type": "tokens", "input_tokens": 140, "output_tokens": 3,
                       "total_tokens": 143,
                       "input_token_details": {"text_tokens": 10, "audio_tokens": 130}}},
            named=True,
        ),
        (140, None, None, 3, None), rest={"details": {"input_audio": 130}},
    ),
    Case(
        "openai-speech-stream", "openai", b"v1/audio/speech", SSE,
        sse(
            {"type": "speech.audio.delta", "audio": "UklGRiQA" * 40},
            {"type": "speech.audio.done",
             "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}},
        ),
        (14, None, None, 101, None), {"model": "m", "input": "Hello", "stream_format": "sse"},
    ),
    Case(
        "openai-image-stream", "openai", b"v1/images/generations", SSE,
        sse(
            {"type": "image_generation.partial_image", "b64_json": "iVBORw0K" * 60},
            {"type": "image_generation.completed", "b64_json": "iVBORw0K" * 90,
             "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210,
                       "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                       "output_tokens_details": {"image_tokens": 4100, "text_tokens": 60}}},
            named=True,
        ),
        (50, None, None, 4160, None), STREAMING,
        {"details": {"input_image": 40, "output_image": 4100}},
    ),
    Case(
        "groq-stream", "groq", CHAT, SSE,
        sse(
            chat_chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
            *(chat_chunk({"reasoning": word, "channel": "analysis"}) for word in WORDS),
            chat_chunk(
                {}, "stop",
                x_groq={"id": "req_1", "usage": {
                    "queue_time": 0.05, "prompt_tokens": 23, "prompt_time": 0.006,
                    "completion_tokens": 19, "completion_time": 0.02, "total_tokens": 42,
                    "total_time": 0.03, "completion_tokens_details": {"reasoning_tokens": 8}}},
            ),
            done=True,
        ),
        (23, None, None, 11, 8), STREAMING, GPT,
    ),
    Case(
        "mistral-stream", "mistral", CHAT, SSE,
        sse(
            *chat_chunks()[:-1],
            chat_chunk({"content": ""}, "stop", usage={
                "prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 16}, "num_cached_tokens": 16}),
            done=True,
        ),
        (14, 16, None, 7, None), STREAMING, GPT,
    ),
    Case(
        "deepseek-stream", "deepseek", CHAT, SSE,
        sse(
            "keep-alive",
            *chat_chunks()[:-1],
            chat_chunk({"content": ""}, "stop", usage={
                "prompt_tokens": 110, "completion_tokens": 90, "total_tokens": 200,
                "prompt_tokens_details": {"cached_tokens": 96}, "prompt_cache_hit_tokens": 96,
                "completion_tokens_details": {"reasoning_tokens": 60},
                "prompt_cache_miss_tokens": 14}),
            done=True,
        ),
        (14, 96, None, 30, 60), ASKING, GPT,
    ),
    Case(
        "openrouter-stream", "openrouter", CHAT, SSE,
        sse(
            *["OPENROUTER PROCESSING"] * 30,
            *chat_chunks()[:-1],
            chat_chunk({"content": ""}, "stop", native_finish_reason="end_turn"),
            chat_chunk({"content": ""}, "stop", usage={
                "prompt_tokens": 888, "completion_tokens": 74, "total_tokens": 962,
                "cost": 0.0145476, "is_byok": False,
                "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 80},
                "cost_details": {"upstream_inference_cost": None},
                "completion_tokens_details": {"reasoning_tokens": 4, "image_tokens": 0}}),
            done=True,
        ),
        (800, 8, 80, 70, 4), ASKING, GPT,
    ),
    # It counts in every chunk, and has an empty one behind the last count.
    Case(
        "xai-stream", "grok", CHAT, SSE,
        sse(
            *(
                chat_chunk({"content": word}, usage={
                    "prompt_tokens": 19, "completion_tokens": number,
                    "total_tokens": 19 + number + 9 * number,
                    "completion_tokens_details": {"reasoning_tokens": 9 * number},
                    "prompt_tokens_details": {"cached_tokens": 3}})
                for number, word in enumerate(WORDS * 3, 1)
            ),
            chat_chunk({}, "stop"),
            chat_chunk(None),
            done=True,
        ),
        (16, 3, None, 27, 243), ASKING, GPT,
    ),
    Case(
        "spaced-chat-stream", "openai", CHAT, SSE,
        b"".join(b"data: %b\n\n" % spaced(chunk) for chunk in chat_chunks(OPENAI_COUNTS))
        + b"data: [DONE]\n\n",
        OPENAI, ASKING, GPT,
    ),
]  # fmt: skip

# -- Anthropic -------------------------------------------------------------------------------------

CLAUDE: Final = {"model": "claude-sonnet-4-5", "response_id": "msg_1", "tier": "standard"}


def claude_events(text: Sequence[str] = WORDS) -> list[dict[str, Any]]:
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 11, "cache_creation_input_tokens": 200,
                  "cache_read_input_tokens": 3000, "output_tokens": 1, "service_tier": "standard",
                  "cache_creation": {"ephemeral_5m_input_tokens": 50,
                                     "ephemeral_1h_input_tokens": 150}},
    }  # fmt: skip
    return [
        {"type": "message_start", "message": message},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {"type": "ping"},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in text
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "output_tokens": 90,
                "output_tokens_details": {"thinking_tokens": 33},
                "server_tool_use": {"web_search_requests": 2},
            },
        },
        {"type": "message_stop"},
    ]


CLAUDE_COUNTS: Final = (11, 3000, 200, 57, 33)
CLAUDE_DETAILS: Final = {"cache_write_1h": 150, "web_searches": 2}
OLLAMA: Final = {"model": "llama3.2", "created_at": "2026-11-20T10:00:00Z"}
METADATA: Final = {
    "usage": {"inputTokens": 20, "outputTokens": 8, "totalTokens": 1028,
              "cacheReadInputTokens": 900, "cacheWriteInputTokens": 100,
              "cacheDetails": [{"ttl": "1h", "inputTokens": 70}, {"ttl": "5m", "inputTokens": 30}]},
    "metrics": {"latencyMs": 551},
}  # fmt: skip


def gemini_chunk(words: str, output: int, reason: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": words}], "role": "model"}}
    if reason is not None:
        candidate["finishReason"] = reason
    return {
        "candidates": [{**candidate, "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 300, "candidatesTokenCount": output,
            "totalTokenCount": 300 + output + 55, "cachedContentTokenCount": 256,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40},
                                    {"modality": "AUDIO", "tokenCount": 260}],
            "thoughtsTokenCount": 55, "trafficType": "ON_DEMAND", **more,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "g-1",
    }  # fmt: skip


GEMINI_CHUNKS: Final = [
    *(gemini_chunk(word, number) for number, word in enumerate(WORDS * 2, 1)),
    gemini_chunk("", 19, "STOP", toolUsePromptTokenCount=6),
]
GEMINI_COUNTS: Final = (50, 256, None, 19, 55)
GEMINI: Final = {
    "model": "gemini-2.5-flash", "finish_reason": "STOP", "response_id": "g-1",
    "tier": "ON_DEMAND", "details": {"input_audio": 260},
}  # fmt: skip

# https://ai.google.dev/gemini-api/docs/interactions/streaming, and the SDK's Interactions.Usage.
INTERACTION: Final = {
    "id": "v1_a", "object": "interaction", "model": "gemini-3-flash", "status": "completed",
    "usage": {
        "total_tokens": 130, "total_input_tokens": 100, "total_cached_tokens": 64,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 90},
                                     {"modality": "audio", "tokens": 10}],
        "total_output_tokens": 20, "total_tool_use_tokens": 3, "total_thought_tokens": 10,
    },
}  # fmt: skip
INTERACTION_COUNTS: Final = (39, 64, None, 20, 10)
INTERACTED: Final = {
    "model": "gemini-3-flash", "response_id": "v1_a", "finish_reason": "completed",
    "details": {"input_audio": 10},
}  # fmt: skip

OTHER_STREAMS: Final = [
    Case(
        "anthropic-stream", "anthropic", b"v1/messages", SSE, sse(*claude_events(), named=True),
        CLAUDE_COUNTS, STREAMING,
        {**CLAUDE, "finish_reason": "end_turn", "details": CLAUDE_DETAILS},
    ),
    Case(
        "gemini-stream", "google-ai-studio",
        b"v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", SSE,
        b"".join(b"data: %b\r\n\r\n" % spaced(chunk) for chunk in GEMINI_CHUNKS),
        GEMINI_COUNTS, {"contents": []}, GEMINI,
    ),
    Case(
        "gemini-interaction-stream", "google-ai-studio", b"v1beta/interactions", SSE,
        sse(
            {"interaction": {"id": "v1_a", "status": "in_progress", "object": "interaction",
                             "model": "gemini-3-flash"}, "event_type": "interaction.created"},
            *[{"index": 1, "delta": {"text": word, "type": "text"}, "event_type": "step.delta"}
              for word in WORDS * 2],
            {"interaction": INTERACTION, "event_type": "interaction.completed"},
        ) + b"event: done\ndata: [DONE]\n\n",
        INTERACTION_COUNTS, {"model": "gemini-3-flash", "input": "hi", "stream": True}, INTERACTED,
    ),
    Case(
        "vertex-array", "google-vertex-ai",
        b"v1/projects/p/locations/global/publishers/google/models/g:streamGenerateContent", JSON,
        b"[" + b"\n,\r\n".join(map(spaced, GEMINI_CHUNKS)) + b"\n]\n",
        GEMINI_COUNTS, {"contents": []}, GEMINI,
    ),
    Case(
        "converse-stream", "aws-bedrock", b"model/amazon.nova-2/converse-stream", AWS,
        converse(
            ("messageStart", {"role": "assistant", "p": "abcd"}),
            *(
                ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}, "p": "ab"})
                for word in WORDS
            ),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", METADATA),
        ),
        (20, 900, 100, 8, None), {"messages": []},
        {"finish_reason": "end_turn", "details": {"cache_write_1h": 70}},
    ),
    Case(
        "invoke-claude-stream", "aws-bedrock",
        b"model/anthropic.claude/invoke-with-response-stream", AWS, invoked(*claude_events()),
        CLAUDE_COUNTS, {"messages": []},
        {**CLAUDE, "finish_reason": "end_turn", "details": CLAUDE_DETAILS},
    ),
    Case(
        "invoke-llama-stream", "aws-bedrock",
        b"model/meta.llama3/invoke-with-response-stream", AWS,
        invoked(
            *(
                {"generation": word, "prompt_token_count": None, "generation_token_count": number,
                 "stop_reason": None}
                for number, word in enumerate(WORDS, 1)
            ),
            {"generation": "", "prompt_token_count": 12, "generation_token_count": 10,
             "stop_reason": "stop",
             "amazon-bedrock-invocationMetrics": {"inputTokenCount": 12, "outputTokenCount": 10}},
        ),
        (12, None, None, 10, None), {"prompt": "Hi"}, {"finish_reason": "stop"},
    ),
    Case(
        "cohere-stream", "cohere", b"v2/chat", SSE,
        sse(
            {"id": "co-1", "type": "message-start", "delta": {"message": {"role": "assistant"}}},
            *(
                {"type": "content-delta", "index": 0,
                 "delta": {"message": {"content": {"text": word}}}}
                for word in WORDS
            ),
            {"type": "content-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {
                "billed_units": {"input_tokens": 41.0, "output_tokens": 25.0},
                "cached_tokens": 144.0,
                "tokens": {"input_tokens": 1441.0, "output_tokens": 54.0}}}},
            named=True, done=True,
        ),
        (41, 144, None, 25, None), STREAMING,
        {"finish_reason": "COMPLETE", "response_id": "co-1"},
    ),
    Case(
        "ollama-stream", "ollama", b"api/chat", NDJSON,
        b"".join(
            orjson.dumps(line) + b"\n"
            for line in (
                *({**OLLAMA, "message": {"role": "assistant", "content": word}, "done": False}
                  for word in WORDS),
                {**OLLAMA, "message": {"role": "assistant", "content": ""}, "done": True,
                 "done_reason": "stop", "total_duration": 5043500667, "prompt_eval_count": 26,
                 "prompt_eval_duration": 325953000, "eval_count": 290},
            )
        ),
        (26, None, None, 290, None), STREAMING, {"model": "llama3.2", "finish_reason": "stop"},
    ),
]  # fmt: skip

STREAMS: Final = [*OPENAI_STREAMS, *OTHER_STREAMS]


def whole(
    name: str,
    provider: str,
    path: bytes,
    document: Any,
    counts: tuple[int | None, ...],
    **rest: Any,
) -> Case:
    assert len(counts) == 5
    return Case(name, provider, path, JSON, spaced(document), counts, rest=rest)


WHOLES: Final = [
    whole(
        "openai-chat", "openai", CHAT,
        {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5-2025-08-07",
         "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"},
                      "finish_reason": "stop"}],
         "usage": OPENAI_COUNTS, "service_tier": "priority"},
        OPENAI, **GPT, tier="priority", details={"input_audio": 5, "output_audio": 3},
    ),
    whole(
        "openai-cache-writes", "openai", b"v1/responses",
        response(usage={
            "input_tokens": 1000, "output_tokens": 5, "total_tokens": 1005,
            "input_tokens_details": {
                "cached_tokens": 300, "cache_write_tokens": 600,
                "cache_write_tokens_details": {"ttl_30m_tokens": 500, "ttl_12h_tokens": 100}},
            "output_tokens_details": {"reasoning_tokens": 0}}),
        (100, 300, 600, 5, 0), **RESP, finish_reason="completed", details={"cache_write_12h": 100},
    ),
    whole(
        "openai-embeddings", "openai", b"v1/embeddings",
        {"object": "list", "data": [EMBEDDING], "model": "text-embedding-3-small",
         "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        (8, None, None, 0, None), model="text-embedding-3-small",
    ),
    whole(
        "openai-images", "openai", b"v1/images/generations",
        {"created": 1764000000, "data": [{"b64_json": "iVBORw0K"}], "quality": "high",
         "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210,
                   "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}},
        (50, None, None, 4160, None), details={"input_image": 40},
    ),
    whole(
        "openai-images-by-piece", "openai", b"v1/images/generations",
        {"created": 1764000000, "data": [{"url": "https://a"}, {"url": "https://b"}]},
        (None, None, None, None, None), details={"images": 2},
    ),
    whole(
        "openai-transcription-tokens", "openai", b"v1/audio/transcriptions",
        {"text": "I see", "usage": {
            "type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}},
        (14, None, None, 45, None), details={"input_audio": 14},
    ),
    whole(
        "openai-transcription-duration", "openai", b"v1/audio/transcriptions",
        {"text": "I see", "usage": {"type": "duration", "seconds": 9.5}},
        (None, None, None, None, None), details={"input_audio_ms": 9500},
    ),
    whole(
        "anthropic", "anthropic", b"v1/messages",
        {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
         "content": [{"type": "text", "text": "Hi"}], "stop_reason": "tool_use",
         "usage": {"input_tokens": 11, "cache_creation_input_tokens": 200, "output_tokens": 90,
                   "cache_read_input_tokens": 3000, "service_tier": "standard",
                   "cache_creation": {"ephemeral_1h_input_tokens": 150},
                   "output_tokens_details": {"thinking_tokens": 33},
                   "server_tool_use": {"web_search_requests": 2}}},
        CLAUDE_COUNTS, **CLAUDE, finish_reason="tool_use", details=CLAUDE_DETAILS,
    ),
    whole(
        "anthropic-by-openai", "anthropic", b"v1/chat/completions",
        {"id": "msg_1", "object": "chat.completion", "model": "claude",
         "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 40, "completion_tokens": 4, "total_tokens": 44,
                   "cached_tokens": 30}},
        (10, 30, None, 4, None), finish_reason="stop",
    ),
    whole(
        "cached-beside-input", "openai", CHAT,
        {"id": "1", "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 114,
                              "prompt_tokens_details": {"cached_tokens": 100}}},
        (10, 100, None, 4, None),
    ),
    whole("gemini-interaction", "google-ai-studio", b"v1beta/interactions", INTERACTION,
          INTERACTION_COUNTS, **INTERACTED),
    whole("gemini", "google-ai-studio", b"v1beta/models/g:generateContent",
          GEMINI_CHUNKS[-1], GEMINI_COUNTS, **GEMINI),
    whole(
        "gemini-thoughts-only", "google-ai-studio", b"v1beta/models/g:generateContent",
        {"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}], "usageMetadata": {
            "promptTokenCount": 9, "totalTokenCount": 29, "thoughtsTokenCount": 20,
            "serviceTier": "flex"}},
        (9, None, None, 0, 20), finish_reason="MAX_TOKENS", tier="flex",
    ),
    whole(
        "gemini-blocked", "google-ai-studio", b"v1beta/models/g:generateContent",
        {"promptFeedback": {"blockReason": "SAFETY"},
         "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}},
        (9, None, None, 0, None), finish_reason="SAFETY",
    ),
    whole(
        "converse", "aws-bedrock", b"model/amazon.nova-2/converse",
        {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
         "stopReason": "max_tokens", **METADATA},
        (20, 900, 100, 8, None), finish_reason="max_tokens", details={"cache_write_1h": 70},
    ),
    whole(
        "invoke-titan", "aws-bedrock", b"model/amazon.titan-text/invoke",
        {"inputTextTokenCount": 6,
         "results": [{"tokenCount": 17, "outputText": "Hi", "completionReason": "FINISH"}]},
        (6, None, None, 17, None), finish_reason="FINISH",
    ),
    whole(
        "invoke-titan-embedding", "aws-bedrock", b"model/amazon.titan-embed/invoke",
        {"embedding": [0.1], "inputTextTokenCount": 6}, (6, None, None, 0, None),
    ),
    whole(
        "invoke-llama", "aws-bedrock", b"model/meta.llama3/invoke",
        {"generation": "Hi", "prompt_token_count": 12, "generation_token_count": 10,
         "stop_reason": "stop"},
        (12, None, None, 10, None), finish_reason="stop",
    ),
    whole(
        "invoke-nova", "aws-bedrock", b"model/amazon.nova-2/invoke",
        {"output": {"message": {"content": [{"text": "Hi"}]}}, "stopReason": "end_turn",
         "usage": {"inputTokens": 20, "outputTokens": 8, "totalTokens": 28,
                   "cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 0}},
        (20, 5, 0, 8, None), finish_reason="end_turn",
    ),
    whole(
        "cohere", "cohere", b"v2/chat",
        {"id": "co-1", "finish_reason": "TOOL_CALL", "message": {"role": "assistant"},
         "usage": {"billed_units": {"input_tokens": 41, "output_tokens": 25},
                   "tokens": {"input_tokens": 1441, "output_tokens": 54}, "cached_tokens": 144}},
        (41, 144, None, 25, None), finish_reason="TOOL_CALL", response_id="co-1",
    ),
    whole(
        "cohere-embed", "cohere", b"v2/embed",
        {"id": "co-2", "embeddings": {"float": [[0.1]]}, "texts": ["a"], "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"image_tokens": 3, "input_tokens": 4}}},
        (7, None, None, 0, None), response_id="co-2", details={"input_image": 3},
    ),
    whole(
        "cohere-rerank", "cohere", b"v2/rerank",
        {"id": "co-3", "results": [{"index": 0, "relevance_score": 0.9}],
         "meta": {"billed_units": {"search_units": 1}}},
        (None, None, None, None, None), response_id="co-3", details={"search_units": 1},
    ),
    whole(
        "mistral-voice", "mistral", CHAT,
        {"id": "v-1", "model": "voxtral", "object": "chat.completion",
         "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 40, "completion_tokens": 6, "total_tokens": 46,
                   "prompt_audio_seconds": 12}},
        (40, None, None, 6, None), model="voxtral", details={"input_audio_ms": 12000},
    ),
    whole(
        "xai-reasoning-beside", "grok", CHAT,
        {"id": "x-1", "model": "grok-4", "choices": [],
         "usage": {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
                   "completion_tokens_details": {"reasoning_tokens": 94},
                   "num_sources_used": 0, "prompt_tokens_details": {"cached_tokens": 2}}},
        (30, 2, None, 9, 94), model="grok-4",
    ),
    whole(
        "perplexity", "perplexity-ai", b"chat/completions",
        {"id": "p-1", "model": "sonar", "usage": {
            "prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11,
            "search_context_size": "low", "num_search_queries": 3}},
        (5, None, None, 6, None), model="sonar", details={"web_searches": 3},
    ),
    whole(
        "voyage", "openai", b"v1/embeddings",
        {"object": "list", "data": [EMBEDDING], "model": "voyage-3", "usage": {"total_tokens": 10}},
        (10, None, None, 0, None), model="voyage-3",
    ),
    whole(
        "ollama", "ollama", b"api/generate",
        {**OLLAMA, "response": "Hi", "done": True, "done_reason": "length", "eval_count": 290,
         "prompt_eval_count": 26},
        (26, None, None, 290, None), model="llama3.2", finish_reason="length",
    ),
    whole(
        "ollama-embed", "ollama", b"api/embed",
        {"model": "all-minilm", "embeddings": [[0.01]], "prompt_eval_count": 8},
        (8, None, None, 0, None), model="all-minilm",
    ),
]  # fmt: skip
