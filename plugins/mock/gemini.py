"""Google's generateContent, as events and as one JSON array."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import orjson

from plugins.mock.formats import OVERLOADED, Format
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
)

_STATUSES: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}


def error(status: int, message: str) -> Document:
    known = _STATUSES.get(status, "UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": message, "status": known}}


def generate(model: str, *, streaming: bool, as_events: bool) -> Format:
    """Give the format for one request: its path names the model and says how it streams."""
    failure = orjson.dumps(error(503, OVERLOADED))
    if as_events:
        return Format(
            partial(_read, model, streaming),
            _whole,
            _event_frames,
            b"data: %b\r\n\r\n" % failure,
            error,
            "text/event-stream",
        )
    read = partial(_read, model, streaming)
    return Format(read, _whole, _array_frames, b",\r\n%b\r\n]" % failure, error, "application/json")


def _read(model: str, streaming: bool, document: Document) -> Ask:
    contents = documents(document.get("contents"))
    if not contents:
        raise Refusal(400, "* GenerateContentRequest.contents: contents is not specified")
    for turn in contents:
        turn.setdefault("role", "user")  # a single turn may leave it out
    config = document.get("generationConfig")
    last = documents(contents[-1].get("parts"))
    return Ask(
        model=model,
        message=asked(contents, "parts"),
        prompt_tokens=_tokens(document),
        streaming=streaming,
        tool=chosen(
            _tools(document),
            _choice(document),
            answered=any("functionResponse" in part for part in last),
        ),
        tokens_max=number(config, "maxOutputTokens") if isinstance(config, dict) else None,
        document=document,
    )


def _tokens(document: Document) -> int:
    system = document.get("systemInstruction")
    parts = [turn.get("parts") for turn in documents(document.get("contents"))]
    return count(system.get("parts") if isinstance(system, dict) else None, *parts)


def _tools(document: Document) -> list[Tool]:
    return [
        Tool(function["name"], _schema(function))
        for tool in documents(document.get("tools"))
        for function in documents(tool.get("functionDeclarations"))
        if isinstance(function.get("name"), str)
    ]


def _schema(function: Document) -> object:
    """Read a tool's schema under any of its names; protobuf's JSON takes both spellings."""
    names = ("parameters", "parametersJsonSchema", "parameters_json_schema")
    return next((function[name] for name in names if function.get(name)), None)


def _choice(document: Document) -> str | None:
    config = document.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    if not isinstance(calling, dict):
        return None
    if calling.get("mode") == "NONE":
        return "none"
    allowed = calling.get("allowedFunctionNames")
    return allowed[0] if isinstance(allowed, list) and allowed else None


def _chunk(ask: Ask, script: Script, part: Document, said: int, finish: str | None) -> Document:
    candidate: Document = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": script.prompt_tokens,
            "candidatesTokenCount": said,
            "totalTokenCount": script.prompt_tokens + said,
            "promptTokensDetails": _details(script.prompt_tokens),
        },
        "modelVersion": ask.model,
        "responseId": f"mock{script.number}",
    }


def _details(tokens: int) -> list[Document]:
    return [{"modality": "TEXT", "tokenCount": tokens}]


def _chunks(ask: Ask, script: Script) -> Iterator[Document]:
    if script.tool is not None:  # a call is never cut into pieces here
        call = {"name": script.tool.name, "args": orjson.loads(script.text)}
        yield _chunk(ask, script, {"functionCall": call}, script.tokens, "STOP")
        return
    for said, piece in enumerate(script.pieces, 1):
        yield _chunk(ask, script, {"text": piece}, said, None)
    finish = "MAX_TOKENS" if script.is_cut_short else "STOP"
    yield _chunk(ask, script, {"text": ""}, script.tokens, finish)


def _whole(ask: Ask, script: Script) -> Document:
    *_, last = _chunks(ask, script)
    if script.tool is None:
        last["candidates"][0]["content"]["parts"] = [{"text": script.text}]
    return last


def _event_frames(ask: Ask, script: Script) -> Iterator[bytes]:
    for chunk in _chunks(ask, script):
        yield b"data: %b\r\n\r\n" % orjson.dumps(chunk)


def _array_frames(ask: Ask, script: Script) -> Iterator[bytes]:
    before = b"["
    for chunk in _chunks(ask, script):
        yield before + orjson.dumps(chunk)
        before = b",\r\n"
    yield b"\r\n]"


def count_tokens(document: Document) -> Document:
    inner = document.get("generateContentRequest")
    tokens = _tokens(inner if isinstance(inner, dict) else document)
    return {"totalTokens": tokens, "promptTokensDetails": _details(tokens)}


def model(name: str) -> Document:
    return {
        "name": f"models/{name}",
        "version": "1",
        "displayName": name,
        "inputTokenLimit": 1_000_000,
        "outputTokenLimit": 10_000,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def models(names: tuple[str, ...]) -> Document:
    return {"models": [model(name) for name in names]}
