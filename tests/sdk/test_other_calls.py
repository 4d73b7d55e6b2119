"""What else the SDKs do: tools, tokens, embeddings, lists of models, uploads, fields of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from gateway.testing import RunningGateway, ScriptedUpstream, answers, running_gateway
from tests.sdk.asked import KEY, PROMPT

SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
OPENAI = pytest.mark.sdk("openai", "PyPI")
ANTHROPIC = pytest.mark.sdk("anthropic", "PyPI")
GOOGLE = pytest.mark.sdk("google-genai", "PyPI")


@pytest.fixture
def by_openai(mocked: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mocked.url}/mock/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def by_anthropic(mocked: RunningGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=f"{mocked.url}/mock", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def by_google(mocked: RunningGateway) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=f"{mocked.url}/mock")
    client = genai.Client(api_key=KEY, http_options=options)
    yield client
    client.close()


@OPENAI
def test_openai_gets_its_tool_called_in_a_stream(by_openai: openai.OpenAI):
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    with by_openai.chat.completions.stream(model="any", messages=MESSAGES, tools=tools) as stream:
        (choice,) = stream.get_final_completion().choices

    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    call: Any = choice.message.tool_calls[0]
    assert call.function.name == "weather"
    assert "city" in json.loads(call.function.arguments)


@OPENAI
def test_openai_lists_models_and_makes_embeddings(by_openai: openai.OpenAI):
    made = by_openai.embeddings.create(model="any", input=["one", "two"])

    assert "mock" in [model.id for model in by_openai.models.list()]
    assert len(made.data) == 2
    assert made.data[0].embedding != made.data[1].embedding


@OPENAI
def test_openai_shows_the_fields_that_the_gateway_adds(by_openai: openai.OpenAI):
    create = by_openai.chat.completions.with_raw_response.create
    answer = create(
        model="any",
        messages=MESSAGES,
        extra_headers={"weir-metadata": '{"team": "search"}', "weir-event-id": "an-event"},
    )

    assert answer.headers["weir-request-id"]
    assert answer.headers["weir-event-id"] == "an-event"
    assert "upstream;dur=" in answer.headers["server-timing"]


@OPENAI
def test_openai_uploads_a_file_as_it_is():
    content = bytes(range(256)) * 1024
    file = {"id": "file-1", "object": "file", "bytes": len(content), "created_at": 1}
    file |= {"filename": "a.bin", "purpose": "assistants", "status": "processed"}
    with (
        ScriptedUpstream(answers(json.dumps(file).encode())) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/openai/v1", api_key=KEY) as client,
    ):
        made = client.files.create(file=("a.bin", content), purpose="assistants")

        assert made.id == "file-1"
        assert content in upstream.requests[0].raw


@ANTHROPIC
def test_anthropic_gets_its_tool_called_in_a_stream(by_anthropic: anthropic.Anthropic):
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    with by_anthropic.messages.stream(
        model="any", max_tokens=100, messages=MESSAGES, tools=tools
    ) as stream:
        message = stream.get_final_message()

    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert (call.name, "city" in call.input) == ("weather", True)


@ANTHROPIC
def test_anthropic_counts_tokens_and_lists_models(by_anthropic: anthropic.Anthropic):
    counted = by_anthropic.messages.count_tokens(model="any", messages=MESSAGES)

    assert counted.input_tokens > 0
    assert "mock" in [model.id for model in by_anthropic.models.list()]


@GOOGLE
def test_google_gets_its_tool_called_in_a_stream(by_google: genai.Client):
    declared: Any = {"name": "weather", "parameters": SCHEMA}
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    chunks = by_google.models.generate_content_stream(model="any", contents=PROMPT, config=config)
    calls = [call for chunk in chunks for call in chunk.function_calls or ()]

    assert [call.name for call in calls] == ["weather"]
    assert "city" in (calls[0].args or {})


@GOOGLE
def test_google_counts_tokens_and_lists_models(by_google: genai.Client):
    counted = by_google.models.count_tokens(model="any", contents=PROMPT)

    assert counted.total_tokens
    assert "models/mock" in [model.name for model in by_google.models.list()]
