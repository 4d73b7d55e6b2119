"""A tool called in a stream, as each format has it: the name first, the arguments in pieces.

Google's and Mistral's formats are the exception: there a call comes whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from tests.sdk.asked import TOOL, Call

CALLED: Final = Call(TOOL, {"city": "Zürich"})
# The arguments, as the pieces of which they are put together.
_PARTS: Final = ('{"ci', 'ty": "Zür', 'ich"}')
_WHOLE: Final = "".join(_PARTS)
_NO_TOKENS: Final = {"input_tokens": 0, "output_tokens": 0}


def sse(document: dict[str, Any], name: str = "") -> bytes:
    """Make one event."""
    start = f"event: {name}\n".encode() if name else b""
    return start + b"data: " + orjson.dumps(document) + b"\n\n"


def chat_call(chunk: dict[str, Any]) -> Iterable[bytes]:
    """OpenAI's chat completions; `chunk` has what is the same in every chunk."""
    function = {"name": TOOL, "arguments": ""}
    first = {"index": 0, "id": "call_1", "type": "function", "function": function}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [first]}]
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in _PARTS]
    for delta in deltas:
        yield sse(chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield sse(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    yield b"data: [DONE]\n\n"


def mistral_call(chunk: dict[str, Any]) -> Iterable[bytes]:
    """Mistral's chat completions, where a call comes whole in one chunk."""
    call = {"index": 0, "id": "D681PevKs", "function": {"name": TOOL, "arguments": _WHOLE}}
    delta = {"content": "", "tool_calls": [call]}
    first = {"role": "assistant", "content": ""}
    yield sse(chunk | {"choices": [{"index": 0, "delta": first, "finish_reason": None}]})
    yield sse(chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]})
    yield b"data: [DONE]\n\n"


def responses_call(started: dict[str, Any], ended: dict[str, Any]) -> Iterable[bytes]:
    """OpenAI's responses; `started` and `ended` are the response before and after the call."""
    item = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": TOOL}
    opened = item | {"status": "in_progress", "arguments": ""}
    closed = item | {"status": "completed", "arguments": _WHOLE}
    place = {"item_id": "fc_1", "output_index": 0}
    kind = "response.function_call_arguments"
    said: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": started}),
        ("response.output_item.added", {"output_index": 0, "item": opened}),
        *((f"{kind}.delta", place | {"delta": part}) for part in _PARTS),
        (f"{kind}.done", place | {"name": TOOL, "arguments": _WHOLE}),
        ("response.output_item.done", {"output_index": 0, "item": closed}),
        ("response.completed", {"response": ended | {"output": [closed]}}),
    ]
    for number, (name, rest) in enumerate(said):
        yield sse({"type": name, "sequence_number": number} | rest, name)


def messages_call(message: dict[str, Any]) -> Iterable[bytes]:
    """Anthropic's messages; `message` is the empty one that a stream begins with."""
    block = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
    ]
    for part in _PARTS:
        delta = {"type": "input_json_delta", "partial_json": part}
        said.append({"type": "content_block_delta", "index": 0, "delta": delta})
    said += [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    for document in said:
        yield sse(document, document["type"])


def generate_call() -> Iterable[bytes]:
    """Google's generateContent."""
    part = {"functionCall": {"name": TOOL, "args": CALLED.arguments}}
    content = {"parts": [part], "role": "model"}
    candidate = {"content": content, "index": 0, "finishReason": "STOP"}
    yield sse({"candidates": [candidate], "modelVersion": "gemini", "responseId": "1"})


def cohere_call() -> Iterable[bytes]:
    """Cohere's v2 chat."""
    function = {"name": TOOL, "arguments": ""}
    first = {"id": "weather_1", "type": "function", "function": function}
    message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
    said: list[dict[str, Any]] = [
        {"id": "1", "type": "message-start", "delta": {"message": message | {"citations": []}}},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": first}}},
    ]
    for part in _PARTS:
        more = {"tool_calls": {"function": {"arguments": part}}}
        said.append({"type": "tool-call-delta", "index": 0, "delta": {"message": more}})
    usage = {"billed_units": _NO_TOKENS, "tokens": _NO_TOKENS}
    said += [
        {"type": "tool-call-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": usage}},
    ]
    for document in said:
        yield sse(document, document["type"])
    yield b"data: [DONE]\n\n"
