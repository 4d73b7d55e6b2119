"""Notes what each attempt used: tokens by kind, model and finish reason, as its provider says.

It watches the upstream's side of every answer and changes nothing, but for one thing: where a
provider tells a stream's usage only when asked, and the caller did not ask, it asks, and takes the
answer to that out again (`stream_usage` of the provider's row).

Where an answer ends without its provider's count, a guess stands in its place, marked `estimated`;
there is none for what costs nothing or failed. What a caller reads later of an answer that it asked
for before (a poll, a batch's results) is marked `reported`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway import (
    BYTES_PER_TOKEN,
    COMPLETE,
    PROVIDER_ERROR,
    Attempt,
    Exchange,
    Usage,
    estimate_input,
    hookimpl,
)

from .asking import Stripper, asked, asks_already
from .later import Results, is_report, results_of
from .session import Session
from .watching import Events, Lines, Messages, Watcher
from .whole import Whole

NAME: Final = "usage"
_DIGITS_MAX: Final = 15
# Calls that name a model and use no tokens.
_FREE: Final = re.compile(
    rb"(?:/count_tokens|:countTokens|/input_tokens|/(?:de)?tokenize|/moderations|/assistants|/jobs"
    rb"|/realtime/[a-z_]+|/api/(?:show|pull|push|create|delete|copy))$"
)
# Counts in fields: Bedrock's InvokeModel says them there for models that say none in their answer.
_FIELDS: Final = (
    (b"x-amzn-bedrock-input-token-count", "fresh_input"),
    (b"x-amzn-bedrock-output-token-count", "output_text"),
    (b"x-amzn-bedrock-cache-read-input-token-count", "cache_read"),
    (b"x-amzn-bedrock-cache-write-input-token-count", "cache_write"),
)
_KIND: Final = frozenset({b"content-type"})
_CODING: Final = frozenset({b"content-encoding"})
_READABLE: Final = (b"identity", b"gzip", b"x-gzip", b"deflate")
# Text shrinks to a third or so, and the frames of events to next to nothing.
_PACKED_BYTES_PER_TOKEN: Final = 2


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it asks for.

    ask: Ask for a stream's usage where the caller did not and the provider's row allows it.
    """

    ask: bool = True


class _Note:
    """Of one exchange: who watches, and whether we asked in the caller's place."""

    __slots__ = ("asked", "watcher")

    def __init__(self) -> None:
        self.asked = False
        self.watcher: Watcher | None = None


class Plugin:
    """See the module's docstring."""

    reads = "json"

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        note = exchange.notes[NAME] = _Note()
        body = attempt.body
        if (
            body is None
            or not exchange.streaming
            or not attempt.target.provider.stream_usage
            or not exchange.settings[NAME].ask
        ):
            return
        path = exchange.path.partition(b"?")[0]
        if not path.endswith(b"completions") or asks_already(exchange.document):
            return
        try:
            is_callers = body is exchange.body
            attempt.body = asked(body, exchange.document if is_callers else None)
        except ValueError:  # stream_options is no object: the provider will say so
            return
        note.asked = True

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Stripper | None:
        note = exchange.notes.get(NAME)
        attempt = exchange.attempt
        if note is None or not note.asked or attempt is None or attempt.response is None:
            return None
        kind = attempt.response_among(_KIND)
        if not kind or _plain(kind[0][1]) != b"text/event-stream":
            return None  # nothing of ours is in it, so it keeps its length
        # What cannot be read cannot be edited; better one chunk too many than no answer.
        readable = all(
            coding.strip().lower() in _READABLE for _, coding in attempt.response_among(_CODING)
        )
        return Stripper() if readable else None

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Any:
        if side != "upstream":
            return None
        note = exchange.notes.get(NAME)
        if note is None:
            return None
        watcher = note.watcher = _watcher(exchange, exchange.attempts[-1])
        return watcher

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        attempts = exchange.attempts
        if not attempts:
            return
        note = exchange.notes.get(NAME)
        watcher = note.watcher if note is not None else None
        for attempt in attempts[:-1]:
            attempt.usage = _unseen(exchange, attempt)
        last = attempts[-1]
        last.usage = _unseen(exchange, last) if watcher is None else _seen(exchange, last, watcher)


