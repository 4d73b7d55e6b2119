"""An exchange as a ledger keeps it: an opening before anything goes up, a closing at its end.

Both are JSON objects, written straight as text because both are made for every request. A closing
stands alone; an opening is read only where its process died before the closing. Times lie in the
id, a UUIDv7. Durations are microseconds, money is billionths of a dollar, and what is not known is
left out.

Opening: `open` (the exchange's id), `n` (the attempt's number), `bytes` (of the request's body).
Closing: `id`, and the exchange's facts; `attempts`, each with `n`, `provider` and what it used; the
sum of these stands on the exchange too. Both say whose exchange it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from gateway.clock import monotonic_ns
from gateway.summary import asked, digits, quoted

if TYPE_CHECKING:
    from gateway.exchange import Attempt, Exchange
    from gateway.usage import Usage

# A model is the caller's to name, as long as a body may be; what is kept of its name is not.
MODEL_CHARS_MAX: Final = 256


def opening_entry(exchange: Exchange, attempt: Attempt) -> bytes:
    """What has to be written down before an attempt's first byte goes up; one line."""
    body = attempt.body
    parts = ['{"open":"', exchange.id, '","n":', digits(attempt.number + 1)]
    if exchange.parent_id is not None:
        parts.append(',"parent_id":' + quoted(exchange.parent_id))
    parts.append(asked(exchange, attempt.target.provider.name))
    if exchange.model is not None:
        parts.append(',"model":' + quoted(exchange.model[:MODEL_CHARS_MAX]))
    if exchange.identity is not None:
        _whose(exchange, parts)
    if body is not None:
        parts.append(',"bytes":')
        parts.append(digits(len(body)))
    parts.append("}\n")
    return "".join(parts).encode()


def closing_entry(exchange: Exchange) -> bytes:
    """What an exchange came to and used; one line."""
    attempts, provider = exchange.attempts, exchange.provider
    if attempts:
        provider = attempts[-1].target.provider
    ended = exchange.ended_ns or monotonic_ns()
    started, answered = exchange.started_ns, exchange.answered_ns
    parts = ['{"id":"', exchange.id, '"']
    if exchange.parent_id is not None:
        parts.append(',"parent_id":' + quoted(exchange.parent_id))
    parts.append(asked(exchange, None if provider is None else provider.name))
    if exchange.model is not None:
        parts.append(',"model":' + quoted(exchange.model[:MODEL_CHARS_MAX]))
    if exchange.identity is not None:
        _whose(exchange, parts)
    if exchange.status is not None:
        parts.append(',"status":')
        parts.append(digits(exchange.status))
    parts.append(',"outcome":')
    parts.append(quoted(exchange.outcome or "failed"))
    if exchange.error is not None:
        parts.append(',"error":' + quoted(exchange.error.code))
    if exchange.streaming:
        parts.append(',"streaming":true')
    if exchange.end_marker_seen is not None:
        parts.append(',"end_marker":true' if exchange.end_marker_seen else ',"end_marker":false')
    parts.append(',"bytes_received":')
    parts.append(digits(exchange.bytes_received))
    parts.append(',"bytes_sent":')
    parts.append(digits(exchange.bytes_sent))
    parts.append(',"duration_us":')
    parts.append(digits((ended - started) // 1000))
    if answered is not None:
        parts.append(',"head_us":')
        parts.append(digits((answered - started) // 1000))
    text = ""
    if attempts:
        first = attempts[-1].first_byte_ns
        if first is not None:
            parts.append(',"ttft_us":')
            parts.append(digits((first - started) // 1000))
        parts.append(',"attempts":[')
        for attempt in attempts:
            if attempt.number:
                parts.append(",")
            text = _attempt(attempt, parts)
        parts.append("]")
        if len(attempts) > 1:
            usage = exchange.usage
            text = "" if usage is None else _used(usage)
    parts.append(text)
    parts.append("}\n")
    return "".join(parts).encode()


def _whose(exchange: Exchange, parts: list[str]) -> None:
    identity = exchange.identity
    assert identity is not None
    if identity.key_id is not None:
        parts.append(',"key":' + quoted(identity.key_id))
    if identity.team is not None:
        parts.append(',"team":' + quoted(identity.team))
    if identity.user is not None:
        parts.append(',"user":' + quoted(identity.user))
    if identity.metadata:
        parts.append(',"metadata":' + orjson.dumps(identity.metadata).decode())


def _attempt(attempt: Attempt, parts: list[str]) -> str:
    """Write an attempt; give the text of what it used, which a single one shares with all."""
    started = attempt.started_ns
    parts.append('{"n":')
    parts.append(digits(attempt.number + 1))
    parts.append(',"provider":')
    parts.append(quoted(attempt.target.provider.name))
    if attempt.status is not None:
        parts.append(',"status":')
        parts.append(digits(attempt.status))
    if attempt.failure is not None:
        parts.append(',"error":' + quoted(attempt.failure.code))
    if attempt.reused:
        parts.append(',"reused":true')
    elif attempt.connected_ns is not None:
        parts.append(',"connect_us":' + digits((attempt.connected_ns - started) // 1000))
    sent, first = attempt.sent_ns, attempt.first_byte_ns
    if sent is not None:
        parts.append(',"sent_us":')
        parts.append(digits((sent - started) // 1000))
        if first is not None:
            parts.append(',"upstream_us":')
            parts.append(digits((first - sent) // 1000))
    text = "" if attempt.usage is None else _used(attempt.usage)
    parts.append(text)
    parts.append("}")
    return text


def _used(usage: Usage) -> str:
    """What was used, as members of an object."""
    parts: list[str] = []
    if usage.fresh_input is not None:
        parts.append(',"fresh_input":')
        parts.append(digits(usage.fresh_input))
    if usage.cache_read is not None:
        parts.append(',"cache_read":')
        parts.append(digits(usage.cache_read))
    if usage.cache_write is not None:
        parts.append(',"cache_write":')
        parts.append(digits(usage.cache_write))
    if usage.output_text is not None:
        parts.append(',"output_text":')
        parts.append(digits(usage.output_text))
    if usage.output_reasoning is not None:
        parts.append(',"output_reasoning":')
        parts.append(digits(usage.output_reasoning))
    if usage.details:
        parts.append(',"details":' + orjson.dumps(usage.details).decode())
    if usage.cost_nanousd is not None:
        parts.append(',"cost_nanousd":')
        parts.append(digits(usage.cost_nanousd))
    if usage.prices is not None:
        parts.append(',"prices":' + quoted(usage.prices))
    if usage.estimated:
        parts.append(',"estimated":true')
    if usage.reported:
        parts.append(',"reported":true')
    if usage.problem is not None:
        parts.append(',"problem":' + quoted(usage.problem))
    if usage.tier is not None:
        parts.append(',"tier":' + quoted(usage.tier))
    if usage.model is not None:
        parts.append(',"answered_model":' + quoted(usage.model))
    if usage.finish_reason is not None:
        parts.append(',"finish_reason":' + quoted(usage.finish_reason))
    if usage.response_id is not None:
        parts.append(',"response_id":' + orjson.dumps(usage.response_id).decode())
    return "".join(parts)
