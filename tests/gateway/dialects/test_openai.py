from __future__ import annotations

import orjson
import pytest

from gateway.dialects import load, openai, shape_error
from gateway.sse import Event

CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-x",'
    b'"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":%b}]}\n\n'
)


def test_it_is_a_dialect() -> None:
    dialect = load("openai")
    assert dialect is not None
    assert (dialect.name, dialect.surface) == ("openai", "openai")


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"model": "gpt-x"}, b"chat/completions", "gpt-x"),
        ({"model": 7}, b"chat/completions", None),
        (None, b"openai/deployments/my-gpt/chat/completions?api-version=1", "my-gpt"),
        ({"prompt": "hi"}, b"@cf/meta/llama-3", "@cf/meta/llama-3"),
        ([], b"files", None),
    ],
)
def test_the_model_stands_in_the_body_or_in_the_path(
    document: object, path: bytes, expected: str | None
) -> None:
    assert openai.model(document, path) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [({"stream": True}, True), ({"stream": False}, False), ({"stream": 1}, False), (None, False)],
)
def test_stream_says_whether_it_streams(document: object, expected: bool) -> None:
    assert openai.streams(document, b"chat/completions") is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b"data: [DONE]", True),
        (b"data: [DONE] \n\n", True),
        (CHUNK % b"null", False),
        (CHUNK % b'"stop"', False),
        (b": OPENROUTER PROCESSING\n\n", False),
        (b'data: {"choices":[{"delta":{"content":"say [DONE]"}}]}\n\n', False),
        (b'data: {"choices":[{"delta":{"content":"an \\"error\\" in text"}}]}\n\n', False),
        (b'data: {"choices":[{"delta":{"content":"error"}}],"error":null}\n\n', False),
        (b'data: {"error":{"message":"Busy.","type":"server_error"}}\n\n', True),
        (b'event: error\ndata: {"error":{"message":"Tool needed"}}\n\n', True),
        (b'data: {"choices":[],"error":{"code":502,"message":"upstream"}}\n\n', True),
        (b'data: {"type":"transcript.text.done","text":"Hi"}\n\n', True),
        (b'data: {"type":"image_generation.completed","b64_json":""}\n\n', True),
        (b'data: {"type":"image_generation.partial_image","b64_json":""}\n\n', False),
    ],
)
def test_the_end_is_done_or_an_error(raw: bytes, expected: bool) -> None:
    assert openai.is_end(Event(raw)) is expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"choices": [{"message": {"content": "Hi"}}]}, None),
        ({"choices": [], "error": None}, None),
        (
            {"error": {"message": "Busy.", "type": "server_error", "code": None}},
            "server_error: Busy.",
        ),
        ({"choices": [{"error": {"code": 502, "message": "cut"}}]}, "502: cut"),
        ({"error": "model not found"}, "model not found"),
    ],
)
def test_an_error_inside_a_200_is_found(document: object, expected: str | None) -> None:
    assert openai.error_in(document) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"choices": [{"delta": {"content": "Hi"}}]}, "Hi"),
        ({"choices": [{"delta": {"content": None, "tool_calls": []}}]}, ""),
        ({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, ""),
        ({"choices": [], "usage": {}}, ""),
        ({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}, "ab"),
        ({"choices": [{"text": "old"}]}, "old"),
        (
            {
                "choices": [
                    {
                        "message": {
                            "content": [
                                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                                {"type": "text", "text": "Hi"},
                            ]
                        }
                    }
                ]
            },
            "Hi",
        ),
        ({"data": [{"embedding": [0.1]}]}, ""),
    ],
)
def test_text_is_what_is_said(document: object, expected: str) -> None:
    assert openai.text(document) == expected


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (502, "server_error"),
    ],
)
def test_errors_look_like_openais(status: int, kind: str) -> None:
    body = orjson.loads(shape_error("openai", status, "some_code", "Because."))
    assert body == {
        "error": {"message": "Because.", "type": kind, "param": None, "code": "some_code"}
    }
