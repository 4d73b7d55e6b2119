"""What is kept of an exchange, what may be changed of it, and what can be asked for."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType

# Numbers of an entry that stores keep in columns: counts of tokens and bytes, microseconds,
# billionths of a dollar.
COUNTED: Final = (
    "status",
    "fresh_input",
    "cache_read",
    "cache_write",
    "output_text",
    "output_reasoning",
    "cost_nanousd",
    "bytes_received",
    "bytes_sent",
    "duration_us",
    "head_us",
    "ttft_us",
)
# What `Query.least` and `Query.most` take: these, and the row's own.
NUMBERS: Final = frozenset({*COUNTED, "feedback", "score"})
# Fields that `Query.equal` takes beside `NUMBERS`; `metadata.NAME`, for any name, is another. Of an
# exchange of several attempts, those of its attempts are `attempts.provider` and so on.
FACTS: Final = frozenset(
    {
        "parent_id",
        "gateway",
        "key",
        "team",
        "user",
        "method",
        "path",
        "provider",
        "model",
        "status",
        "outcome",
        "error",
        "streaming",
        "end_marker",
        "estimated",
        "reported",
        "prices",
        "problem",
        "tier",
        "answered_model",
        "finish_reason",
        "response_id",
        "attempts.provider",
        "attempts.status",
        "attempts.error",
    }
)
METADATA: Final = "metadata."
# Left out of an entry where they are false.
_SWITCHES: Final = ("streaming", "estimated", "reported")
# What a PATCH may set of metadata.
METADATA_ENTRIES_MAX: Final = 50
SCORE_MAX: Final = 1e9
# What a row takes beside its parts: its columns, its places in the indexes, its facts.
ROW_BYTES: Final = 400
_TEXT_MAX: Final = 1_000
# The largest integer that a store's columns take.
_INTEGER_MAX: Final = 2**63 - 1


class Body(NamedTuple):
    """A request's or an answer's body, after redaction.

    data: What was kept of its beginning; None where a list left it out.
    type: Its content type without parameters, in small letters; "" where none was said.
    size: Bytes that passed in all, as they were before redaction.
    is_cut: More came than was kept.
    """

    data: bytes | None
    type: str
    size: int
    is_cut: bool = False

    def shown(self) -> tuple[str, bool]:
        """The kept bytes as text, and whether that is base64, because they are no UTF-8."""
        data = self.data or b""
        try:
            return data.decode(), False
        except UnicodeDecodeError as error:
            # The last character of what was cut may be cut too.
            if self.is_cut and error.start >= len(data) - 3 and error.end == len(data):
                return data[: error.start].decode(), False
            return base64.b64encode(data).decode(), True


class LogRow(NamedTuple):
    """A row: an exchange that is over.

    id: The exchange's, 16 bytes (UUIDv7: its first six are the time of its start).
    entry: The exchange's facts: the JSON object of `gateway.closing_entry`.
    request, response: None where bodies are not kept, or nothing came.
    words: What a text search looks at, in `readable.words` form; "" in what a store gives.
    arrival: Counts up in the order in which rows came to be in the store; 0 before that.
    """

    id: bytes
    entry: bytes
    request: Body | None = None
    response: Body | None = None
    feedback: int | None = None
    score: float | None = None
    words: str = ""
    arrival: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """The entry decoded, each time it is asked for."""
        document: dict[str, Any] = orjson.loads(self.entry)
        return document

    @property
    def at_ms(self) -> int:
        """When the exchange began, in milliseconds since 1970."""
        return int.from_bytes(self.id[:6], "big")

    @property
    def started_at(self) -> str:
        """The same as people read it: "2026-11-28T09:00:00.123Z"."""
        at = datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return at.replace("+00:00", "Z")


_Text = Annotated[str, Meta(max_length=_TEXT_MAX)]
_Name = Annotated[str, Meta(min_length=1, max_length=_TEXT_MAX)]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a PATCH sets: what is absent stays as it is, null takes it away.

    feedback: 1 for a good answer, -1 for a bad one.
    metadata: Takes the place of all of the row's metadata.
    """

    feedback: Literal[-1, 1] | UnsetType | None = UNSET
    score: Annotated[float, Meta(ge=-SCORE_MAX, le=SCORE_MAX)] | UnsetType | None = UNSET
    metadata: (
        Annotated[dict[_Name, _Text | bool | int | float], Meta(max_length=METADATA_ENTRIES_MAX)]
        | UnsetType
        | None
    ) = UNSET


class Query(msgspec.Struct, frozen=True):
    """Which rows, in which order, and how many. All conditions hold at once.

    id: The row of this id and no other.
    since_ms, until_ms: When the exchange began; the second is past the last.
    equal: Any one of some values, by field: those of `FACTS` and `NUMBERS`, and `metadata.NAME`.
        Values are written as people write them: "200", "true", "gpt-4o".
    least, most: Bounds, both included, by field of `NUMBERS`.
    text: Words that all occur in a body; a "quoted phrase" occurs as it is.
    newest_first: By the start of the exchange; False for oldest first.
    before, after: Ids; only what is older, or newer, than that row. It may be gone already.
    arrived_after: Only rows that came later than this `LogRow.arrival`, and in order of arrival:
        what one who follows asks for, because a long exchange comes after shorter ones that began
        later.
    bodies: Whether `Body.data` is read too.
    """

    id: bytes | None = None
    since_ms: int = 0
    until_ms: int | None = None
    equal: Mapping[str, tuple[str, ...]] = {}
    least: Mapping[str, float] = {}
    most: Mapping[str, float] = {}
    text: str | None = None
    newest_first: bool = True
    limit: int = 50
    before: bytes | None = None
    after: bytes | None = None
    arrived_after: int | None = None
    bodies: bool = False


def facts_of(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts of an entry that `Query.equal` can ask for: pairs of field and written value."""
    for name, value in document.items():
        if name == "metadata":
            if isinstance(value, dict):
                for key, inner in value.items():
                    yield METADATA + key, written(inner)
        elif name == "attempts":
            for attempt in value:
                for fact in ("provider", "status", "error"):
                    if fact in attempt:
                        yield f"attempts.{fact}", written(attempt[fact])
            # What a single attempt used stands there and on the exchange.
        elif name in FACTS and value is not None:
            yield name, written(value)
    for name in _SWITCHES:
        if name not in document:
            yield name, "false"


def numbers_of(document: Mapping[str, Any]) -> list[int | None]:
    """The numbers of an entry in the order of `COUNTED`; None where unknown."""
    found = [document.get(name) for name in COUNTED]
    return [number if number is None else min(number, _INTEGER_MAX) for number in found]


def written(value: object) -> str:
    """A value of an entry as people write it in a query."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def row_bytes(row: LogRow) -> int:
    """What a row takes in a store, about."""
    sides = sum(len(body.data or b"") for body in (row.request, row.response) if body is not None)
    return ROW_BYTES + len(row.entry) + sides + 2 * len(row.words)


def changed(row: LogRow, change: Change) -> LogRow:
    """A row after a change."""
    if change.feedback is not UNSET:
        row = row._replace(feedback=change.feedback)
    if change.score is not UNSET:
        row = row._replace(score=change.score)
    if change.metadata is not UNSET:
        document = row.document
        document.pop("metadata", None)
        if change.metadata:
            document["metadata"] = change.metadata
        row = row._replace(entry=orjson.dumps(document))
    return row
