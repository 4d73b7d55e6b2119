from __future__ import annotations

import orjson
import pytest

from gateway.dialects import gemini, load, shape_error
from gateway.sse import Event

CHUNK = b'data: {"candidates": [{"content": {"parts": [{"text": "Hi"}]},%b "index": 0}]}\r\n\r\n'


def test_it_is_a_dialect() -> None:
    dialect = load("gemini")
    assert dialect is not None
    assert (dialect.name, dialect.surface) == ("gemini", "gemini")


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({}, b"v1beta/models/gemini-x:generateContent", "gemini-x"),
        (None, b"v1beta/models/gemini-x:streamGenerateContent?alt=sse", "gemini-x"),
        ({}, b"v1/projects/p/locations/l/publishers/google/models/g:countTokens", "g"),
        ({}, b"v1beta/tunedModels/mine:generateContent", "mine"),
        ({}, b"v1beta/models/a%2Fb", "a/b"),
        ({"model": "models/gemini-x"}, b"v1beta/batches", "gemini-x"),
        ({"contents": []}, b"v1beta/files", None),
    ],
)
def test_the_model_stands_in_the_path(document: object, path: bytes, expected: str | None) -> None:
    assert gemini.model(document, path) == expected


def test_the_method_says_whether_it_streams() -> None:
    assert gemini.streams(None, b"v1beta/models/m:streamGenerateContent?alt=sse")
    assert not gemini.streams({"stream": True}, b"v1beta/models/m:generateContent")
    assert gemini.streams({"stream": True}, b"v1beta/interactions")
    assert not gemini.streams({"stream": False}, b"v1beta/interactions")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (CHUNK % b"", False),
        (CHUNK % b' "finishReason": "STOP",', True),
        (CHUNK % b' "finishReason": "MAX_TOKENS",', True),
        (b'data: {"usageMetadata": {"promptTokenCount": 5}}\r\n\r\n', False),
        (b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\r\n\r\n', True),
        (b'data: {"error": {"code": 503, "status": "UNAVAILABLE"}}\r\n\r\n', True),
        (
            b'data: {"candidates": [{"finishReason": "STOP", "index": 0}, {"index": 1}]}\r\n\r\n',
            False,
        ),
        (
            b'data: {"candidates": [{"content": {"parts": [{"text": "finishReason"}]}}]}\r\n\r\n',
            False,
        ),
        (b'data: {"event_type": "interaction.completed", "interaction": {}}\n\n', True),
        (b'data: {"event_type": "interaction.complete"}\n\n', True),
        (b'data: {"event_type": "interaction.created"}\n\n', False),
        (
            b'data: {"event_type": "step.delta", "delta": {"text": "interaction.complete"}}\n\n',
            False,
        ),
    ],
)
def test_the_end_is_a_finish_a_block_or_an_error(raw: bytes, expected: bool) -> None:
    assert gemini.is_end(Event(raw)) is expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"candidates": []}, None),
        ({"error": {"code": 429, "message": "Slow.", "status": "BUSY"}}, "BUSY: Slow."),
        ([{"candidates": []}, {"error": {"code": 500, "message": "m"}}], "500: m"),
        ([{"candidates": []}], None),
        ([], None),
    ],
)
def test_an_error_inside_a_200_is_found(document: object, expected: str | None) -> None:
    assert gemini.error_in(document) == expected


def test_text_is_what_is_said_not_what_is_thought() -> None:
    parts = [{"text": "hm", "thought": True}, {"text": "Hi"}, {"functionCall": {"name": "f"}}]
    chunk = {"candidates": [{"content": {"parts": parts}}]}

    assert gemini.text(chunk) == "Hi"
    assert gemini.text([chunk, chunk]) == "HiHi"


@pytest.mark.parametrize(
    ("status", "known"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (502, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_look_like_googles(status: int, known: str) -> None:
    error = orjson.loads(shape_error("gemini", status, "some_code", "Because."))["error"]
    assert (error["code"], error["message"], error["status"]) == (status, "Because.", known)
    assert error["details"][0]["reason"] == "SOME_CODE"
