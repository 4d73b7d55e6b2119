"""Keeps a WebSocket's session within budgets: after each answer the next one is reserved.

A session holds what it has used and, beside that, an answer of as much output as the rule's default
for each that is under way, at least one. Where a hard rule has no room for that, it is ended behind
the answer that told its counts.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import orjson

from gateway import STOPPED, Exchange, Usage, get_logger, may_tell, read_usage

from .demand import Demand
from .holds import Note
from .reserving import Desk
from .rules import Limit

log = get_logger("budget")

# OpenAI's ends of an answer: of the realtime API, and of Responses.
_ENDS: Final = ("response.done", "response.completed", "response.incomplete", "response.failed")
# Where a caller's message names a model.
_ASKING: Final = ("setup", "session", "response")
# What a model heard of the caller is another model's, and has no price here.
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"


class Session:
    """Of one session. It watches what comes down, and has no say in it but to end it."""

    __slots__ = (
        "_begun",
        "_context",
        "_desk",
        "_exchange",
        "_is_over",
        "_model",
        "_note",
        "_turn",
        "_turn_is_over",
        "_used",
    )

    def __init__(self, desk: Desk, exchange: Exchange, note: Note) -> None:
        self._desk = desk
        self._exchange = exchange
        self._note = note
        self._model = note.demand.model
        self._used = Usage()
        self._turn: Usage | None = None  # of Gemini, which counts a turn up and says its end
        self._turn_is_over = False
        self._begun = 0  # answers that have told no counts yet
        self._context = 0  # what the next answer reads: what the last one did, and said
        self._is_over = False

    def message(self, direction: str, _: str, data: bytes | None) -> None:
        if data is None or self._is_over:
            return
        if direction != "down":
            if self._model is None and b'"model"' in data:
                self._learn(_decoded(data))
            return
        ends_turn = b'"turnComplete"' in data
        if not (ends_turn or may_tell(data) or b'"session"' in data):
            return
        document = _decoded(data)
        if isinstance(document, dict):
            self._read(document)
        self._turn_is_over = self._turn_is_over or ends_turn

    def failed(self, _: Exception) -> None:
        """Its messages are shown no more. What cannot be counted is no session for a hard rule."""
        hard = next((hold.limit for hold in self._note.holds if hold.limit.hard), None)
        if hard is not None:
            self._end(hard)

    def _learn(self, document: Any) -> None:
        """See which model a caller asks for: Gemini's setup says it, and what asks for an answer of
        Responses.
        """
        if not isinstance(document, dict):
            return
        for holder in (document, *(document.get(name) for name in _ASKING)):
            model = holder.get("model") if isinstance(holder, dict) else None
            if isinstance(model, str):
                self._model = model.rpartition("/")[2]
                if self._exchange.model is None:
                    self._exchange.model = self._model  # its cost is by that in the end
                return

    def _read(self, document: dict[str, Any]) -> None:
        kind = document.get("type")
        session = document.get("session")
        if isinstance(session, dict):
            model = session.get("model")
            self._model = model if isinstance(model, str) else self._model
        elif kind == "response.created":
            self._begun += 1
            if self._begun > 1:
                self._renew()
        elif kind != _TRANSCRIBED:
            if kind in _ENDS and self._begun:
                self._begun -= 1
            answer = Usage()
            read_usage(document, answer)
            if answer.is_known:
                self._count(answer, is_turns="usageMetadata" in document)

    def _count(self, answer: Usage, *, is_turns: bool) -> None:
        self._model = answer.model or self._model
        self._context = (answer.input or 0) + (answer.output or 0)
        if not is_turns:
            self._used.add(answer)
        else:
            if self._turn_is_over and self._turn is not None:
                self._used.add(self._turn)
                self._turn_is_over = False
            self._turn = answer
        self._renew()

    def _renew(self) -> None:
        used = Usage()
        used.add(self._used)
        if self._turn is not None:
            used.add(self._turn)
        answers = max(self._begun, 1)
        # A model that nobody named has no price that is known.
        demand = Demand(self._model or "", self._context * answers, None, None, answers)
        self._desk.renew(self._exchange, self._note, used, demand, self._end)

    def _end(self, limit: Limit) -> None:
        if self._is_over:
            return
        self._is_over = True
        log.warning("session_stopped", id=self._exchange.id, budget=limit.name)
        # Not from within: the frames of this slice are still being read.
        stop = partial(self._exchange.stop, STOPPED, self._farewell(limit))
        asyncio.get_running_loop().call_soon(stop)

    def _farewell(self, limit: Limit) -> bytes:
        """OpenAI's event of an error; Google's sessions have none, only the close itself."""
        dialect = self._exchange.dialect
        if dialect is None or dialect.surface != "openai":
            return b""
        message = f"The budget {limit.name} is spent; this session ends here."
        error = {"type": "insufficient_quota", "code": "budget_exceeded", "message": message}
        event = {"type": "error", "event_id": self._exchange.id, "error": error}
        return orjson.dumps(event)


def _decoded(data: bytes) -> Any:
    """A message, or None for one that is no JSON: to raise would be to look away for good."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
