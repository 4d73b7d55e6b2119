"""Ends a stream, of events or lines of JSON, before the one that would go beyond a budget.

It holds an event back until it is whole and counts what of the answer can be seen in it. What is
reserved is used up first; from there on more is reserved as it comes, together with all others that
draw on the same budgets, until there is no more.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway import BYTES_PER_TOKEN, STOPPED, Event, Exchange, Splitter, get_logger

from .endings import Ending, ending_of
from .holds import Note
from .lines import Line, LineSplitter
from .reserving import Desk

log = get_logger("budget")

# Streams that can be ended: of events, and Ollama's lines of JSON.
EVENTS: Final = b"text/event-stream"
LINES: Final = b"application/x-ndjson"
_KIND: Final = frozenset({b"content-type"})
# So many tokens more are asked for, the larger steps first; in the end what the event needs.
_STEPS: Final = (1024, 128, 16)


class Ceiling:
    """Of one stream. held: tokens of output that are reserved."""

    __slots__ = (
        "_bytes",
        "_desk",
        "_ending",
        "_exchange",
        "_is_end",
        "_note",
        "_parts",
        "_splitter",
        "_text",
        "held",
        "is_over",
    )

    def __init__(
        self,
        desk: Desk,
        exchange: Exchange,
        note: Note,
        held: int,
        splitter: Splitter | LineSplitter,
    ) -> None:
        dialect = exchange.dialect
        assert dialect is not None
        self._desk = desk
        self._exchange = exchange
        self._note = note
        self._text = dialect.text
        self._is_end = dialect.is_end
        self._ending: Ending | None = ending_of(dialect.name, exchange.path)
        self._splitter = splitter
        self._bytes = 0
        self._parts = 0
        self.held = held
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        """The whole events of a slice; where one goes too far, those before it and the ending."""
        if self.is_over:
            return b""
        kept: list[bytes] = []
        for event in self._splitter.feed(data):
            if not self._may_pass(event):
                self._stop(kept)
                return b""
            kept.append(event.raw)
        return b"".join(kept)

    def end(self) -> bytes:
        return b"" if self.is_over else self._splitter.rest

    @property
    def tokens(self) -> int:
        """What could be seen so far, guessed: text by its bytes, and hardly fewer than events."""
        return max(-(-self._bytes // BYTES_PER_TOKEN), self._parts)

    def _may_pass(self, event: Event | Line) -> bool:
        data = event.data
        if not data.startswith(b"{"):
            return True
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return True
        # The last event of some formats repeats the whole answer.
        repeats = isinstance(event, Event) and self._is_end(event) and not _adds(document)
        size = 0 if repeats else seen(document, self._text)
        if size:
            self._bytes += size
            self._parts += 1
            if not self._has_room():
                return False
        if self._ending is not None:
            self._ending.note(document)
        return True

    def _has_room(self) -> bool:
        return self.tokens <= self.held or self._extend()

    def _extend(self) -> bool:
        need = self.tokens - self.held
        for more in (*(step for step in _STEPS if step > need), need):
            if self._desk.extend(self._exchange, self._note, self.held, more):
                self.held += more
                return True
        return False

    def _stop(self, kept: list[bytes]) -> None:
        self.is_over = True
        tail = b"" if self._ending is None else self._ending.events(self.tokens)
        log.warning(
            "stream_stopped",
            id=self._exchange.id,
            budgets=[h.limit.name for h in self._note.holds if h.limit.rule.stop_in_flight],
            tokens=self.tokens,
        )
        self._exchange.stop(STOPPED, b"".join(kept) + tail if tail else b"")


def splitter_of(exchange: Exchange) -> Splitter | LineSplitter | None:
    """What takes an answer apart; None for one that is no stream that can be ended."""
    attempt = exchange.attempt
    if attempt is None or attempt.response is None or attempt.status != 200:
        return None
    kinds = attempt.response.among(_KIND)
    kind = kinds[0][1].lstrip().lower() if kinds else b""
    if exchange.dialect is None or not kind.startswith((EVENTS, LINES)):
        return None
    return Splitter() if kind.startswith(EVENTS) else LineSplitter()


def _adds(document: Any) -> bool:
    """Whether a last event has a piece of its own: Gemini's has, Responses' repeats all."""
    return isinstance(document, dict) and "candidates" in document


def seen(document: Any, text: Any) -> int:
    """Bytes of the answer that can be seen in an event: text, reasoning, arguments of tools."""
    found = len(text(document).encode("utf-8", "replace"))
    if not isinstance(document, dict):
        return found
    for choice in _tables(document.get("choices")):
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for name in ("reasoning_content", "reasoning", "refusal"):
                found += _size(delta.get(name))
            for called in _tables(delta.get("tool_calls")):
                function = called.get("function")
                if isinstance(function, dict):
                    found += _size(function.get("name")) + _size(function.get("arguments"))
    found += _size(document.get("response")) + _size(document.get("thinking"))
    message = document.get("message")  # Ollama's
    if isinstance(message, dict):
        found += _size(message.get("content")) + _size(message.get("thinking"))
        if message.get("tool_calls"):
            found += len(orjson.dumps(message["tool_calls"]))
    delta = document.get("delta")
    if isinstance(delta, dict):
        found += _size(delta.get("thinking")) + _size(delta.get("partial_json"))
    elif isinstance(delta, str) and document.get("type") != "response.output_text.delta":
        found += _size(delta)
    for candidate in _tables(document.get("candidates")):
        content = candidate.get("content")
        for part in _tables(content.get("parts")) if isinstance(content, dict) else ():
            if part.get("thought") is True:
                found += _size(part.get("text"))
            if "functionCall" in part:
                found += len(orjson.dumps(part["functionCall"]))
    return found


def _size(value: object) -> int:
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else 0


def _tables(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
