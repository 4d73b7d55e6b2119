from __future__ import annotations

import pytest

from gateway.dialects import load, openai_responses
from gateway.sse import Event

RESPONSE = (
    b'{"id":"resp_1","object":"response","status":"%b","error":%b,"model":"gpt-x","output":[]}'
)


def event(kind: bytes, status: bytes, error: bytes = b"null") -> bytes:
    response = RESPONSE % (status, error)
    return b'event: %b\ndata: {"type":"%b","response":%b}\n\n' % (kind, kind, response)


def test_it_is_a_dialect_of_openais_surface() -> None:
    dialect = load("openai_responses")
    assert dialect is not None
    assert (dialect.name, dialect.surface) == ("openai_responses", "openai")


def test_the_model_stands_in_the_body() -> None:
    assert openai_responses.model({"model": "gpt-x"}, b"responses") == "gpt-x"
    assert openai_responses.model(None, b"responses") is None


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"stream": True}, b"responses", True),
        ({"stream": False}, b"responses", False),
        (None, b"responses/resp_1?stream=true", True),
        (None, b"responses/resp_1?include=a&stream=true&starting_after=3", True),
        (None, b"responses/resp_1", False),
    ],
)
def test_the_body_or_the_query_asks_for_a_stream(
    document: object, path: bytes, expected: bool
) -> None:
    assert openai_responses.streams(document, path) is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (event(b"response.created", b"in_progress"), False),
        (event(b"response.in_progress", b"in_progress"), False),
        (event(b"response.completed", b"completed"), True),
        (event(b"response.incomplete", b"incomplete"), True),
        (event(b"response.cancelled", b"cancelled"), True),
        (event(b"response.failed", b"failed", b'{"code":"server_error","message":"m"}'), True),
        (b'data: {"type": "response.completed", "response": {}}\n\n', True),
        (b'event: error\ndata: {"type":"error","code":"x","message":"m"}\n\n', True),
        (b'data: {"error":{"message":"m"}}\n\n', True),
        (b"data: [DONE]\n\n", True),
        (b'data: {"type":"response.output_text.delta","delta":"response.completed"}\n\n', False),
        (b'data: {"type":"response.output_text.done","text":"error"}\n\n', False),
    ],
)
def test_the_end_is_a_closing_event_or_an_error(raw: bytes, expected: bool) -> None:
    assert openai_responses.is_end(Event(raw)) is expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"object": "response", "status": "completed", "error": None}, None),
        ({"object": "response", "status": "failed", "error": None}, "error: failed"),
        (
            {"status": "failed", "error": {"code": "server_error", "message": "m"}},
            "server_error: m",
        ),
        (
            {"type": "response.failed", "response": {"error": {"code": "c", "message": "m"}}},
            "c: m",
        ),
        ({"type": "response.incomplete", "response": {"status": "incomplete"}}, None),
        ({"type": "error", "code": "c", "message": "m"}, "error: m"),
        ({"type": "error", "error": {"type": "t", "message": "m"}}, "t: m"),
        ({"error": {"message": "m", "type": "t"}}, "t: m"),
    ],
)
def test_an_error_inside_a_200_is_found(document: object, expected: str | None) -> None:
    assert openai_responses.error_in(document) == expected


def test_text_comes_from_deltas_and_whole_bodies_only() -> None:
    content = [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "no"}]
    whole = {"output": [{"type": "reasoning"}, {"type": "message", "content": content}]}

    assert openai_responses.text(whole) == "Hi"
    assert openai_responses.text({"type": "response.output_text.delta", "delta": "Hi"}) == "Hi"
    assert openai_responses.text({"type": "response.output_text.done", "text": "Hi"}) == ""
    assert openai_responses.text({"type": "response.completed", "response": whole}) == ""
