"""What a journal's lines say, as a store takes them: entries, and sums by the hour."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

ORPHANED: Final = "orphaned"
HOUR_MS: Final = 3_600_000
COUNTERS: Final = ("fresh_input", "cache_read", "cache_write", "output_text", "output_reasoning")
# What says what was used; where an answer only repeats what was billed before, all of it goes.
_USED: Final = (*COUNTERS, "details", "cost_nanousd", "prices", "estimated")
DIMENSIONS: Final = (
    "hour",
    "gateway",
    "key",
    "team",
    "user",
    "provider",
    "model",
    "outcome",
)
SUMS: Final = (
    "requests",
    "attempts",
    *COUNTERS,
    "cost_nanousd",
    "unpriced",
    "estimated",
    "duration_us",
    "bytes_sent",
)
_BYTES_PER_TOKEN: Final = 4

Group = tuple[Any, ...]
Sums = dict[Group, list[int]]


class Entry(NamedTuple):
    """An exchange: its id, its JSON as it stands in the store, and the same decoded."""

    id: bytes
    text: bytes
    document: dict[str, Any]

    @property
    def at_ms(self) -> int:
        """When it began, in milliseconds since 1970: the id says so (RFC 9562 section 5.7)."""
        return int.from_bytes(self.id[:6], "big")


class Bill(NamedTuple):
    """An answer that counts once, however often it is asked for again.

    reported: this entry is one of those who ask again. n: the attempt's number.
    """

    provider: str
    response_id: str
    reported: bool
    n: int


def entry_of(line: bytes) -> Entry | None:
    """The closing that a line holds; None for an opening."""
    if line.startswith(b'{"open"'):
        return None
    document = orjson.loads(line)
    return Entry(uuid.UUID(document["id"]).bytes, line, document)


def opened_in(line: bytes) -> dict[str, Any] | None:
    """The opening that a line holds; None for a closing."""
    if not line.startswith(b'{"open"'):
        return None
    document: dict[str, Any] = orjson.loads(line)
    return document


def orphan_of(openings: list[dict[str, Any]]) -> Entry:
    """The entry of an exchange whose process died before its end.

    What its attempts asked was read by the provider, as far as we know; what they were answered is
    not known.
    """
    last = openings[-1]
    known = {name: value for name, value in last.items() if name not in ("open", "n", "bytes")}
    attempts = []
    for opening in openings:
        tokens = opening.get("bytes", 0) // _BYTES_PER_TOKEN
        attempt = {"n": opening["n"], "provider": opening.get("provider"), "fresh_input": tokens}
        attempts.append({**attempt, "estimated": True})
    tokens = sum(attempt["fresh_input"] for attempt in attempts)
    document = {
        "id": last["open"],
        **known,
        "outcome": ORPHANED,
        "attempts": attempts,
        "fresh_input": tokens,
        "estimated": True,
    }
    return made(document)


def made(document: dict[str, Any]) -> Entry:
    """The entry of a document that was changed."""
    return Entry(uuid.UUID(document["id"]).bytes, orjson.dumps(document), document)


def bills_of(entry: Entry) -> Iterator[Bill]:
    """What of an entry counts once by its provider's id."""
    path = entry.document.get("path", "")
    for attempt in entry.document.get("attempts", ()):
        response_id = attempt.get("response_id")
        reported = attempt.get("reported", False)
        if response_id and (reported or "/responses" in path or "/batches" in path):
            yield Bill(attempt["provider"], response_id, reported, attempt["n"])


def without(entry: Entry, bill: Bill, earlier: str) -> Entry:
    """The entry with what an earlier one has counted already taken out of an attempt."""
    document = dict(entry.document)
    attempts = [dict(attempt) for attempt in document["attempts"]]
    for attempt in attempts:
        if attempt["n"] == bill.n:
            for name in _USED:
                attempt.pop(name, None)
            attempt["duplicate_of"] = earlier
    document["attempts"] = attempts
    for name in _USED:
        document.pop(name, None)
    for name in (*COUNTERS, "cost_nanousd"):
        known = [attempt[name] for attempt in attempts if name in attempt]
        if known:
            document[name] = sum(known)
    return made(document)


def sums_of(entries: Iterable[Entry]) -> Sums:
    """What entries add to the sums by the hour, in the order of `SUMS`.

    Requests count where the last attempt went; tokens and money where each attempt went.
    """
    sums: Sums = {}
    for entry in entries:
        document = entry.document
        get = document.get
        hour = entry.at_ms // HOUR_MS
        attempts = get("attempts") or ({},)
        last = attempts[-1]
        for attempt in attempts:
            provider = attempt.get("provider", get("provider"))
            group = (
                hour,
                get("gateway") or "",
                get("key") or "",
                get("team") or "",
                get("user") or "",
                provider or "",
                get("model") or "",
                get("outcome") or "",
            )
            found = sums.get(group)
            if found is None:
                found = sums[group] = [0] * len(SUMS)
            if attempt is last:
                found[0] += 1
                found[10] += get("duration_us") or 0
                found[11] += get("bytes_sent") or 0
            found[1] += "n" in attempt
            used = attempt.get
            found[2] += used("fresh_input") or 0
            found[3] += used("cache_read") or 0
            found[4] += used("cache_write") or 0
            found[5] += used("output_text") or 0
            found[6] += used("output_reasoning") or 0
            cost = used("cost_nanousd")
            if cost is not None:
                found[7] += cost
            elif used("fresh_input") is not None or used("output_text") is not None:
                found[8] += 1
            found[9] += used("estimated", False)
    return sums


def rows_of(entry: Entry) -> Iterator[dict[str, Any]]:
    """An entry as rows for an export: the exchange, then each attempt; unknown is null."""
    document = entry.document
    started = datetime.fromtimestamp(entry.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    whose = {name: document.get(name) for name in ("gateway", "key", "team", "user", "metadata")}
    common = {"id": document["id"], "started_at": started.replace("+00:00", "Z")}
    rest = {name: value for name, value in document.items() if name not in ("id", "attempts")}
    yield {
        "kind": "exchange",
        **common,
        **_blank(),
        **whose,
        **rest,
        "attempts": len(document.get("attempts", ())),
    }
    for attempt in document.get("attempts", ()):
        facts = {"outcome": document["outcome"], "model": document.get("model")}
        yield {"kind": "attempt", **common, **_blank(), **whose, **facts, **attempt}


def _blank() -> dict[str, Any]:
    names = ("outcome", "provider", "model", "status", *COUNTERS, "cost_nanousd", "prices")
    return {**dict.fromkeys(names), "estimated": False}
