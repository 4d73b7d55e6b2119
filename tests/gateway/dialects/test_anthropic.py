from __future__ import annotations

import orjson
import pytest

from gateway.dialects import anthropic, load, shape_error
from gateway.sse import Event


def test_it_is_a_dialect() -> None:
    dialect = load("anthropic")
    assert dialect is not None
    assert (dialect.name, dialect.surface) == ("anthropic", "anthropic")


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"model": "claude-x"}, b"v1/messages", "claude-x"),
        (None, b"v1/messages", None),
        ({}, b"v1/p/publishers/anthropic/models/claude-x@1:streamRawPredict", "claude-x@1"),
        ({}, b"model/us.anthropic.claude-x-v1%3A0/invoke", "us.anthropic.claude-x-v1:0"),
        ({}, b"model/claude-x:0/invoke-with-response-stream", "claude-x:0"),
        (None, b"v1/models/claude-x", "claude-x"),
    ],
)
def test_the_model_stands_in_the_body_or_in_the_path(
    document: object, path: bytes, expected: str | None
) -> None:
    assert anthropic.model(document, path) == expected


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"stream": True}, b"v1/messages", True),
        ({}, b"v1/messages", False),
        ({}, b"publishers/anthropic/models/c:streamRawPredict", True),
        ({}, b"publishers/anthropic/models/c:rawPredict", False),
        (None, b"model/c/invoke-with-response-stream", True),
    ],
)
def test_the_body_or_the_path_asks_for_a_stream(
    document: object, path: bytes, expected: bool
) -> None:
    assert anthropic.streams(document, path) is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'event: message_stop\ndata: {"type":"message_stop"      }\n\n', True),
        (b'data: {"type": "message_stop"}\r\n\r\n', True),
        (b'event: ping\ndata: {"type": "ping"}\n\n', False),
        (b'event: message_delta\ndata: {"type":"message_delta","usage":{}}\n\n', False),
        (b'data: {"delta":{"type":"text_delta","text":"message_stop"}}\n\n', False),
        (b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', True),
    ],
)
def test_the_end_is_message_stop_or_an_error(raw: bytes, expected: bool) -> None:
    assert anthropic.is_end(Event(raw)) is expected


def test_an_error_inside_a_200_is_found() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    assert anthropic.error_in(error) == "overloaded_error: Overloaded"
    assert anthropic.error_in({"type": "error"}) == "error"
    assert anthropic.error_in({"type": "message", "content": []}) is None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}}, "Hi"),
        ({"delta": {"type": "thinking_delta", "thinking": "hm"}}, ""),
        ({"delta": {"type": "input_json_delta", "partial_json": "{"}}, ""),
        (
            {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}]},
            "Hi",
        ),
        ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, ""),
    ],
)
def test_text_is_what_is_said(document: object, expected: str) -> None:
    assert anthropic.text(document) == expected


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (502, "api_error"),
        (504, "timeout_error"),
    ],
)
def test_errors_look_like_anthropics(status: int, kind: str) -> None:
    body = orjson.loads(shape_error("anthropic", status, "some_code", "Because."))
    error = {"type": kind, "message": "Because.", "details": {"error_code": "some_code"}}
    assert body == {"type": "error", "error": error}
