"""Every official SDK behind one question, so that each story is told once and asked of all.

An SDK is used as its own manual says, with the base URL changed and its retries switched off. It
tells the pieces of text that it gave, when they came, and what it raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import anthropic
import openai
from google import genai
from google.genai import types

from tests.sdk.asked import Fault, Got, Question
from tests.sdk.node import Node

PROMPT: Final = "Where does water flow?"
TIMEOUT_S: Final = 20.0
# OpenAI's and Anthropic's SDKs will not start without a key; this is how they send none.
KEYLESS: Final = {"Authorization": "Bearer"}


class Sdk(NamedTuple):
    """An SDK, by one of the ways to use it.

    dialect: its wire format's family. ending: what its base URL has behind the provider's name.
    errors: the class to be raised for a status, 0 standing for all others. cut: the class for a
    connection that broke off, in a stream and in a whole answer.
    """

    name: str
    registry: str
    way: str
    dialect: str
    ending: str
    errors: Mapping[int, str]
    cut: tuple[str, str]
    ask: Callable[[Question], Got]

    @property
    def provider(self) -> str:
        """Give the real provider that it is made for."""
        return {"gemini": "google-ai-studio"}.get(self.dialect, self.dialect)

    def base(self, url: str, provider: str | None = None) -> str:
        """Give its base URL for a provider, which is its own if none is named."""
        return f"{url}/{provider or self.provider}{self.ending}"

    def error(self, status: int) -> str:
        return self.errors.get(status, self.errors[0])


def _told(tell: Callable[[Question], Iterator[str | None]]) -> Callable[[Question], Got]:
    def ask(question: Question) -> Got:
        got = Got()
        try:
            for piece in tell(question):
                got.add(piece)
        except Exception as error:
            got.raised(error)
        return got

    return ask


def _told_later(tell: Callable[[Question], AsyncIterator[str | None]]) -> Callable[[Question], Got]:
    async def listen(question: Question) -> Got:
        got = Got()
        try:
            async for piece in tell(question):
                got.add(piece)
        except Exception as error:
            got.raised(error)
        return got

    return lambda question: asyncio.run(listen(question))


# -- openai ----------------------------------------------------------------------------------------


def _options(question: Question) -> dict[str, Any]:
    keyless = KEYLESS if question.key is None else {}
    return {
        "base_url": question.base,
        "api_key": question.key or "none",
        "default_headers": {**question.headers, **keyless},
        "max_retries": 0,
        "timeout": TIMEOUT_S,
    }


def _messages() -> Any:
    return [{"role": "user", "content": PROMPT}]


def _openai_chat(question: Question) -> Iterator[str | None]:
    with openai.OpenAI(**_options(question)) as client:
        create = client.chat.completions.create
        if not question.streaming:
            whole = create(model=question.model, messages=_messages())
            yield whole.choices[0].message.content
            return
        for chunk in create(model=question.model, messages=_messages(), stream=True):
            yield chunk.choices[0].delta.content


def _openai_responses(question: Question) -> Iterator[str | None]:
    with openai.OpenAI(**_options(question)) as client:
        if not question.streaming:
            yield client.responses.create(model=question.model, input=PROMPT).output_text
            return
        for event in client.responses.create(model=question.model, input=PROMPT, stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta


async def _openai_later(question: Question) -> AsyncIterator[str | None]:
    async with openai.AsyncOpenAI(**_options(question)) as client:
        create = client.chat.completions.create
        if not question.streaming:
            whole = await create(model=question.model, messages=_messages())
            yield whole.choices[0].message.content
            return
        async for chunk in await create(model=question.model, messages=_messages(), stream=True):
            yield chunk.choices[0].delta.content


# -- anthropic -------------------------------------------------------------------------------------


def _text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def _anthropic(question: Question) -> Iterator[str | None]:
    asked: Any = {"model": question.model, "max_tokens": 100, "messages": _messages()}
    with anthropic.Anthropic(**_options(question)) as client:
        if not question.streaming:
            yield _text_of(client.messages.create(**asked))
            return
        with client.messages.stream(**asked) as stream:
            yield from stream.text_stream


async def _anthropic_later(question: Question) -> AsyncIterator[str | None]:
    asked: Any = {"model": question.model, "max_tokens": 100, "messages": _messages()}
    async with anthropic.AsyncAnthropic(**_options(question)) as client:
        if not question.streaming:
            yield _text_of(await client.messages.create(**asked))
            return
        async with client.messages.stream(**asked) as stream:
            async for piece in stream.text_stream:
                yield piece


# -- google-genai ----------------------------------------------------------------------------------


def _google_client(question: Question) -> genai.Client:
    options = types.HttpOptions(
        base_url=question.base,
        headers=dict(question.headers),
        timeout=int(TIMEOUT_S * 1000),
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    # A blank for a key is one to this SDK, and none on the wire.
    return genai.Client(api_key=question.key or " ", http_options=options)


def _google(question: Question) -> Iterator[str | None]:
    client = _google_client(question)
    try:
        asked: Any = {"model": question.model, "contents": PROMPT}
        if not question.streaming:
            yield client.models.generate_content(**asked).text
            return
        for chunk in client.models.generate_content_stream(**asked):
            yield chunk.text
    finally:
        client.close()


async def _google_later(question: Question) -> AsyncIterator[str | None]:
    client = _google_client(question)
    try:
        asked: Any = {"model": question.model, "contents": PROMPT}
        if not question.streaming:
            yield (await client.aio.models.generate_content(**asked)).text
            return
        async for chunk in await client.aio.models.generate_content_stream(**asked):
            yield chunk.text
    finally:
        await client.aio.aclose()
        client.close()


# -- openai and ai on Node -------------------------------------------------------------------------


def _on_node(node: Node, way: str) -> Callable[[Question], Got]:
    def ask(question: Question) -> Got:
        told = node.ask({"way": way, "prompt": PROMPT, **question._asdict()})
        got = Got()
        got.pieces, got.arrived_s = told["pieces"], told["arrivedS"]
        if told["fault"] is not None:
            got.fault = Fault(*(told["fault"][key] for key in ("kinds", "status", "text")))
        return got

    return ask


_NODE_OPENAI: Final = Node("openai.mjs")
_NODE_AI: Final = Node("ai.mjs")
NODES: Final = (_NODE_OPENAI, _NODE_AI)

_OPENAI_ERRORS: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    0: "InternalServerError",
}
_ANTHROPIC_ERRORS: Final = _OPENAI_ERRORS | {504: "GatewayTimeoutError"}
_GOOGLE_ERRORS: Final = dict.fromkeys((400, 401, 404, 429), "ClientError") | {0: "ServerError"}
_AI_ERRORS: Final = {0: "APICallError"}

_CONNECTION: Final = ("APIConnectionError", "APIConnectionError")
# These two let what their HTTP client raises in mid-stream pass as it is.
_ANTHROPIC_CUT: Final = ("TransportError", "APIConnectionError")
_GOOGLE_CUT: Final = ("TransportError", "TransportError")
_PAYLOAD: Final = ("ClientPayloadError", "ClientPayloadError")
_TERMINATED: Final = ("TypeError", "TypeError")
_CALL: Final = ("APICallError", "APICallError")

# fmt: off
SDKS: Final = (
    Sdk("openai", "PyPI", "chat", "openai", "/v1", _OPENAI_ERRORS, _CONNECTION,
        _told(_openai_chat)),
    Sdk("openai", "PyPI", "responses", "openai", "/v1", _OPENAI_ERRORS, _CONNECTION,
        _told(_openai_responses)),
    Sdk("openai", "PyPI", "async", "openai", "/v1", _OPENAI_ERRORS, _CONNECTION,
        _told_later(_openai_later)),
    Sdk("anthropic", "PyPI", "messages", "anthropic", "", _ANTHROPIC_ERRORS, _ANTHROPIC_CUT,
        _told(_anthropic)),
    Sdk("anthropic", "PyPI", "async", "anthropic", "", _ANTHROPIC_ERRORS, _ANTHROPIC_CUT,
        _told_later(_anthropic_later)),
    Sdk("google-genai", "PyPI", "models", "gemini", "", _GOOGLE_ERRORS, _GOOGLE_CUT,
        _told(_google)),
    Sdk("google-genai", "PyPI", "async", "gemini", "", _GOOGLE_ERRORS, _PAYLOAD,
        _told_later(_google_later)),
    Sdk("openai", "npm", "chat", "openai", "/v1", _OPENAI_ERRORS, _TERMINATED,
        _on_node(_NODE_OPENAI, "chat")),
    Sdk("openai", "npm", "responses", "openai", "/v1", _OPENAI_ERRORS, _TERMINATED,
        _on_node(_NODE_OPENAI, "responses")),
    Sdk("ai", "npm", "chat", "openai", "/v1", _AI_ERRORS, _CALL,
        _on_node(_NODE_AI, "chat")),
    Sdk("ai", "npm", "responses", "openai", "/v1", _AI_ERRORS, _CALL,
        _on_node(_NODE_AI, "responses")),
    Sdk("ai", "npm", "anthropic", "anthropic", "/v1", _AI_ERRORS, _CALL,
        _on_node(_NODE_AI, "anthropic")),
)
# fmt: on
