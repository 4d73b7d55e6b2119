"""openai, anthropic and google-genai of PyPI, each as its own manual says.

Only the base URL is changed and the retries are switched off. A key of None stands for a caller
who brings none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

import anthropic
import openai
from google import genai
from google.genai import types

from tests.sdk.asked import (
    CHAT_TOOLS,
    PROMPT,
    SCHEMA,
    TIMEOUT_S,
    TOOL,
    Call,
    Heard,
    Question,
    TellsOfAnError,
)

# OpenAI's and Anthropic's SDKs, and Groq's, will not start without a key; this is how they send
# none.
KEYLESS: Final = {"Authorization": "Bearer"}


def options(question: Question) -> dict[str, Any]:
    """Give what a client made by Stainless takes: OpenAI's, Anthropic's, Groq's."""
    keyless = KEYLESS if question.key is None else {}
    return {
        "base_url": question.base,
        "api_key": question.key or "none",
        "default_headers": {**question.headers, **keyless},
        "max_retries": 0,
        "timeout": TIMEOUT_S,
    }


def messages() -> Any:
    return [{"role": "user", "content": PROMPT}]


def chat(question: Question) -> dict[str, Any]:
    """Give the arguments of a call for a chat completion, but for `stream`."""
    asked: dict[str, Any] = {"model": question.model, "messages": messages()}
    return asked | {"tools": CHAT_TOOLS} if question.tools else asked


def chat_pieces(chunks: Iterable[Any]) -> Iterator[str | Call | None]:
    """Take the texts from a streamed chat completion, then the calls."""
    heard = Heard()
    for chunk in chunks:
        yield _chat_piece(chunk, heard)
    yield from heard.calls()


def _chat_piece(chunk: Any, heard: Heard) -> str | None:
    """Take the text from a chunk, and keep what it says of calls."""
    delta = chunk.choices[0].delta
    for call in delta.tool_calls or ():
        heard.add(call.index or 0, call.function.name, call.function.arguments)
    piece: str | None = delta.content
    return piece


def stainless_chat(client: Any, question: Question) -> Iterator[str | Call | None]:
    """Ask a client made by Stainless for a chat completion."""
    with client:
        create = client.chat.completions.create
        if question.streaming:
            yield from chat_pieces(create(**chat(question), stream=True))
        else:
            yield create(**chat(question)).choices[0].message.content


# -- openai ----------------------------------------------------------------------------------------


def openai_chat(question: Question) -> Iterator[str | Call | None]:
    return stainless_chat(openai.OpenAI(**options(question)), question)


def openai_responses(question: Question) -> Iterator[str | Call | None]:
    asked: dict[str, Any] = {"model": question.model, "input": PROMPT}
    if question.tools:
        asked["tools"] = [{"type": "function", "name": TOOL, "parameters": SCHEMA}]
    with openai.OpenAI(**options(question)) as client:
        create: Any = client.responses.create
        if not question.streaming:
            yield create(**asked).output_text
            return
        heard = Heard()
        for event in create(**asked, stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta
            elif event.type == "response.function_call_arguments.delta":
                heard.add(event.output_index, None, event.delta)
            elif event.type == "response.output_item.added" and event.item.type == "function_call":
                heard.add(event.output_index, event.item.name, None)
            elif event.type == "error":
                raise TellsOfAnError(event.message)
        yield from heard.calls()


async def openai_later(question: Question) -> AsyncIterator[str | Call | None]:
    async with openai.AsyncOpenAI(**options(question)) as client:
        create: Any = client.chat.completions.create
        if not question.streaming:
            yield (await create(**chat(question))).choices[0].message.content
            return
        heard = Heard()
        async for chunk in await create(**chat(question), stream=True):
            yield _chat_piece(chunk, heard)
        for call in heard.calls():
            yield call


# -- anthropic -------------------------------------------------------------------------------------


def _anthropic_asked(question: Question) -> dict[str, Any]:
    asked = {"model": question.model, "max_tokens": 100, "messages": messages()}
    tools = [{"name": TOOL, "input_schema": SCHEMA}]
    return asked | {"tools": tools} if question.tools else asked


def _text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def _calls_of(message: Any) -> list[Call]:
    used = [block for block in message.content if block.type == "tool_use"]
    return [Call(block.name, block.input) for block in used]


def anthropic_messages(question: Question) -> Iterator[str | Call | None]:
    asked: Any = _anthropic_asked(question)
    with anthropic.Anthropic(**options(question)) as client:
        if not question.streaming:
            yield _text_of(client.messages.create(**asked))
            return
        with client.messages.stream(**asked) as stream:
            yield from stream.text_stream
            if question.tools:
                yield from _calls_of(stream.get_final_message())


async def anthropic_later(question: Question) -> AsyncIterator[str | Call | None]:
    asked: Any = _anthropic_asked(question)
    async with anthropic.AsyncAnthropic(**options(question)) as client:
        if not question.streaming:
            yield _text_of(await client.messages.create(**asked))
            return
        async with client.messages.stream(**asked) as stream:
            async for piece in stream.text_stream:
                yield piece
            if question.tools:
                for call in _calls_of(await stream.get_final_message()):
                    yield call


# -- google-genai ----------------------------------------------------------------------------------


def _google_client(question: Question) -> genai.Client:
    http = types.HttpOptions(
        base_url=question.base,
        headers=dict(question.headers),
        timeout=int(TIMEOUT_S * 1000),
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    # A blank for a key is one to this SDK, and none on the wire.
    return genai.Client(api_key=question.key or " ", http_options=http)


def _google_asked(question: Question) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": question.model, "contents": PROMPT}
    if question.tools:
        declared: Any = {"name": TOOL, "parameters": SCHEMA}
        asked["config"] = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
    return asked


def _google_pieces(chunk: Any, question: Question) -> Iterator[str | Call | None]:
    if not question.tools:
        yield chunk.text
        return
    for call in chunk.function_calls or ():
        yield Call(call.name, call.args)


def google(question: Question) -> Iterator[str | Call | None]:
    client = _google_client(question)
    try:
        asked = _google_asked(question)
        if not question.streaming:
            yield client.models.generate_content(**asked).text
            return
        for chunk in client.models.generate_content_stream(**asked):
            yield from _google_pieces(chunk, question)
    finally:
        client.close()


async def google_later(question: Question) -> AsyncIterator[str | Call | None]:
    client = _google_client(question)
    try:
        asked = _google_asked(question)
        if not question.streaming:
            yield (await client.aio.models.generate_content(**asked)).text
            return
        async for chunk in await client.aio.models.generate_content_stream(**asked):
            for piece in _google_pieces(chunk, question):
                yield piece
    finally:
        await client.aio.aclose()
        client.close()
