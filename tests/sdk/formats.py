"""What a provider says in each format that the SDKs read: an answer, a stream, an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import orjson

from tests.sdk.called import (
    chat_call,
    cohere_call,
    generate_call,
    messages_call,
    mistral_call,
    responses_call,
    sse,
)

# The answer, in the pieces of which its stream is made. One character has three bytes in UTF-8.
PIECES: Final = ("Water", " ↓ flows", " downhill.")
TEXT: Final = "".join(PIECES)
# What an error says, to be found again in the exception.
REASON: Final = "The provider said no."


class Format(NamedTuple):
    """One format. whole: the answer in one piece. events: the same as a stream, its end marker
    last. shown: of those, how many have to come for the first two pieces of text. unended: the
    same stream without its end marker. call: a stream that calls a tool. frame: the event of an
    error in mid-stream. error: the body of an error by its status.
    """

    whole: bytes
    events: tuple[bytes, ...]
    shown: int
    unended: tuple[bytes, ...]
    call: tuple[bytes, ...]
    frame: bytes
    error: Callable[[int], bytes]


# -- OpenAI's chat completions ---------------------------------------------------------------------

_CHAT: Final = {"id": "chatcmpl-1", "created": 1, "model": "gpt-5"}
_CHUNK: Final = _CHAT | {"object": "chat.completion.chunk"}


def _openai_error(status: int) -> bytes:
    kinds = {
        401: ("invalid_request_error", "invalid_api_key"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("insufficient_quota", "insufficient_quota"),
    }
    kind, code = kinds.get(status, ("server_error", None))
    error = {"message": REASON, "type": kind, "param": None, "code": code}
    return orjson.dumps({"error": error})


def _chat_whole() -> bytes:
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    return orjson.dumps(_CHAT | {"object": "chat.completion", "choices": [choice], "usage": usage})


def _chat_events() -> Iterator[bytes]:
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in PIECES]
    for delta in deltas:
        yield sse(_CHUNK | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield sse(_CHUNK | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield b"data: [DONE]\n\n"


_CHAT_EVENTS: Final = tuple(_chat_events())
CHAT: Final = Format(
    _chat_whole(),
    _CHAT_EVENTS,
    3,
    _CHAT_EVENTS[:-1],
    tuple(chat_call(_CHUNK)),
    b"data: " + _openai_error(500) + b"\n\n",
    _openai_error,
)

# -- who took them over ----------------------------------------------------------------------------


def _mistral_error(status: int) -> bytes:
    if status == 401:
        return orjson.dumps({"detail": REASON})
    code = {404: "1500", 429: "1300"}.get(status, "3000")
    error = {"object": "error", "message": REASON, "type": "error", "param": None, "code": code}
    return orjson.dumps(error | {"raw_status_code": status})


MISTRAL: Final = CHAT._replace(call=tuple(mistral_call(_CHUNK)), error=_mistral_error)
# Groq's stream has a name for its error's event.
GROQ: Final = CHAT._replace(frame=b"event: error\n" + CHAT.frame)

# -- OpenAI's responses ----------------------------------------------------------------------------


def _response(status: str, text: str | None) -> dict[str, Any]:
    output = [] if text is None else [_item("completed", text)]
    usage = {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 6,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "gpt-5",
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None if text is None else usage,
    }


def _item(status: str, text: str | None) -> dict[str, Any]:
    content = [] if text is None else [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _responses_events() -> Iterator[bytes]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    told: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": _response("in_progress", None)}),
        ("response.output_item.added", {"output_index": 0, "item": _item("in_progress", None)}),
        ("response.content_part.added", place | {"part": part}),
    ]
    told += [
        ("response.output_text.delta", place | {"delta": piece, "logprobs": []}) for piece in PIECES
    ]
    told += [
        ("response.output_text.done", place | {"text": TEXT, "logprobs": []}),
        ("response.content_part.done", place | {"part": part | {"text": TEXT}}),
        ("response.output_item.done", {"output_index": 0, "item": _item("completed", TEXT)}),
        ("response.completed", {"response": _response("completed", TEXT)}),
    ]
    for number, (kind, rest) in enumerate(told):
        yield sse({"type": kind, "sequence_number": number} | rest, kind)


_RESPONSES_EVENTS: Final = tuple(_responses_events())
RESPONSES: Final = Format(
    orjson.dumps(_response("completed", TEXT)),
    _RESPONSES_EVENTS,
    5,
    _RESPONSES_EVENTS[:-1],
    tuple(responses_call(_response("in_progress", None), _response("completed", TEXT))),
    sse(
        {
            "type": "error",
            "code": "server_error",
            "message": REASON,
            "param": None,
            "sequence_number": 5,
        },
        "error",
    ),
    _openai_error,
)

# -- Anthropic's messages --------------------------------------------------------------------------


def _anthropic_error(status: int) -> bytes:
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    error = {"type": kinds.get(status, "api_error"), "message": REASON}
    return orjson.dumps({"type": "error", "error": error, "request_id": "req_1"})


def _message(text: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [] if text is None else [{"type": "text", "text": text}],
        "stop_reason": None if text is None else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 3},
    }


def _messages_events() -> Iterator[bytes]:
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message(None)},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
    ]
    for piece in PIECES:
        delta = {"type": "text_delta", "text": piece}
        told.append({"type": "content_block_delta", "index": 0, "delta": delta})
    told += [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    for document in told:
        yield sse(document, document["type"])


_MESSAGES_EVENTS: Final = tuple(_messages_events())
MESSAGES: Final = Format(
    orjson.dumps(_message(TEXT)),
    _MESSAGES_EVENTS,
    4,
    _MESSAGES_EVENTS[:-1],
    tuple(messages_call(_message(None))),
    b"event: error\ndata: " + _anthropic_error(500) + b"\n\n",
    _anthropic_error,
)

# -- Google's generateContent ----------------------------------------------------------------------


def _google_error(status: int) -> bytes:
    names = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
    return orjson.dumps({"error": {"code": status, "message": REASON, "status": names[status]}})


def _generated(text: str, *, ends: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    candidate["index"] = 0
    if ends:
        candidate["finishReason"] = "STOP"
    return {"candidates": [candidate], "modelVersion": "gemini", "responseId": "1"}


GENERATE: Final = Format(
    orjson.dumps(_generated(TEXT, ends=True)),
    tuple(sse(_generated(piece, ends=piece == PIECES[-1])) for piece in PIECES),
    2,
    tuple(sse(_generated(piece, ends=False)) for piece in PIECES),
    tuple(generate_call()),
    b"data: " + _google_error(500) + b"\n\n",
    _google_error,
)

# -- Cohere's v2 chat ------------------------------------------------------------------------------

_COHERE_TOKENS: Final = {"input_tokens": 3, "output_tokens": 3}
_COHERE_USAGE: Final = {"billed_units": _COHERE_TOKENS, "tokens": _COHERE_TOKENS}


def _cohere_error(status: int) -> bytes:
    return orjson.dumps({"id": str(status), "message": REASON})


def _cohere_whole() -> bytes:
    message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
    answer = {"id": "1", "finish_reason": "COMPLETE", "message": message, "usage": _COHERE_USAGE}
    return orjson.dumps(answer)


def _cohere_events() -> Iterator[bytes]:
    message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    said: list[dict[str, Any]] = [
        {"id": "1", "type": "message-start", "delta": {"message": message | {"citations": []}}},
        {
            "type": "content-start",
            "index": 0,
            "delta": {"message": {"content": {"type": "text", "text": ""}}},
        },
    ]
    for piece in PIECES:
        delta = {"message": {"content": {"text": piece}}}
        said.append({"type": "content-delta", "index": 0, "delta": delta})
    said += [
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": _COHERE_USAGE}},
    ]
    for document in said:
        yield sse(document, document["type"])
    yield b"data: [DONE]\n\n"


_COHERE_EVENTS: Final = tuple(_cohere_events())
COHERE: Final = Format(
    _cohere_whole(),
    _COHERE_EVENTS,
    4,
    _COHERE_EVENTS[:-1],
    tuple(cohere_call()),
    # An error ends the message: the reason stands where a good end has none.
    sse(
        {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": REASON}},
        "message-end",
    ),
    _cohere_error,
)

# What the paths of these begin with at the scripted provider: Groq's as they do at the real one,
# the others' with their names, because the rest does not tell.
_NAMED: Final = {b"/openai/v1/": GROQ, b"/mistral/": MISTRAL, b"/cohere/": COHERE}


def format_of(path: bytes) -> Format:
    """Choose by the path that an SDK asks for."""
    for start, form in _NAMED.items():
        if path.startswith(start):
            return form
    if path.endswith(b"/messages"):
        return MESSAGES
    if b"enerateContent" in path:
        return GENERATE
    return RESPONSES if path.endswith(b"/responses") else CHAT
