from __future__ import annotations

import base64
import math
import struct
from typing import Any

import orjson
import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway import Splitter
from plugins.mock.formats import Format
from plugins.mock.openai import CHAT, COMPLETIONS, EMBEDDINGS, error, model, models
from plugins.mock.script import Refusal, write

MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi there"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]


def whole(form: Format, text: str = "one two three", **document: Any) -> Any:
    ask = form.read({"model": "m", **document})
    return form.whole(ask, write(ask, text, 1))


def stream(form: Format, text: str = "one two three", **document: Any) -> list[Any]:
    ask = form.read({"model": "m", "stream": True, **document})
    assert ask.streaming
    events = Splitter().feed(b"".join(form.frames(ask, write(ask, text, 1))))
    assert events[-1].data == b"[DONE]"
    return [orjson.loads(event.data) for event in events[:-1]]


def test_a_chat_is_answered_whole() -> None:
    answer = ChatCompletion.model_validate(whole(CHAT, messages=MESSAGES), strict=True)

    assert answer.choices[0].message.content == "one two three"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 3)


def test_a_chat_is_streamed() -> None:
    chunks = [
        ChatCompletionChunk.model_validate(chunk, strict=True)
        for chunk in stream(CHAT, messages=MESSAGES)
    ]

    assert [chunk.choices[0].delta.content for chunk in chunks] == [
        *("", "one", " two", " three", None)
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert {chunk.id for chunk in chunks} == {"chatcmpl-mock1"}


def test_usage_comes_in_a_chunk_of_its_own_where_it_is_asked_for() -> None:
    options = {"include_usage": True}
    chunks = stream(CHAT, messages=MESSAGES, stream_options=options)

    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 7)
    assert "usage" not in stream(CHAT, messages=MESSAGES)[0]


def test_a_limit_of_tokens_is_kept_and_named() -> None:
    choice = whole(CHAT, messages=MESSAGES, max_completion_tokens=2)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")


def test_a_tool_is_called_whole_and_in_pieces() -> None:
    answer = ChatCompletion.model_validate(whole(CHAT, messages=MESSAGES, tools=TOOLS))
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert answer.choices[0].message.tool_calls is not None
    call = answer.choices[0].message.tool_calls[0]
    assert call.type == "function"
    assert (call.function.name, orjson.loads(call.function.arguments)) == (
        "weather",
        {"city": "hi there"},
    )

    deltas = [c["choices"][0]["delta"] for c in stream(CHAT, messages=MESSAGES, tools=TOOLS)]
    pieces = [delta["tool_calls"][0]["function"] for delta in deltas[:-1]]
    assert pieces[0] == {"name": "weather", "arguments": ""}
    assert "".join(piece["arguments"] for piece in pieces) == call.function.arguments


@pytest.mark.parametrize(
    ("choice", "more", "is_called"),
    [
        ("auto", [], True),
        ("none", [], False),
        ({"type": "function", "function": {"name": "weather"}}, [], True),
        ("auto", [{"role": "tool", "tool_call_id": "c", "content": "sunny"}], False),
    ],
)
def test_a_tool_is_called_until_its_result_is_there(
    choice: object, more: list[Any], is_called: bool
) -> None:
    answer = whole(CHAT, messages=MESSAGES + more, tools=TOOLS, tool_choice=choice)
    assert ("tool_calls" in answer["choices"][0]["message"]) is is_called


@pytest.mark.parametrize(
    ("form", "document", "text"),
    [
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": "hi"}, "messages"),
        (CHAT, {"messages": MESSAGES, "model": None}, "model"),
        (EMBEDDINGS, {"input": []}, "input"),
        (EMBEDDINGS, {}, "input"),
    ],
)
def test_what_is_missing_is_refused(form: Format, document: dict[str, Any], text: str) -> None:
    with pytest.raises(Refusal, match=text):
        form.read({"model": "m", **document})


def test_a_prompt_is_completed_whole_and_in_pieces() -> None:
    answer = Completion.model_validate(whole(COMPLETIONS, prompt=["hi", "there"]), strict=True)
    assert answer.choices[0].text == "one two three"

    chunks = stream(COMPLETIONS, prompt="hi", stream_options={"include_usage": True})
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == "one two three"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("given", "vectors", "tokens"),
    [("a b", 1, 2), (["a", "b c"], 2, 3), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3)],
)
def test_whatever_is_given_is_embedded(given: object, vectors: int, tokens: int) -> None:
    found = whole(EMBEDDINGS, input=given, dimensions=8)
    answer = CreateEmbeddingResponse.model_validate(found, strict=True)

    assert len(answer.data) == vectors
    assert answer.usage.prompt_tokens == tokens
    assert math.hypot(*answer.data[0].embedding) == pytest.approx(1.0)


def test_the_same_text_has_the_same_vector_in_either_form() -> None:
    plain = whole(EMBEDDINGS, input="a", dimensions=4)["data"][0]["embedding"]
    coded = whole(EMBEDDINGS, input="a", dimensions=4, encoding_format="base64")
    vector = struct.unpack("<4f", base64.b64decode(coded["data"][0]["embedding"]))

    assert vector == pytest.approx(plain)
    assert len(whole(EMBEDDINGS, input="a")["data"][0]["embedding"]) == 1536


def test_models_and_errors_look_like_openais() -> None:
    assert Model.model_validate(model("m"), strict=True).id == "m"
    assert [one["id"] for one in models(("a", "b"))["data"]] == ["a", "b"]
    assert error(500, "x")["error"]["type"] == "server_error"
    assert error(429, "x")["error"] == {
        "message": "x",
        "type": "rate_limit_error",
        "param": None,
        "code": None,
    }
