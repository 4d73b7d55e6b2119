"""Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from plugins.mock.formats import OVERLOADED, Format, sse
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
    string,
)

_KINDS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error(status: int, message: str) -> Document:
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _read(document: Document) -> Ask:
    if number(document, "max_tokens") is None:
        raise Refusal(400, "max_tokens: Field required")
    return _counted(document)


def _counted(document: Document) -> Ask:
    messages = documents(document.get("messages"))
    if not messages:
        raise Refusal(400, "messages: at least one message is required")
    last = documents(messages[-1].get("content"))
    return Ask(
        model=string(document, "model"),
        message=asked(messages),
        prompt_tokens=count(document.get("system"), *(m.get("content") for m in messages)),
        streaming=document.get("stream") is True,
        tool=chosen(
            _tools(document),
            _choice(document.get("tool_choice")),
            answered=any(part.get("type") == "tool_result" for part in last),
        ),
        tokens_max=number(document, "max_tokens"),
        document=document,
    )


def _tools(document: Document) -> list[Tool]:
    offered = documents(document.get("tools"))
    return [
        Tool(tool["name"], tool["input_schema"])
        for tool in offered
        if isinstance(tool.get("name"), str) and "input_schema" in tool
    ]


def _choice(choice: object) -> str | None:
    if not isinstance(choice, dict):
        return None
    found = choice.get("name", choice.get("type"))
    return found if isinstance(found, str) else None


def _message(ask: Ask, script: Script, content: list[Document], stop: str | None) -> Document:
    return {
        "id": f"msg_mock{script.number}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": script.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 1 if stop is None else script.tokens,
            "service_tier": "standard",
        },
    }


def _block(script: Script, *, is_whole: bool) -> Document:
    if script.tool is None:
        return {"type": "text", "text": script.text if is_whole else ""}
    given = orjson.loads(script.text) if is_whole else {}
    return {
        "type": "tool_use",
        "id": f"toolu_mock{script.number}",
        "name": script.tool.name,
        "input": given,
    }


def _stop(script: Script) -> str:
    if script.tool is not None:
        return "tool_use"
    return "max_tokens" if script.is_cut_short else "end_turn"


def _whole(ask: Ask, script: Script) -> Document:
    return _message(ask, script, [_block(script, is_whole=True)], _stop(script))


def _event(kind: str, **members: object) -> bytes:
    return sse(orjson.dumps({"type": kind, **members}), kind)


def _frames(ask: Ask, script: Script) -> Iterator[bytes]:
    yield _event("message_start", message=_message(ask, script, [], None))
    block = _block(script, is_whole=False)
    yield _event("content_block_start", index=0, content_block=block) + _event("ping")
    for piece in script.pieces:
        if script.tool is None:
            delta = {"type": "text_delta", "text": piece}
        else:
            delta = {"type": "input_json_delta", "partial_json": piece}
        yield _event("content_block_delta", index=0, delta=delta)
    yield _event("content_block_stop", index=0)
    stop = {"stop_reason": _stop(script), "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage={"output_tokens": script.tokens})
    yield _event("message_stop")


MESSAGES: Final = Format(
    _read, _whole, _frames, sse(orjson.dumps(error(529, OVERLOADED)), "error"), error
)


def count_tokens(document: Document) -> Document:
    return {"input_tokens": _counted(document).prompt_tokens}


def model(name: str) -> Document:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2025-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def models(names: tuple[str, ...]) -> Document:
    data = [model(name) for name in names]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}
