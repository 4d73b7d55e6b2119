"""A watcher of a WebSocket: OpenAI's realtime and Responses, and Gemini Live.

Each answer within a session tells its own counts, and the session's are their sum. What a
transcription of the caller's own sound used is another model's, so it stands among the details.
"""

from __future__ import annotations

from typing import Final

import orjson

from gateway import Usage, may_tell, read_usage

from .watching import Watcher

_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"


class Session(Watcher):
    """See the module's docstring. Gemini counts a turn up, and says when it is over."""

    __slots__ = ("_turn", "_turn_is_over")

    def __init__(self) -> None:
        super().__init__()
        self._turn: Usage | None = None
        self._turn_is_over = False

    def message(self, direction: str, kind: str, data: bytes | None) -> None:
        if direction != "down":
            return
        if data is None:
            self.usage.problem = "a message was too long to be read"
            return
        over = b'"turnComplete"' in data
        if not over and not may_tell(data) and b'"session"' not in data:
            return
        document = orjson.loads(data)
        if not isinstance(document, dict):
            return
        if isinstance(document.get("usageMetadata"), dict):
            self._told(document)
        elif document.get("type") == _TRANSCRIBED:
            self._transcribed(document)
        else:
            self._answered(document)
        self._turn_is_over = self._turn_is_over or over

    def end(self) -> None:
        self._end_turn()

    def _answered(self, document: dict[str, object]) -> None:
        session = document.get("session")
        if isinstance(session, dict):
            model = session.get("model")
            self.usage.model = model if isinstance(model, str) else self.usage.model
            return
        answer = Usage()
        read_usage(document, answer)
        if answer.is_known:
            self.usage.add(answer)

    def _told(self, document: dict[str, object]) -> None:
        if self._turn_is_over:
            self._end_turn()
        self._turn = Usage()
        read_usage(document, self._turn)

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self.usage.add(turn)
            self._turn_is_over = False

    def _transcribed(self, document: dict[str, object]) -> None:
        heard = Usage()
        read_usage(document, heard)
        details = dict(heard.details or {})
        counts = {
            "transcription_input": heard.input,
            "transcription_output": heard.output,
            "transcription_audio_ms": details.get("input_audio_ms"),
        }
        apart = Usage()
        apart.details = {name: count for name, count in counts.items() if count}
        self.usage.add(apart)
