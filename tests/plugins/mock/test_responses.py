from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway import Splitter
from plugins.mock.responses import RESPONSES
from plugins.mock.script import Refusal, write

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]
RESULT = {"type": "function_call_output", "call_id": "c", "output": "sunny"}


def whole(given: object = "hi there", **document: Any) -> Response:
    ask = RESPONSES.read({"model": "m", "input": given, **document})
    return Response.model_validate(RESPONSES.whole(ask, write(ask, "one two three", 1)))


def stream(given: object = "hi there", **document: Any) -> list[dict[str, Any]]:
    ask = RESPONSES.read({"model": "m", "input": given, "stream": True, **document})
    assert ask.streaming
    events = Splitter().feed(b"".join(RESPONSES.frames(ask, write(ask, "one two three", 1))))
    found = [orjson.loads(event.data) for event in events]
    assert [event.name.decode() for event in events] == [event["type"] for event in found]
    for event in found:
        EVENT.validate_python(event)
    return found


def test_it_answers_whole() -> None:
    answer = whole()
    assert (answer.output_text, answer.status) == ("one two three", "completed")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 3)


def test_it_streams_in_the_order_of_the_real_one() -> None:
    events = stream()

    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    assert events[-1]["response"] == whole().model_dump(exclude_unset=True)
    assert (events[0]["response"]["status"], events[0]["response"]["usage"]) == (
        "in_progress",
        None,
    )


def test_a_limit_of_tokens_makes_it_incomplete() -> None:
    answer = whole(max_output_tokens=2)
    assert (answer.output_text, answer.status) == ("one two", "incomplete")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert stream(max_output_tokens=2)[-1]["type"] == "response.incomplete"


def test_a_tool_is_called_whole_and_in_pieces() -> None:
    call = whole(tools=TOOLS).output[0]
    assert call.type == "function_call"
    assert (call.name, orjson.loads(call.arguments)) == ("weather", {"city": "hi there"})

    events = stream(tools=TOOLS)
    kind = "response.function_call_arguments"
    assert "".join(e["delta"] for e in events if e["type"] == f"{kind}.delta") == call.arguments
    assert next(e["arguments"] for e in events if e["type"] == f"{kind}.done") == call.arguments


@pytest.mark.parametrize(
    ("choice", "more", "kind"),
    [
        ("auto", [], "function_call"),
        ({"type": "function", "name": "weather"}, [], "function_call"),
        ("none", [], "message"),
        ("auto", [RESULT], "message"),
    ],
)
def test_a_tool_is_called_until_its_result_is_there(
    choice: object, more: list[Any], kind: str
) -> None:
    turns = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}, *more]
    assert whole(turns, tools=TOOLS, tool_choice=choice).output[0].type == kind


@pytest.mark.parametrize("given", [None, [], 5])
def test_what_is_missing_is_refused(given: object) -> None:
    with pytest.raises(Refusal, match="input"):
        RESPONSES.read({"model": "m", "input": given})


def test_its_failure_is_an_error_event() -> None:
    (event,) = Splitter().feed(RESPONSES.failure)
    assert EVENT.validate_python(orjson.loads(event.data)).type == "error"
