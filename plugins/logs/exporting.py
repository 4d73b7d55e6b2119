"""Rows as others read them: JSON documents, lines of JSON, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson

from .records import Body, LogRow

# Formats, and their media types.
KINDS: Final = {"jsonl": "application/jsonl", "csv": "text/csv"}
# Columns of a CSV, after `id` and `started_at`; unknown is empty.
COLUMNS: Final = (
    *("gateway", "key", "team", "user", "metadata", "method", "path", "provider", "model"),
    *("answered_model", "status", "outcome", "error", "streaming", "estimated", "finish_reason"),
    *("tier", "response_id", "parent_id", "duration_us", "head_us", "ttft_us", "bytes_received"),
    *("bytes_sent", "fresh_input", "cache_read", "cache_write", "output_text"),
    *("output_reasoning", "cost_nanousd", "prices"),
)
# What makes a spreadsheet take a text for a formula (OWASP, "CSV Injection"), its full-width forms
# too, and what may stand before it unseen. A quote in front keeps it a text.
_FORMULA: Final = re.compile(r"[\s\x00-\x1f\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
# Written at once.
_PIECE_BYTES: Final = 65_536


def document(row: LogRow) -> dict[str, Any]:
    """A row as JSON: its facts, and what is known of its bodies. What is not known is left out."""
    facts = row.document
    return {
        "id": facts.pop("id"),
        "started_at": row.started_at,
        **facts,
        "request": _told(row.request),
        "response": _told(row.response),
        "feedback": row.feedback,
        "score": row.score,
    }


def _told(body: Body | None) -> dict[str, Any] | None:
    """A body; `text` or `base64` is there where its bytes were read."""
    if body is None:
        return None
    told: dict[str, Any] = {"type": body.type, "bytes": body.size, "cut": body.is_cut}
    if body.data is not None:
        text, is_base64 = body.shown()
        told["base64" if is_base64 else "text"] = text
    return told


async def pieces(rows: AsyncIterator[LogRow], format_: str, bodies: bool) -> AsyncIterator[bytes]:
    """An export in one of `KINDS`, in pieces to write; the first comes when a row has come."""
    made = bytearray(head(bodies) if format_ == "csv" else b"")
    async for row in rows:
        made += csv_line(row, bodies) if format_ == "csv" else json_line(row)
        if len(made) >= _PIECE_BYTES:
            yield bytes(made)
            made.clear()
    yield bytes(made)


def json_line(row: LogRow) -> bytes:
    return orjson.dumps(document(row), option=orjson.OPT_APPEND_NEWLINE)


def head(bodies: bool) -> bytes:
    """The names of a CSV's columns, as its first line."""
    about = [f"{side}_{fact}" for side in ("request", "response") for fact in ("type", "bytes")]
    names = ["id", "started_at", *COLUMNS, "attempts", "feedback", "score", *about]
    return _line([*names, *(("request", "response") if bodies else ())])


def csv_line(row: LogRow, bodies: bool) -> bytes:
    """A row as a line of CSV (RFC 4180). Texts that would be formulas begin with a quote."""
    facts = row.document
    cells: list[Any] = [facts["id"], row.started_at]
    cells += [_cell(facts.get(name)) for name in COLUMNS]
    cells += [len(facts.get("attempts", ())), row.feedback, row.score]
    for body in (row.request, row.response):
        cells += ["", ""] if body is None else [_cell(body.type), body.size]
    if bodies:
        cells += [_cell(_in_a_cell(body)) for body in (row.request, row.response)]
    return _line(cells)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    if isinstance(value, str) and _FORMULA.match(value):
        return "'" + value
    return value


def _in_a_cell(body: Body | None) -> str | None:
    """A body as text; what is no text as a data URL."""
    if body is None or body.data is None:
        return None
    text, is_base64 = body.shown()
    return f"data:{body.type};base64,{text}" if is_base64 else text


def _line(cells: list[Any]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow(cells)  # None is an empty cell
    return written.getvalue().encode()
