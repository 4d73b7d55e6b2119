"""What an attempt used in the end: what its answer said, and a guess at what it did not."""

from __future__ import annotations

import re
from typing import Final

from gateway import (
    BYTES_PER_TOKEN,
    COMPLETE,
    PROVIDER_ERROR,
    Attempt,
    Exchange,
    Usage,
    estimate_input,
    is_form,
)

from .later import Results, is_report
from .watching import Watcher

_DIGITS_MAX: Final = 15
# Calls that name a model and use no tokens.
_FREE: Final = re.compile(
    rb"(?:/count_tokens|:countTokens|/input_tokens|/(?:de)?tokenize|/moderations|/assistants|/jobs"
    rb"|/realtime/[a-z_]+|/api/(?:show|pull|push|create|delete|copy))$"
)
# A chat completion that was stored: its counts were told when it was made. A step of a run: its
# counts are in the run's.
_STORED: Final = re.compile(rb"chat/completions/[^/?]|/runs/[^/?]+/steps")
# Counts in fields: Bedrock's InvokeModel says them there for models that say none in their answer.
_FIELDS: Final = (
    (b"x-amzn-bedrock-input-token-count", "fresh_input"),
    (b"x-amzn-bedrock-output-token-count", "output_text"),
    (b"x-amzn-bedrock-cache-read-input-token-count", "cache_read"),
    (b"x-amzn-bedrock-cache-write-input-token-count", "cache_write"),
)
_CODING: Final = frozenset({b"content-encoding"})
# Text shrinks to a third or so, and the frames of events to next to nothing.
_PACKED_BYTES_PER_TOKEN: Final = 2


def settle(exchange: Exchange, watcher: Watcher | None) -> None:
    """Note what each attempt used. watcher: who saw the last one's answer, if anybody did."""
    attempts = exchange.attempts
    if not attempts:
        return
    if len(attempts) > 1:
        for attempt in attempts[:-1]:
            attempt.usage = _unseen(exchange, attempt)
    last = attempts[-1]
    last.usage = _unseen(exchange, last) if watcher is None else _seen(exchange, last, watcher)


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
        if exchange.model is None and usage.model:
            exchange.model = usage.model  # who asks again names none, and a body may be unreadable
        if usage.reported and _STORED.search(exchange.path) is not None:
            return _without_counts(usage)
    if watcher.document is not None:
        _note_error(exchange, watcher.document)
    outcome = exchange.outcome
    if outcome != COMPLETE and isinstance(watcher, Results):
        usage = Usage()  # a part of a sum that can be read again
        usage.problem = "not read to the end"
        return usage
    if outcome == COMPLETE:
        is_whole = usage.problem is None or watcher.is_counted
    else:
        is_whole = (
            usage.finish_reason is not None and watcher.is_counted and not _is_one_of(exchange)
        )
    if (is_whole and usage.is_known) or watcher.is_pending or not _costs(exchange):
        return usage
    if usage.reported:
        return usage  # what is not said now is said when it is asked for again
    written = _written(exchange, attempt, watcher)
    if outcome == PROVIDER_ERROR and not usage.is_known and not written:
        return usage  # an error is all that came
    usage.estimated = True
    if usage.input is None:
        usage.fresh_input = _asked(exchange, attempt)
    if written and not watcher.is_counted:
        usage.output_text = max(usage.output_text or 0, written - (usage.output_reasoning or 0))
    return usage


def _without_counts(usage: Usage) -> Usage:
    """What a report says beside its counts."""
    told = Usage()
    told.reported = True
    told.model, told.tier = usage.model, usage.tier
    told.response_id, told.finish_reason = usage.response_id, usage.finish_reason
    return told


def _is_one_of(exchange: Exchange) -> bool:
    """Whether a reason to finish may be that of one of Gemini's candidates, while others go on."""
    document = exchange.document
    if not isinstance(document, dict):
        return False
    config = document.get("generationConfig") or document.get("generation_config")
    if not isinstance(config, dict):
        return False
    count = config.get("candidateCount") or config.get("candidate_count")
    return isinstance(count, int) and count > 1


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


def _asked(exchange: Exchange, attempt: Attempt) -> int | None:
    """A guess at what was read. Of sound and pictures, which a form brings, bytes say nothing."""
    if is_form(exchange.headers.get(b"content-type") or b""):
        return None
    body = exchange.body or attempt.body
    return estimate_input(body) if body else exchange.bytes_received // BYTES_PER_TOKEN


def _costs(exchange: Exchange) -> bool:
    """Whether a request is one that a provider counts tokens for."""
    if exchange.method != b"POST" or exchange.model is None:
        return False
    document = exchange.document
    is_later = isinstance(document, dict) and document.get("background") is True
    if is_later and (b"responses" in exchange.path or b"/interactions" in exchange.path):
        return False  # what it used is said when it is asked for
    return _FREE.search(exchange.path.partition(b"?")[0]) is None
