"""mistralai, cohere and groq of PyPI, each as its own manual says.

Mistral and Groq took OpenAI's chat completions over; Cohere's v2 has a format of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cohere
import groq
from mistralai.client import Mistral

from tests.sdk.asked import (
    CHAT_TOOLS,
    TIMEOUT_S,
    Call,
    Heard,
    Question,
    TellsOfAnError,
)
from tests.sdk.python_sdks import KEYLESS, chat, chat_pieces, messages, options, stainless_chat


def _headers(question: Question) -> dict[str, str]:
    return {**question.headers, **(KEYLESS if question.key is None else {})}


def mistral_chat(question: Question) -> Iterator[str | Call | None]:
    client = Mistral(
        api_key=question.key or "none", server_url=question.base, timeout_ms=int(TIMEOUT_S * 1000)
    )
    asked = chat(question) | {"http_headers": _headers(question)}
    with client:
        if not question.streaming:
            whole: Any = client.chat.complete(**asked)
            yield whole.choices[0].message.content
            return
        yield from chat_pieces(event.data for event in client.chat.stream(**asked))


def cohere_chat(question: Question) -> Iterator[str | Call | None]:
    asked: dict[str, Any] = {
        "model": question.model,
        "messages": messages(),
        "request_options": {"max_retries": 0, "additional_headers": _headers(question)},
    }
    if question.tools:
        asked["tools"] = CHAT_TOOLS
    client = cohere.ClientV2(question.key or "none", base_url=question.base, timeout=TIMEOUT_S)
    with client:
        if not question.streaming:
            whole: Any = client.chat(**asked)
            yield "".join(part.text for part in whole.message.content)
            return
        heard = Heard()
        for event in client.chat_stream(**asked):
            yield _cohere_piece(event, heard)
        yield from heard.calls()


def _cohere_piece(event: Any, heard: Heard) -> str | None:
    """Take the text from an event, and keep what it says of calls."""
    if event.type == "content-delta":
        piece: str | None = event.delta.message.content.text
        return piece
    if event.type in ("tool-call-start", "tool-call-delta"):
        function = event.delta.message.tool_calls.function
        heard.add(event.index, getattr(function, "name", None), function.arguments)
    if event.type == "message-end" and event.delta.finish_reason == "ERROR":
        raise TellsOfAnError(event.delta.error)
    return None


def groq_chat(question: Question) -> Iterator[str | Call | None]:
    return stainless_chat(groq.Groq(**options(question)), question)
