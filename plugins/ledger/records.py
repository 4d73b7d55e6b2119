"""What a journal's lines say, as a store takes them: entries, and sums by the hour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from gateway import PROVIDER_ERROR

from .facts import Facts, Used, facts_in

ORPHANED: Final = "orphaned"
HOUR_MS: Final = 3_600_000
COUNTERS: Final = ("fresh_input", "cache_read", "cache_write", "output_text", "output_reasoning")
_SUMMED: Final = (*COUNTERS, "cost_nanousd")
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
# Names come from callers. Together they are the key of a row, and PostgreSQL takes a key of 2,700
# bytes.
_NAME_MAX: Final = 100
# Ids come from providers, and are keys too.
_RESPONSE_ID_MAX: Final = 500
# No provider counts further, and the stores' integers do not go much further.
_COUNT_MAX: Final = 10**15
# A million dollars for an attempt was priced in another unit, and nine thousand of them are all
# that SQLite's integers hold.
_COST_MAX: Final = 10**15

Group = tuple[Any, ...]
Sums = dict[Group, list[int]]


class Damaged(ValueError):
    """A line that is no record; the text says why."""


_NO_ATTEMPT: Final = (Used(),)
# How `gateway.entry` begins an opening.
OPENS: Final = b'{"open":'
_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError)


class Entry:
    """An exchange: its id, and its JSON as it stands in the store, decoded as far as asked for."""

    __slots__ = ("_document", "_facts", "id", "text")

    def __init__(self, id_: bytes, text: bytes, facts: Facts | None = None) -> None:
        self.id = id_
        self.text = text
        self._facts = facts
        self._document: dict[str, Any] | None = None

    def __lt__(self, other: Entry) -> bool:
        """In the order of time."""
        return self.id < other.id

    @property
    def at_ms(self) -> int:
        """When it began, in milliseconds since 1970: the id says so (RFC 9562 section 5.7)."""
        return int.from_bytes(self.id[:6], "big")

    @property
    def facts(self) -> Facts:
        if self._facts is None:
            self._facts = facts_in(self.text)
        return self._facts

    @property
    def document(self) -> dict[str, Any]:
        if self._document is None:
            self._document = orjson.loads(self.text)
        return self._document


class Opening(NamedTuple):
    """An attempt before it was made: its exchange, its number and what was known of it."""

    id: str
    n: int
    document: dict[str, Any]


class Bill(NamedTuple):
    """An answer that counts once, however often it is asked for again.

    reported: this entry is one of those who ask again. n: the attempt's number.
    """

    provider: str
    response_id: str
    reported: bool
    n: int


def record_of(line: bytes) -> Entry | Opening | None:
    """What a line holds; None where that is nothing. `Damaged` where nobody can tell."""
    text = line.strip(b"\0\r\n")
    if not text:
        return None  # room that was never written to, or was blanked
    try:
        if text.startswith(OPENS):
            document = orjson.loads(text)
            _bytes_of(document["open"])
            return Opening(document["open"], int(document["n"]), document)
        if not text.isascii():
            text.decode()  # what the decoder skips it does not check
        facts = facts_in(text)
        return Entry(_bytes_of(facts.id), text, facts)
    except _UNREADABLE as error:
        raise Damaged(f"{error!r}: {text[:100]!r}") from error


def _bytes_of(id_: str) -> bytes:
    """An id's bytes: `uuid.UUID(id_).bytes`, for a sixth of the time."""
    found = bytes.fromhex(id_.replace("-", ""))
    if len(found) != 16:
        raise ValueError(f"{id_} is no id")
    return found


def made(document: dict[str, Any]) -> Entry:
    """The entry of a document that was changed."""
    return Entry(_bytes_of(document["id"]), orjson.dumps(document))


def bills_of(entry: Entry) -> Sequence[Bill]:
    """What of an entry counts once by its provider's id."""
    facts = entry.facts
    path = facts.path or ""
    can_be_asked_for = "/responses" in path or "/batches" in path or "/interactions" in path
    return [
        Bill(used.provider or "", used.response_id, used.reported, used.n or 0)
        for used in facts.attempts
        if (used.reported or can_be_asked_for)
        and used.response_id
        and len(used.response_id) <= _RESPONSE_ID_MAX
        and _is_counted(used)
    ]


def _is_counted(used: Used) -> bool:
    """Whether it says what was used; one that is under way only names its answer."""
    return used.cost_nanousd is not None or any(
        getattr(used, name) is not None for name in COUNTERS
    )


def without(entry: Entry, bill: Bill, earlier: str) -> Entry:
    """The entry with what an earlier one has counted already taken out of an attempt."""
    return _changed(entry, bill, {"duplicate_of": earlier})


