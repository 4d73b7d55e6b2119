"""Rows as the plugin makes them, made by hand."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from plugins.logs.readable import words_of
from plugins.logs.records import Body, LogRow

AT_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z


def id_of(number: int, at_ms: int = AT_MS) -> str:
    """Give the id of an exchange that began so many milliseconds after `at_ms`."""
    tail = b"\x70\x00\x80" + number.to_bytes(7, "big")
    return str(uuid.UUID(bytes=(at_ms + number).to_bytes(6, "big") + tail))


def made(
    number: int = 1,
    *,
    request: Body | None = None,
    response: Body | None = None,
    feedback: int | None = None,
    score: float | None = None,
    **facts: Any,
) -> LogRow:
    document = {
        "id": id_of(number),
        "method": "POST",
        "path": "/openai/v1/chat/completions",
        "gateway": "default",
        "provider": "openai",
        "model": "m",
        "status": 200,
        "outcome": "complete",
        "bytes_received": 5,
        "bytes_sent": 7,
        "duration_us": 12_000,
        **facts,
        "attempts": [{"n": 1, "provider": "openai", "status": 200}],
    }
    return LogRow(
        uuid.UUID(id_of(number)).bytes,
        orjson.dumps(document),
        request,
        response,
        feedback,
        score,
        words_of(request, response),
    )


def body(data: bytes, type_: str = "application/json", *, is_cut: bool = False) -> Body:
    return Body(data, type_, len(data) + 100 * is_cut, is_cut)