def _watcher(exchange: Exchange, attempt: Attempt) -> Watcher | None:
    """Who can read this answer; None where it holds no counts, or nobody knows how."""
    status = attempt.status
    if status == 101:
        return Session()
    if status is None or status >= 400:
        return None
    found = attempt.response_among(_KIND)
    kind = _plain(found[0][1]) if found else b""
    posted = exchange.method == b"POST"
    if kind == b"text/event-stream":
        return Events()
    if exchange.method == b"GET" and status == 200:
        of = results_of(exchange.path)
        if of is not None:
            return Results(of)
    if kind.endswith((b"/json", b"+json")):
        return Whole(always=posted)
    if kind == b"application/vnd.amazon.eventstream":
        return Messages()
    if kind in (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines"):
        return Lines()
    return None


@lru_cache(256)
def _plain(kind: bytes) -> bytes:
    """A type without its parameters, in small letters."""
    return kind.partition(b";")[0].strip().lower()


def _seen(exchange: Exchange, attempt: Attempt, watcher: Watcher) -> Usage | None:
    """What an answer that was watched says, and a guess at what it does not."""
    usage = watcher.usage
    try:
        watcher.end()
    except Exception as error:  # an answer that is no JSON, or was cut
        usage.problem = usage.problem or f"not read: {error}"
    if not usage.is_known:
        _read_fields(attempt, usage)
    if attempt.status != 101:
        usage.reported = is_report(exchange.method, exchange.path, usage)
    if isinstance(watcher, Whole) and watcher.document is not None:
        _note_error(exchange, watcher.document)
    outcome = exchange.outcome
    if isinstance(watcher, Results) and outcome != COMPLETE:
        usage = Usage()  # a part of a sum that can be read again
        usage.problem = "not read to the end"
        return usage
    is_whole = outcome == COMPLETE or (usage.finish_reason is not None and usage.output is not None)
    if (is_whole and usage.is_known) or watcher.is_pending or not _costs(exchange):
        return usage
    written = _written(exchange, attempt, watcher)
    if outcome == PROVIDER_ERROR and not usage.is_known and not written:
        return usage  # an error is all that came
    usage.estimated = True
    if usage.input is None:
        usage.fresh_input = _asked(exchange, attempt)
    if written and not watcher.is_counted:
        usage.output_text = max(usage.output_text or 0, written - (usage.output_reasoning or 0))
    return usage


def _note_error(exchange: Exchange, document: object) -> None:
    """An error inside a 200 is no success. The relay sees to those of streams."""
    dialect = exchange.dialect
    if exchange.outcome == COMPLETE and dialect is not None and dialect.error_in(document):
        exchange.outcome = PROVIDER_ERROR


def _written(exchange: Exchange, attempt: Attempt, watcher: Watcher) -> int:
    if attempt.response_among(_CODING) and watcher.usage.problem is not None:
        return exchange.bytes_sent // _PACKED_BYTES_PER_TOKEN  # it could not be unpacked
    return watcher.written()


def _read_fields(attempt: Attempt, usage: Usage) -> None:
    if attempt.response is None:
        return
    for name, side in _FIELDS:
        value = attempt.response.get(name)
        if value is not None and value.isdigit() and len(value) <= _DIGITS_MAX:
            setattr(usage, side, int(value))


def _unseen(exchange: Exchange, attempt: Attempt) -> Usage | None:
    """What an attempt used whose answer nobody read: nothing if it was never sent, or refused; else
    what was asked was read, as far as we know.
    """
    if attempt.sent_ns is None or not _costs(exchange):
        return None
    if attempt.status is not None and attempt.status >= 400:
        return None
    usage = Usage()
    usage.estimated = True
    usage.fresh_input = _asked(exchange, attempt)
    document = exchange.document
    text = document.get("input") if isinstance(document, dict) else None
    if isinstance(text, str) and exchange.path.endswith(b"/audio/speech"):
        usage.details = {"input_characters": len(text)}
    return usage


def _asked(exchange: Exchange, attempt: Attempt) -> int:
    body = exchange.body or attempt.body
    return estimate_input(body) if body else exchange.bytes_received // BYTES_PER_TOKEN


def _costs(exchange: Exchange) -> bool:
    """Whether a request is one that a provider counts tokens for."""
    if exchange.method != b"POST" or exchange.model is None:
        return False
    document = exchange.document
    if isinstance(document, dict) and document.get("background") is True:
        return False  # what it used is said when it is asked for
    return _FREE.search(exchange.path.partition(b"?")[0]) is None