def corrected(entry: Entry, bill: Bill, earlier: Entry) -> Entry | None:
    """The entry with what its attempt says, less what the earlier one has counted of the same
    answer; None where that was no guess, and had a price if this one has.

    Sums are then of what was said last, by model too: who asks again names none, so the earlier
    one's stands for both. What the earlier one knew alone stays as it is.
    """
    first = next((one for one in earlier.document["attempts"] if _is_of(one, bill)), None)
    told = next(one for one in entry.document["attempts"] if one["n"] == bill.n)
    if first is None or "corrects" in first or told.get("estimated"):
        return None
    is_unpriced = first.get("cost_nanousd") is None and told.get("cost_nanousd") is not None
    if not first.get("estimated") and not is_unpriced:
        return None
    more = {name: told[name] for name in _USED if told.get(name) is not None}
    for name in _SUMMED:
        if name in more:
            more[name] -= first.get(name) or 0
    if "details" in more:
        before = first.get("details") or {}
        more["details"] = {name: n - before.get(name, 0) for name, n in more["details"].items()}
    found = _changed(entry, bill, {**more, "corrects": earlier.document["id"]})
    return made({**found.document, "model": earlier.document.get("model")})


def _is_of(attempt: dict[str, Any], bill: Bill) -> bool:
    """Whether an attempt counts the answer that a bill is for."""
    return (attempt.get("provider") or "", attempt.get("response_id")) == bill[:2]


def _changed(entry: Entry, bill: Bill, used: dict[str, Any]) -> Entry:
    """The entry with something else in the place of what one of its attempts used."""
    document = dict(entry.document)
    attempts = [dict(attempt) for attempt in document["attempts"]]
    for attempt in attempts:
        if attempt["n"] == bill.n:
            for name in _USED:
                attempt.pop(name, None)
            attempt.update(used)
    document["attempts"] = attempts
    for name in _USED:
        document.pop(name, None)
    if len(attempts) == 1:
        document.update({name: used[name] for name in _USED if name in used})
        return made(document)
    for name in _SUMMED:
        known = [attempt[name] for attempt in attempts if name in attempt]
        if known:
            document[name] = sum(known)
    if any(attempt.get("estimated") for attempt in attempts):
        document["estimated"] = True
    return made(document)


def sums_of(entries: Iterable[Entry]) -> Sums:
    """What entries add to the sums by the hour, in the order of `SUMS`.

    Requests count where the last attempt went; tokens and money where each attempt went.
    """
    sums: Sums = {}
    known: dict[Group, list[int]] = {}  # by the same names, not cut
    for entry in entries:
        facts = entry.facts
        hour = int.from_bytes(entry.id[:6], "big") // HOUR_MS
        attempts = facts.attempts or _NO_ATTEMPT
        last = attempts[-1]
        for used in attempts:
            names = (
                hour,
                facts.gateway,
                facts.key,
                facts.team,
                facts.user,
                used.provider or facts.provider,
                facts.model,
                facts.outcome,
            )
            found = known.get(names)
            if found is None:
                group = (hour, *((name or "")[:_NAME_MAX] for name in names[1:]))
                found = known[names] = sums.setdefault(group, [0] * len(SUMS))
            if used is last:
                found[0] += 1
                found[10] += facts.duration_us or 0
                found[11] += facts.bytes_sent or 0
            if used.n is not None:
                _add(found, used)
    return sums


def _add(found: list[int], used: Used) -> None:
    found[1] += 1
    fresh, text, cost = used.fresh_input, used.output_text, used.cost_nanousd
    found[2] += min(fresh or 0, _COUNT_MAX)
    found[5] += min(text or 0, _COUNT_MAX)
    if used.cache_read:
        found[3] += min(used.cache_read, _COUNT_MAX)
    if used.cache_write:
        found[4] += min(used.cache_write, _COUNT_MAX)
    if used.output_reasoning:
        found[6] += min(used.output_reasoning, _COUNT_MAX)
    if cost is not None:
        found[7] += min(cost, _COST_MAX)
    elif fresh is not None or text is not None:
        found[8] += 1
    if used.estimated:
        found[9] += 1


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
    attempts = document.get("attempts", ())
    for attempt in attempts:
        outcome = _outcome(document["outcome"], attempt, is_last=attempt is attempts[-1])
        facts = {"outcome": outcome, "model": document.get("model")}
        yield {"kind": "attempt", **common, **_blank(), **whose, **facts, **attempt}


def _outcome(whole: str, attempt: dict[str, Any], *, is_last: bool) -> str | None:
    """What became of one attempt, as far as it says; the last one's end is the exchange's."""
    if whole == ORPHANED:
        return whole
    if "error" in attempt:
        return PROVIDER_ERROR
    if is_last:
        return whole
    return PROVIDER_ERROR if attempt.get("status", 0) >= 400 else None


def _blank() -> dict[str, Any]:
    names = ("outcome", "provider", "model", "status", *COUNTERS, "cost_nanousd", "prices")
    return {**dict.fromkeys(names), "estimated": False}
