"""What the admin API's document says of /api/logs."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from gateway import Doc, ErrorAnswer

from .query import AMOUNTS, FILTERS, LEAST, MOST, ONCE
from .records import FACTS, NUMBERS, Change

_MEANINGS: Final = {
    "since": 'From then on: "2026-11-28", "2026-11-28T09:00Z" or "7d".',
    "until": "Up to then, likewise.",
    "search": 'Words that all occur in a body; a "quoted phrase" occurs as it is.',
    "order": '"newest" or "oldest" first.',
    "limit": "At most so many rows.",
    "cursor": "The `next` of the answer before.",
    "status": '"429", or "4xx".',
    "all": '"true" where no filter is given.',
    "format": '"jsonl" or "csv".',
    "bodies": '"true" for the bodies too.',
}


class LogBody(msgspec.Struct):
    """A body, after redaction.

    type: Its content type.
    bytes: How many passed in all.
    cut: Whether more came than was kept.
    text: What was kept; only where one row is asked for, or bodies are.
    base64: The same where it is no UTF-8.
    """

    type: str
    bytes: int
    cut: bool
    text: str | msgspec.UnsetType = msgspec.UNSET
    base64: str | msgspec.UnsetType = msgspec.UNSET


class LogEntry(msgspec.Struct):
    """An exchange. What is not known is left out; there are more fields than these.

    id: Of the exchange, as in its answer's request id.
    started_at: In UTC, to the millisecond.
    cost_nanousd: Billionths of a dollar.
    duration_us: Microseconds.
    attempts: One for each time that an upstream was asked.
    request: Null where no body is kept.
    response: Null where no body is kept.
    feedback: 1, -1 or null.
    score: A number or null.
    """

    id: str
    started_at: str
    gateway: str
    outcome: str
    request: LogBody | None
    response: LogBody | None
    feedback: Literal[-1, 1] | None
    score: float | None
    provider: str | msgspec.UnsetType = msgspec.UNSET
    model: str | msgspec.UnsetType = msgspec.UNSET
    status: int | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    cost_nanousd: int | msgspec.UnsetType = msgspec.UNSET
    duration_us: int | msgspec.UnsetType = msgspec.UNSET
    attempts: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class LogPage(msgspec.Struct):
    """Some rows.

    rows: In the order that was asked for, without their bodies' text.
    next: The `cursor` that asks for those behind them; null after the last.
    """

    rows: list[LogEntry]
    next: str | None


class LogsDeleted(msgspec.Struct):
    """Rows are gone.

    deleted: How many.
    """

    deleted: int


def _asked(name: str, *names: str) -> type[msgspec.Struct]:
    """The parameters of a query, as a struct."""
    fields = [*sorted(FACTS | NUMBERS), *names]
    fields += [prefix + each for each in (*AMOUNTS, *sorted(NUMBERS)) for prefix in (LEAST, MOST)]
    told = "\n".join(f"    {each}: {_MEANINGS[each]}" for each in names if each in _MEANINGS)
    return msgspec.defstruct(
        name,
        [(each.replace(".", "_"), str | None, None) for each in fields],
        namespace={"__doc__": f"Filters, and `metadata.NAME`.\n\n{told}\n"},
        rename={each.replace(".", "_"): each for each in fields if "." in each},
    )


_Answers = dict[int, type | tuple[str, ...]]
_ROW: Final = "/api/logs/{id}"
_REFUSED: Final[_Answers] = {400: ErrorAnswer, 503: ErrorAnswer}
_UNKNOWN: Final[_Answers] = {404: ErrorAnswer, 503: ErrorAnswer}
_BODY: Final[_Answers] = {
    200: ("application/json", "text/plain", "application/octet-stream"),
    **_UNKNOWN,
}
DOCS: Final = {
    ("GET", "/api/logs"): Doc(
        "Rows, newest first.", query=_asked("LogsQuery", *ONCE), answers={200: LogPage, **_REFUSED}
    ),
    ("DELETE", "/api/logs"): Doc(
        "Delete the rows that a filter chooses, or all.",
        query=_asked("LogsDeleteQuery", *FILTERS, "all"),
        answers={200: LogsDeleted, **_REFUSED},
    ),
    ("GET", "/api/logs/export"): Doc(
        "Rows as lines of JSON or as CSV, oldest first.",
        query=_asked("LogsExportQuery", *FILTERS, "order", "format", "bodies"),
        answers={200: ("application/jsonl", "text/csv"), **_REFUSED},
    ),
    ("GET", "/api/logs/tail"): Doc(
        "Rows as they come, as server-sent events.",
        query=_asked("LogsTailQuery", "search"),
        answers={200: ("text/event-stream",), 429: ErrorAnswer, **_REFUSED},
    ),
    ("GET", _ROW): Doc("A row, with its bodies.", answers={200: LogEntry, **_UNKNOWN}),
    ("PATCH", _ROW): Doc(
        "Set feedback, score or metadata of a row.",
        body=Change,
        answers={200: LogEntry, 400: ErrorAnswer, **_UNKNOWN},
    ),
    ("DELETE", _ROW): Doc("Delete a row.", answers={200: LogsDeleted, **_UNKNOWN}),
    ("GET", f"{_ROW}/request"): Doc("The request's body as it was kept.", answers=_BODY),
    ("GET", f"{_ROW}/response"): Doc("The answer's body as it was kept.", answers=_BODY),
}
