"""How each format says that an answer was ended for its length.

An ending is made of what the stream has said of itself, so that official SDKs take it for one of
the provider's own: the same ids, the block that is open closed, the numbers going on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import orjson

from gateway import Event

# Of a Responses stream, items are kept for its ending up to this.
_ITEMS_BYTES_MAX: Final = 64 * 1024


class Ending(Protocol):
    def note(self, document: Any) -> None:
        """Look at an event that went to the caller."""

    def events(self, tokens: int) -> bytes:
        """What to send last. tokens: how many of output could be seen."""


def ending_of(dialect: str, path: bytes) -> Ending | None:
    """The ending of a format; None where there is none, and the stream can only be cut."""
    if dialect == "openai":
        bare = path.partition(b"?")[0].rstrip(b"/")
        if bare.endswith((b"api/chat", b"api/generate")):
            return _Ollama(is_chat=bare.endswith(b"chat"))
        if not bare.endswith(b"completions"):
            return None  # speech, transcriptions, pictures: nothing says that they are too long
        return _Chat(is_text=not bare.endswith(b"chat/completions"))
    kind = _KINDS.get(dialect)
    return None if kind is None else kind()


def _event(document: dict[str, Any], *, named: bool = False) -> bytes:
    name = document["type"].encode() if named else None
    return Event.make(orjson.dumps(document), name).raw


class _Chat:
    """OpenAI's chat and text completions: a chunk with finish reasons, and the end marker."""

    def __init__(self, *, is_text: bool) -> None:
        self._is_text = is_text
        self._facts: dict[str, Any] = {}
        self._open: dict[int, None] = {}

    def note(self, document: Any) -> None:
        if not isinstance(document, dict):
            return
        if not self._facts:
            names = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
            self._facts = {name: document[name] for name in names if name in document}
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(choice.get("index", 0), int):
                index = choice.get("index", 0)
                if choice.get("finish_reason") is None:
                    self._open[index] = None
                else:
                    self._open.pop(index, None)

    def events(self, tokens: int) -> bytes:
        body: dict[str, Any] = {"text": ""} if self._is_text else {"delta": {}}
        choices = [
            {"index": index, **body, "logprobs": None, "finish_reason": "length"}
            for index in (self._open or {0: None})
        ]
        return _event({**self._facts, "choices": choices}) + b"data: [DONE]\n\n"


class _Ollama:
    """Ollama's own: a last line that is done, with its reason."""

    def __init__(self, *, is_chat: bool) -> None:
        self._is_chat = is_chat
        self._facts: dict[str, Any] = {}

    def note(self, document: Any) -> None:
        if isinstance(document, dict):
            names = ("model", "created_at")
            self._facts = {name: document[name] for name in names if name in document}

    def events(self, tokens: int) -> bytes:
        content = {"role": "assistant", "content": ""}
        body = {"message": content} if self._is_chat else {"response": ""}
        last = {"done": True, "done_reason": "length", "eval_count": tokens}
        return orjson.dumps({**self._facts, **body, **last}) + b"\n"


class _Anthropic:
    """Messages: the open block's end, the stop reason, and the end marker."""

    def __init__(self) -> None:
        self._open: int | None = None

    def note(self, document: Any) -> None:
        if isinstance(document, dict):
            kind, index = document.get("type"), document.get("index")
            if kind == "content_block_start" and isinstance(index, int):
                self._open = index
            elif kind == "content_block_stop":
                self._open = None

    def events(self, tokens: int) -> bytes:
        documents: list[dict[str, Any]] = []
        if self._open is not None:
            documents.append({"type": "content_block_stop", "index": self._open})
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        usage = {"output_tokens": tokens}
        documents.append({"type": "message_delta", "delta": delta, "usage": usage})
        documents.append({"type": "message_stop"})
        return b"".join(_event(document, named=True) for document in documents)


class _Responses:
    """Responses: the response once more, incomplete, with the items that were done."""

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._items: list[Any] = []
        self._items_bytes = 0
        self._number = -1

    def note(self, document: Any) -> None:
        if not isinstance(document, dict):
            return
        number = document.get("sequence_number")
        if isinstance(number, int):
            self._number = number
        response = document.get("response")
        if isinstance(response, dict):
            self._response = response
        if document.get("type") == "response.output_item.done":
            self._items_bytes += len(orjson.dumps(document.get("item")))
            if self._items_bytes <= _ITEMS_BYTES_MAX:
                self._items.append(document.get("item"))

    def events(self, tokens: int) -> bytes:
        response = {
            **self._response,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": self._items,
        }
        document: dict[str, Any] = {"type": "response.incomplete", "response": response}
        if self._number >= 0:
            document["sequence_number"] = self._number + 1
        return _event(document, named=True)


class _Gemini:
    """generateContent: a last chunk with a finish reason for each candidate."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._candidates: dict[int, None] = {}

    def note(self, document: Any) -> None:
        if not isinstance(document, dict):
            return
        for name in ("usageMetadata", "modelVersion", "responseId", "createTime"):
            if name in document:
                self._facts[name] = document[name]
        candidates = document.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            index = candidate.get("index", 0) if isinstance(candidate, dict) else 0
            if isinstance(index, int):
                self._candidates[index] = None

    def events(self, tokens: int) -> bytes:
        content = {"role": "model", "parts": [{"text": ""}]}
        candidates = [
            {"content": content, "finishReason": "MAX_TOKENS", "index": index}
            for index in (self._candidates or {0: None})
        ]
        return _event({"candidates": candidates, **self._facts})


_KINDS: Final[dict[str, Callable[[], Ending]]] = {
    "anthropic": _Anthropic,
    "openai_responses": _Responses,
    "gemini": _Gemini,
}
