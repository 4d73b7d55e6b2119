"""Notes what each attempt used: tokens by kind, model and finish reason, as its provider says.

It watches the upstream's side of every answer and changes nothing, but for one thing: where a
provider tells a stream's usage only when asked, and the caller did not ask, it asks, and takes the
answer to that out again (`stream_usage` of the provider's row).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import (
    BYTES_PER_TOKEN,
    COMPLETE,
    Attempt,
    Exchange,
    Usage,
    estimate_input,
    hookimpl,
)

from .asking import Stripper, asked, asks_already
from .watching import Events, Lines, Messages, Watcher, Whole

NAME = "usage"
_DIGITS_MAX = 15
# Calls that name a model and cost nothing.
_FREE = (b"/count_tokens", b":countTokens", b"/tokenize", b"/detokenize", b"/moderations")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ask: Ask for a stream's usage where the caller did not and the provider's row allows it."""

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
            or not exchange.settings[NAME].ask
            or not attempt.target.provider.stream_usage
        ):
            return
        path = exchange.path.partition(b"?")[0]
        if not path.endswith(b"/completions") and path != b"completions":
            return
        if asks_already(exchange.document):
            return
        try:
            attempt.body = asked(body)
        except ValueError:  # stream_options is no object: the provider will say so
            return
        note.asked = True

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Stripper | None:
        note = exchange.notes.get(NAME)
        return Stripper() if note is not None and note.asked else None

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Any:
        if side != "upstream":
            return None
        note = exchange.notes.get(NAME)
        attempt = exchange.attempt
        if note is None or attempt is None or attempt.response is None:
            return None
        note.watcher = _watcher(attempt.response.get(b"content-type") or b"")
        return note.watcher

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        attempts = exchange.attempts
        if not attempts:
            return
        note = exchange.notes.get(NAME)
        for attempt in attempts[:-1]:
            attempt.usage = _unseen(exchange, attempt)
        last = attempts[-1]
        watcher = note.watcher if note is not None else None
        last.usage = _unseen(exchange, last) if watcher is None else _seen(exchange, last, watcher)


def _watcher(kind: bytes) -> Watcher | None:
    kind = kind.partition(b";")[0].strip().lower()
    if kind == b"text/event-stream":
        return Events()
    if kind == b"application/vnd.amazon.eventstream":
        return Messages()
    if kind in (b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines"):
        return Lines()
    return Whole() if kind.endswith((b"/json", b"+json")) else None


def _seen(exchange: Exchange, attempt: Attempt, watcher: Watcher) -> Usage:
    """What an answer that was watched says, and a guess at what it does not."""
    usage = watcher.usage
    try:
        watcher.end()
    except ValueError as error:
        usage.problem = str(error)
    _read_fields(attempt, usage)
    whole = exchange.outcome == COMPLETE or (
        usage.finish_reason is not None and usage.output is not None
    )
    if whole and (usage.is_known or not _costs(exchange)):
        return usage
    if attempt.status is None or attempt.status >= 400:
        return usage
    usage.estimated = True
    if usage.input is None:
        usage.fresh_input = _asked(exchange, attempt)
    usage.output_text = max(usage.output_text or 0, watcher.written())
    return usage


def _read_fields(attempt: Attempt, usage: Usage) -> None:
    """Bedrock's InvokeModel says its counts in fields, for models that say none in their answer."""
    if usage.is_known or attempt.response is None:
        return
    for name, side in (
        (b"x-amzn-bedrock-input-token-count", "fresh_input"),
        (b"x-amzn-bedrock-output-token-count", "output_text"),
        (b"x-amzn-bedrock-cache-read-input-token-count", "cache_read"),
        (b"x-amzn-bedrock-cache-write-input-token-count", "cache_write"),
    ):
        value = attempt.response.get(name)
        if value is not None and value.isdigit() and len(value) <= _DIGITS_MAX:
            setattr(usage, side, int(value))


def _unseen(exchange: Exchange, attempt: Attempt) -> Usage | None:
    """What an attempt used whose answer nobody read: nothing if it was never sent, or refused;
    where the answer did not come any more, what was asked was read all the same, as far as we know.
    """
    if attempt.sent_ns is None or not _costs(exchange):
        return None
    if attempt.status is not None and (attempt.status >= 400 or exchange.outcome == COMPLETE):
        return None
    usage = Usage()
    usage.estimated = True
    usage.fresh_input = _asked(exchange, attempt)
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
    return not exchange.path.partition(b"?")[0].endswith(_FREE)
