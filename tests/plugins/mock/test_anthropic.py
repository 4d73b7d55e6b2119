from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.types import Message, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter

from gateway import Splitter
from plugins.mock.anthropic import MESSAGES, count_tokens, error, model, models
from plugins.mock.script import Refusal, write

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
TURNS: list[Any] = [{"role": "user", "content": "hi there"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"name": "weather", "input_schema": SCHEMA}]
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "sunny"}


def whole(**document: Any) -> Message:
    ask = MESSAGES.read({"model": "m", "max_tokens": 9, "messages": TURNS, **document})
    return Message.model_validate(MESSAGES.whole(ask, write(ask, "one two three", 1)))


def stream(**document: Any) -> list[dict[str, Any]]:
    given = {"model": "m", "max_tokens": 9, "messages": TURNS, "stream": True, **document}
    ask = MESSAGES.read(given)
    assert ask.streaming
    events = Splitter().feed(b"".join(MESSAGES.frames(ask, write(ask, "one two three", 1))))
    found = [orjson.loads(event.data) for event in events]
    assert [event.name.decode() for event in events] == [event["type"] for event in found]
    for event in found:
        if event["type"] != "ping":
            EVENT.validate_python(event)
    return found


def test_it_answers_whole() -> None:
    answer = whole(system="Be kind.")
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "one two three"
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 3)


def test_it_streams_in_the_order_of_the_real_one() -> None:
    events = stream()

    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(e["delta"]["text"] for e in events[3:6]) == "one two three"
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    assert events[-2]["usage"] == {"output_tokens": 3}


def test_a_limit_of_tokens_is_kept_and_named() -> None:
    assert whole(max_tokens=2).stop_reason == "max_tokens"
    assert stream(max_tokens=2)[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_tool_is_called_whole_and_in_pieces() -> None:
    answer = whole(tools=TOOLS)
    assert answer.content[0].type == "tool_use"
    assert answer.content[0].input == {"city": "hi there"}
    assert answer.stop_reason == "tool_use"

    events = stream(tools=TOOLS)
    assert events[1]["content_block"]["input"] == {}
    pieces = [e["delta"]["partial_json"] for e in events if e["type"] == "content_block_delta"]
    assert orjson.loads("".join(pieces)) == {"city": "hi there"}


@pytest.mark.parametrize(
    ("choice", "more", "kind"),
    [
        ({"type": "auto"}, [], "tool_use"),
        ({"type": "tool", "name": "weather"}, [], "tool_use"),
        ({"type": "none"}, [], "text"),
        (None, [{"role": "user", "content": [RESULT]}], "text"),
    ],
)
def test_a_tool_is_called_until_its_result_is_there(
    choice: object, more: list[Any], kind: str
) -> None:
    answer = whole(messages=TURNS + more, tools=TOOLS, tool_choice=choice)
    assert answer.content[0].type == kind


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
def test_what_is_missing_is_refused(missing: str) -> None:
    document: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": TURNS}
    del document[missing]
    with pytest.raises(Refusal, match=missing):
        MESSAGES.read(document)


def test_tokens_are_counted_without_a_limit() -> None:
    assert count_tokens({"model": "m", "messages": TURNS}) == {"input_tokens": 2}


def test_models_and_errors_look_like_anthropics() -> None:
    assert ModelInfo.model_validate(model("m")).id == "m"
    assert (models(("a", "b"))["first_id"], models(("a", "b"))["last_id"]) == ("a", "b")
    assert error(529, "x") == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "x"},
    }
    assert error(500, "x")["error"]["type"] == "api_error"
    assert error(400, "x")["error"]["type"] == "invalid_request_error"
