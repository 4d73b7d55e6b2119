"""OpenAI's chat completions, completions, embeddings and models."""

from __future__ import annotations

import base64
import math
import random
import struct
from collections.abc import Iterator
from typing import Any, Final

import orjson

from plugins.mock.formats import CREATED, OVERLOADED, Format, sse
from plugins.mock.script import (
    Ask,
    Document,
    Refusal,
    Script,
    Tool,
    asked,
    chosen,
    count,
    documents,
    number,
    plain,
    string,
)

DONE: Final = b"data: [DONE]\n\n"
# The size of the most used model's vectors; `dimensions` asks for another one.
DIMENSIONS: Final = 1536
DIMENSIONS_MAX: Final = 8192


def error(status: int, message: str) -> Document:
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = "server_error" if status >= 500 else kinds.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


FAILURE: Final = sse(orjson.dumps(error(503, OVERLOADED)))


# -- chat completions ---------------------------------------------------------------------------


def _read_chat(document: Document) -> Ask:
    messages = documents(document.get("messages"))
    if not messages:
        raise Refusal(400, "messages: at least one message is required")
    return Ask(
        model=string(document, "model"),
        message=asked(messages),
        prompt_tokens=count(*(message.get("content") for message in messages)),
        streaming=document.get("stream") is True,
        tool=chosen(
            [Tool(f["name"], f.get("parameters")) for f in _functions(document)],
            _choice(document.get("tool_choice")),
            answered=messages[-1].get("role") == "tool",
        ),
        tokens_max=number(document, "max_completion_tokens", "max_tokens"),
        document=document,
    )


def _functions(document: Document) -> list[Document]:
    offered = (tool.get("function") for tool in documents(document.get("tools")))
    return [f for f in offered if isinstance(f, dict) and isinstance(f.get("name"), str)]


def _choice(choice: object) -> str | None:
    if isinstance(choice, dict):
        function = choice.get("function")
        return function.get("name") if isinstance(function, dict) else None
    return choice if isinstance(choice, str) else None


def _finish(script: Script) -> str:
    if script.tool is not None:
        return "tool_calls"
    return "length" if script.is_cut_short else "stop"


def _usage(script: Script) -> Document:
    return {
        "prompt_tokens": script.prompt_tokens,
        "completion_tokens": script.tokens,
        "total_tokens": script.total_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _head(ask: Ask, script: Script, kind: str) -> Document:
    return {
        "id": f"chatcmpl-mock{script.number}",
        "object": kind,
        "created": CREATED,
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }


def _call(script: Script, tool: Tool, arguments: str) -> Document:
    function = {"name": tool.name, "arguments": arguments}
    return {"id": f"call_mock{script.number}", "type": "function", "function": function}


def _whole_chat(ask: Ask, script: Script) -> Document:
    message: Document = {"role": "assistant", "content": script.text, "refusal": None}
    message["annotations"] = []
    if script.tool is not None:
        message["content"] = None
        message["tool_calls"] = [_call(script, script.tool, script.text)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(script)}
    head = _head(ask, script, "chat.completion")
    return {**head, "choices": [choice], "usage": _usage(script)}


def _chat_frames(ask: Ask, script: Script) -> Iterator[bytes]:
    head = _head(ask, script, "chat.completion.chunk")
    with_usage = _includes_usage(ask)
    for delta, finish in _chat_deltas(script):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**head, "choices": [choice]}
        yield sse(orjson.dumps({**chunk, "usage": None} if with_usage else chunk))
    if with_usage:
        yield sse(orjson.dumps({**head, "choices": [], "usage": _usage(script)}))
    yield DONE


def _includes_usage(ask: Ask) -> bool:
    options = ask.document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _chat_deltas(script: Script) -> Iterator[tuple[Document, str | None]]:
    if script.tool is None:
        yield {"role": "assistant", "content": "", "refusal": None}, None
        for piece in script.pieces:
            yield {"content": piece}, None
    else:
        call = {"index": 0, **_call(script, script.tool, "")}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}, None
        for piece in script.pieces:
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, None
    yield {}, _finish(script)


CHAT: Final = Format(_read_chat, _whole_chat, _chat_frames, FAILURE, error)


# -- completions --------------------------------------------------------------------------------


def _read_completion(document: Document) -> Ask:
    prompt = plain(document.get("prompt"))
    return Ask(
        model=string(document, "model"),
        message=prompt,
        prompt_tokens=count(prompt),
        streaming=document.get("stream") is True,
        tokens_max=number(document, "max_tokens"),
        document=document,
    )


def _completion(ask: Ask, script: Script, text: str, finish: str | None) -> Document:
    head = {**_head(ask, script, "text_completion"), "id": f"cmpl-mock{script.number}"}
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return {**head, "choices": [choice]}


def _whole_completion(ask: Ask, script: Script) -> Document:
    whole = _completion(ask, script, script.text, _finish(script))
    return {**whole, "usage": _usage(script)}


def _completion_frames(ask: Ask, script: Script) -> Iterator[bytes]:
    for piece in script.pieces:
        yield sse(orjson.dumps(_completion(ask, script, piece, None)))
    yield sse(orjson.dumps(_completion(ask, script, "", _finish(script))))
    if _includes_usage(ask):
        last = {**_completion(ask, script, "", None), "choices": [], "usage": _usage(script)}
        yield sse(orjson.dumps(last))
    yield DONE


COMPLETIONS: Final = Format(_read_completion, _whole_completion, _completion_frames, FAILURE, error)


# -- embeddings ---------------------------------------------------------------------------------


def _read_embeddings(document: Document) -> Ask:
    inputs = _inputs(document)
    tokens = sum(len(text) if isinstance(text, list) else count(text) for text in inputs)
    return Ask(model=string(document, "model"), message="", prompt_tokens=tokens, document=document)


def _inputs(document: Document) -> list[Any]:
    """Take what is to be embedded: a text, texts, tokens, or lists of tokens."""
    inputs = document.get("input")
    if not inputs or not isinstance(inputs, str | list):
        raise Refusal(400, "input: a text, or a list of texts or tokens, is required")
    is_one = isinstance(inputs, str) or isinstance(inputs[0], int)
    return [inputs] if is_one else list(inputs)


def _whole_embeddings(ask: Ask, script: Script) -> Document:
    size = min(number(ask.document, "dimensions") or DIMENSIONS, DIMENSIONS_MAX)
    as_base64 = ask.document.get("encoding_format") == "base64"
    vectors = [_vector(repr(text), size) for text in _inputs(ask.document)]
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _base64(vector) if as_base64 else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    tokens = {"prompt_tokens": script.prompt_tokens, "total_tokens": script.prompt_tokens}
    return {"object": "list", "data": data, "model": ask.model, "usage": tokens}


def _vector(text: str, size: int) -> list[float]:
    """Make a vector of length one that is the same for the same text."""
    source = random.Random(text)
    values = [source.gauss(0, 1) for _ in range(size)]
    length = math.hypot(*values) or 1.0
    return [value / length for value in values]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _no_frames(ask: Ask, script: Script) -> Iterator[bytes]:  # noqa: ARG001
    yield from ()


EMBEDDINGS: Final = Format(_read_embeddings, _whole_embeddings, _no_frames, FAILURE, error)


# -- models -------------------------------------------------------------------------------------


def model(name: str) -> Document:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "weir"}


def models(names: tuple[str, ...]) -> Document:
    return {"object": "list", "data": [model(name) for name in names]}
