"""OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from plugins.mock.formats import CREATED, OVERLOADED, Format, sse
from plugins.mock.openai import error
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


def _read(document: Document) -> Ask:
    given = document.get("input")
    turns = [{"role": "user", "content": given}] if isinstance(given, str) else documents(given)
    if not turns:
        raise Refusal(400, "input: a text or a list of items is required")
    contents = (turn.get("content", turn.get("output")) for turn in turns)
    return Ask(
        model=string(document, "model"),
        message=asked(turns),
        prompt_tokens=count(document.get("instructions"), *contents),
        streaming=document.get("stream") is True,
        tool=chosen(
            _tools(document),
            _choice(document.get("tool_choice")),
            answered=turns[-1].get("type") == "function_call_output",
        ),
        tokens_max=number(document, "max_output_tokens"),
        document=document,
    )


def _tools(document: Document) -> list[Tool]:
    offered = documents(document.get("tools"))
    return [
        Tool(tool["name"], tool.get("parameters"))
        for tool in offered
        if tool.get("type") == "function" and isinstance(tool.get("name"), str)
    ]


def _choice(choice: object) -> str | None:
    found = choice.get("name") if isinstance(choice, dict) else choice
    return found if isinstance(found, str) else None


def _response(ask: Ask, script: Script, status: str, output: list[Document]) -> Document:
    """Write the response object as it stands at one moment; its usage is known at the end."""
    given = ask.document
    ended = status != "in_progress"
    cut_short = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": f"resp_mock{script.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": cut_short,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": given.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": given.get("temperature", 1.0),
        "text": given.get("text") or {"format": {"type": "text"}},
        "tool_choice": given.get("tool_choice", "auto"),
        "tools": given.get("tools") or [],
        "top_p": given.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": _usage(script) if ended else None,
        "user": None,
        "metadata": given.get("metadata") or {},
    }


def _usage(script: Script) -> Document:
    return {
        "input_tokens": script.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": script.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": script.total_tokens,
    }


def _part(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(script: Script, status: str, text: str) -> Document:
    """Write the one item of the output: a message, or a function call."""
    if script.tool is not None:
        return {
            "id": f"fc_mock{script.number}",
            "type": "function_call",
            "status": status,
            "call_id": f"call_mock{script.number}",
            "name": script.tool.name,
            "arguments": text,
        }
    return {
        "id": f"msg_mock{script.number}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if status == "in_progress" else [_part(text)],
    }


def _status(script: Script) -> str:
    return "incomplete" if script.is_cut_short else "completed"


def _whole(ask: Ask, script: Script) -> Document:
    status = _status(script)
    return _response(ask, script, status, [_item(script, status, script.text)])


def _frames(ask: Ask, script: Script) -> Iterator[bytes]:
    for sequence, (kind, members) in enumerate(_events(ask, script)):
        event = {"type": kind, "sequence_number": sequence, **members}
        yield sse(orjson.dumps(event), kind)


def _events(ask: Ask, script: Script) -> Iterator[tuple[str, dict[str, Any]]]:
    status = _status(script)
    begun = _response(ask, script, "in_progress", [])
    item = _item(script, "in_progress", "")
    done = _item(script, status, script.text)
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    yield "response.output_item.added", {"output_index": 0, "item": item}
    place = {"item_id": item["id"], "output_index": 0}
    yield from _text(script, place) if script.tool is None else _arguments(script, place)
    yield "response.output_item.done", {"output_index": 0, "item": done}
    yield f"response.{status}", {"response": _response(ask, script, status, [done])}


def _text(script: Script, place: Document) -> Iterator[tuple[str, Document]]:
    place = {**place, "content_index": 0}
    yield "response.content_part.added", {**place, "part": _part("")}
    for piece in script.pieces:
        yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**place, "text": script.text, "logprobs": []}
    yield "response.content_part.done", {**place, "part": _part(script.text)}


def _arguments(script: Script, place: Document) -> Iterator[tuple[str, Document]]:
    name = script.tool.name if script.tool is not None else ""
    for piece in script.pieces:
        yield "response.function_call_arguments.delta", {**place, "delta": piece}
    arguments = {**place, "name": name, "arguments": script.text}
    yield "response.function_call_arguments.done", arguments


_FAILURE: Final = sse(
    orjson.dumps(
        {
            "type": "error",
            "sequence_number": 0,
            "code": "server_error",
            "message": OVERLOADED,
            "param": None,
        }
    ),
    "error",
)

RESPONSES: Final = Format(_read, _whole, _frames, _FAILURE, error)
