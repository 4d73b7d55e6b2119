"""What an exchange came to: as one record for a log, and as a Server-Timing value for its caller.

Here and not in plugins, because every log and export wants the one, and both are made for every
request: they are written straight as text.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from gateway.clock import monotonic_ns

if TYPE_CHECKING:
    from gateway.exchange import Exchange

_time_ns: Final = time.time_ns  # see `gateway.clock`
# A path is the caller's to choose, as long as a head may be; what a log shows of it is not.
SHOWN_PATH_BYTES_MAX: Final = 1024
# Names, paths and peers recur. Strings kept ready as JSON, of at most so many characters each.
QUOTED_MAX: Final = 4096
QUOTED_CHARS_MAX: Final = 128
_quoted: Final[dict[str, str]] = {}
_THOUSANDTHS: Final = tuple([f"{number:03d}" for number in range(1000)])
# Most counts are small.
_DIGITS: Final = tuple([str(number) for number in range(1000)])
# Most times are below a millisecond.
_BELOW_ONE: Final = tuple([f"0.{number:03d}" for number in range(1000)])


class Told:
    """The last second that was told of, as text."""

    __slots__ = ("second_ns", "text")

    def __init__(self) -> None:
        self.second_ns = -1_000_000_000
        self.text = ""


class Asked:
    """What was asked last of a target, as text."""

    __slots__ = ("gateway", "method", "provider", "text")

    def __init__(self, method: bytes, gateway: str, provider: str | None, text: str) -> None:
        self.method = method
        self.gateway = gateway
        self.provider = provider
        self.text = text


_told: Final = Told()
_known: Final[dict[bytes, Asked]] = {}


def record(exchange: Exchange, event: str) -> bytes:
    """The record of an exchange that is over: a JSON object in the order in which people read it.

    It holds no field, no body and no query, and what the exchange did not come to know is left out.
    Durations are milliseconds to three places.
    """
    ended = exchange.ended_ns or monotonic_ns()
    started, answered, provider = exchange.started_ns, exchange.answered_ns, exchange.provider
    attempt = exchange.attempt
    if attempt is not None:
        provider = attempt.target.provider
    outcome = exchange.outcome
    # Appended one by one: as tuples of two they would cost the compiled core four times as much.
    parts = ['{"timestamp":"', time_of_day(ended), '","level":"info","event":', quoted(event)]
    parts.append(',"id":"' + exchange.id + '"')
    if exchange.parent_id is not None:
        parts.append(',"parent_id":' + quoted(exchange.parent_id))
    parts.append(asked(exchange, None if provider is None else provider.name))
    if exchange.model is not None:
        parts.append(',"model":' + quoted(exchange.model))
    if exchange.status is not None:
        parts.append(',"status":')
        parts.append(str(exchange.status))
    parts.append(',"outcome":')
    parts.append("null" if outcome is None else quoted(outcome))
    if exchange.error is not None:
        parts.append(',"error":' + quoted(exchange.error.code))
    parts.append(',"attempts":')
    parts.append(str(len(exchange.attempts)))
    parts.append(',"peer":')
    parts.append(quoted(exchange.peer))
    if exchange.identity is not None and exchange.identity.key_id is not None:
        parts.append(',"key_id":' + quoted(exchange.identity.key_id))
    parts.append(',"bytes_received":')
    parts.append(str(exchange.bytes_received))
    parts.append(',"bytes_sent":')
    parts.append(str(exchange.bytes_sent))
    parts.append(',"duration_ms":')
    parts.append(_ms(ended - started))
    if answered is not None:
        parts.append(',"head_ms":')
        parts.append(_ms(answered - started))
    if attempt is not None:
        sent, first = attempt.sent_ns, attempt.first_byte_ns
        if attempt.connected_ns is not None:
            parts.append(',"connect_ms":' + _ms(attempt.connected_ns - attempt.started_ns))
        if first is not None and sent is not None:
            parts.append(',"upstream_ms":')
            parts.append(_ms(first - sent))
    parts.append("}")
    return "".join(parts).encode()


def server_timing(exchange: Exchange) -> bytes:
    """Where the time went up to now, as the value of a Server-Timing field (W3C Server Timing).

    `connect` and `upstream` sum up all attempts; `gateway` is the rest of the time since the
    request's head came, and holds that of the plugins, which follow by name where they are
    measured. Milliseconds to three places.
    """
    now = monotonic_ns()
    connect, upstream = _spent_outside(exchange, now)
    own = max(0, now - exchange.started_ns - (connect or 0) - (upstream or 0))
    parts = ["gateway;dur=", _ms(own)]
    spent = exchange.spent_ns
    if spent is not None:
        names = exchange.plan.plugins
        for place, ns in enumerate(spent):
            if ns:
                parts.append(", plugin-")
                parts.append(names[place])
                parts.append(";dur=")
                parts.append(_ms(ns))
    if connect is not None:
        parts.append(", connect;dur=" + _ms(connect))
    if upstream is not None:
        parts.append(", upstream;dur=")
        parts.append(_ms(upstream))
    return "".join(parts).encode()


def time_of_day(at_ns: int) -> str:
    """An instant of the monotonic clock as ISO 8601 in UTC to the millisecond, by what the clock of
    the day says now.
    """
    ns = _time_ns() - monotonic_ns() + at_ns
    told = _told
    ms = (ns - told.second_ns) // 1_000_000
    if not 0 <= ms < 1000:
        second = ns // 1_000_000_000
        ms = ns // 1_000_000 - second * 1000
        told.second_ns = second * 1_000_000_000
        told.text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
    return f"{told.text}{_THOUSANDTHS[ms]}Z"


def _spent_outside(exchange: Exchange, now: int) -> tuple[int | None, int | None]:
    """Nanoseconds of all attempts: to connect, and from request to answer. None where none did."""
    connect: int | None = None
    upstream: int | None = None
    end = now
    for attempt in reversed(exchange.attempts):
        # An attempt that got no answer lasted until the next one began.
        sent, connected = attempt.sent_ns, attempt.connected_ns
        if sent is not None:
            upstream = (upstream or 0) + (attempt.first_byte_ns or end) - sent
        if connected is not None:
            connect = (connect or 0) + connected - attempt.started_ns
        elif sent is None and attempt.failure is not None:
            connect = (connect or 0) + end - attempt.started_ns
        end = attempt.started_ns
    return connect, upstream


def _ms(ns: int) -> str:
    """Nanoseconds as milliseconds to three places."""
    us = (ns + 500) // 1000
    if us < 1000:
        return _BELOW_ONE[us]
    ms = us // 1000
    return f"{ms}.{_THOUSANDTHS[us - 1000 * ms]}"


def digits(number: int) -> str:
    """A number as JSON."""
    return _DIGITS[number] if 0 <= number < 1000 else str(number)


def quoted(text: str) -> str:
    """A string as JSON."""
    found = _quoted.get(text)
    if found is None:
        found = orjson.dumps(text).decode()
        if len(text) <= QUOTED_CHARS_MAX:
            if len(_quoted) >= QUOTED_MAX:
                _quoted.clear()  # those in use are back at once
            _quoted[text] = found
    return found


def asked(exchange: Exchange, provider: str | None) -> str:
    """What was asked of whom, as members of the record: method, path, gateway and provider."""
    known = _known.get(exchange.target)
    if (
        known is not None
        and known.method == exchange.method
        and known.gateway == exchange.gateway
        and known.provider == provider
    ):
        return known.text
    path = exchange.target.partition(b"?")[0][:SHOWN_PATH_BYTES_MAX]
    text = f',"method":{quoted(exchange.method.decode("ascii", "backslashreplace"))}'
    text += f',"path":{quoted(path.decode("utf-8", "backslashreplace"))}'
    text += f',"gateway":{quoted(exchange.gateway)}'
    if provider is not None:
        text += f',"provider":{quoted(provider)}'
    if len(exchange.target) <= QUOTED_CHARS_MAX:
        if len(_known) >= QUOTED_MAX:
            _known.clear()
        _known[exchange.target] = Asked(exchange.method, exchange.gateway, provider, text)
    return text
