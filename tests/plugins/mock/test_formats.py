from __future__ import annotations

import pytest

from plugins.mock import anthropic, gemini, openai, responses
from plugins.mock.formats import Format, sse
from plugins.mock.script import write

MESSAGES = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
FORMATS: dict[str, tuple[Format, dict[str, object]]] = {
    "chat": (openai.CHAT, MESSAGES),
    "completions": (openai.COMPLETIONS, {"model": "m", "prompt": "hi"}),
    "responses": (responses.RESPONSES, {"model": "m", "input": "hi"}),
    "messages": (anthropic.MESSAGES, MESSAGES),
    "gemini": (
        gemini.generate("m", streaming=True, as_events=True),
        {"contents": [{"parts": [{"text": "hi"}]}]},
    ),
}


def test_an_event_is_written_as_the_standard_has_it() -> None:
    assert sse(b"{}") == b"data: {}\n\n"
    assert sse(b"{}", "ping") == b"event: ping\ndata: {}\n\n"


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_asks_the_same(name: str) -> None:
    form, document = FORMATS[name]
    ask = form.read({**document})
    assert (ask.model, ask.message, ask.prompt_tokens, ask.tool) == ("m", "hi", 1, None)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_streams_token_by_token(name: str) -> None:
    form, document = FORMATS[name]
    ask = form.read({**document})
    frames = [*form.frames(ask, write(ask, "one two three", 1))]

    for piece in (b'"one"', b'" two"', b'" three"'):
        assert sum(piece in frame for frame in frames) >= 1
    assert all(frame.endswith((b"\n\n", b"\r\n\r\n")) for frame in [*frames, form.failure])
