from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.genai.types import GenerateContentResponse

from gateway import Splitter
from plugins.mock.gemini import count_tokens, error, generate, model, models
from plugins.mock.script import Refusal, write

TURNS: list[Any] = [{"parts": [{"text": "hi there"}]}]
PARAMETERS = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}
TOOLS = [{"functionDeclarations": [{"name": "weather", "parameters": PARAMETERS}]}]
RESULT = {"functionResponse": {"name": "weather", "response": {"sky": "sunny"}}}


def told(as_events: bool, **document: Any) -> bytes:
    form = generate("m", streaming=True, as_events=as_events)
    ask = form.read({"contents": TURNS, **document})
    assert ask.streaming
    return b"".join(form.frames(ask, write(ask, "one two three", 1)))


def whole(**document: Any) -> GenerateContentResponse:
    form = generate("m", streaming=False, as_events=False)
    ask = form.read({"contents": TURNS, **document})
    return GenerateContentResponse.model_validate(form.whole(ask, write(ask, "one two three", 1)))


def finish(answer: GenerateContentResponse) -> str | None:
    reason = (answer.candidates or [])[0].finish_reason
    return reason.name if reason else None


def test_it_answers_whole() -> None:
    answer = whole(systemInstruction={"parts": [{"text": "Be kind."}]})
    assert (answer.text, finish(answer)) == ("one two three", "STOP")
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.prompt_token_count == 4
    assert answer.usage_metadata.candidates_token_count == 3


def test_it_streams_events_and_an_array_of_the_same_chunks() -> None:
    events = Splitter().feed(told(as_events=True))
    chunks = [orjson.loads(event.data) for event in events]

    assert orjson.loads(told(as_events=False)) == chunks
    answers = [GenerateContentResponse.model_validate(chunk) for chunk in chunks]
    assert [answer.text for answer in answers] == ["one", " two", " three", ""]
    assert [finish(answer) for answer in answers] == [None, None, None, "STOP"]
    totals = [chunk["usageMetadata"]["totalTokenCount"] for chunk in chunks]
    assert totals == [3, 4, 5, 5]


def test_a_limit_of_tokens_is_kept_and_named() -> None:
    answer = whole(generationConfig={"maxOutputTokens": 2})
    assert (answer.text, finish(answer)) == ("one two", "MAX_TOKENS")


@pytest.mark.parametrize(
    ("config", "more", "is_called"),
    [
        (None, [], True),
        ({"functionCallingConfig": {"allowedFunctionNames": ["weather"]}}, [], True),
        ({"functionCallingConfig": {"mode": "NONE"}}, [], False),
        (None, [{"role": "user", "parts": [RESULT]}], False),
    ],
)
def test_a_tool_is_called_until_its_result_is_there(
    config: object, more: list[Any], is_called: bool
) -> None:
    calls = whole(contents=TURNS + more, tools=TOOLS, toolConfig=config).function_calls
    assert [call.args for call in calls or []] == [{"city": "hi there"}] * is_called


def test_what_is_missing_is_refused() -> None:
    with pytest.raises(Refusal, match="contents"):
        generate("m", streaming=False, as_events=False).read({"contents": []})


def test_the_failure_of_an_array_closes_it() -> None:
    form = generate("m", streaming=True, as_events=False)
    assert orjson.loads(b"[{}" + form.failure)[1]["error"]["code"] == 503


def test_tokens_are_counted() -> None:
    assert count_tokens({"contents": TURNS})["totalTokens"] == 2
    assert count_tokens({"generateContentRequest": {"contents": TURNS}})["totalTokens"] == 2


def test_models_and_errors_look_like_googles() -> None:
    assert models(("a",)) == {"models": [model("a")]}
    assert model("a")["name"] == "models/a"
    expected = {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}
    assert error(429, "x") == {"error": expected}
    assert error(503, "x")["error"]["status"] == "UNAVAILABLE"
    assert error(400, "x")["error"]["status"] == "INVALID_ARGUMENT"
