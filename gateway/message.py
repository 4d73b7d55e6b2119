"""Heads on the wire: which fields pass from one side to the other, and how a head is written.

Two messages are written here, the request to an upstream and the answer to a caller, and nothing
else decides what is in them: the fields as they came, minus those of the hop, plus Host, framing
and Connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import OwnFault
from gateway.framing import is_reason_safe
from gateway.headers import HOP_BY_HOP
from gateway.refusal import reason_of

if TYPE_CHECKING:
    from gateway.exchange import Attempt
    from gateway.headers import Headers
    from gateway.reply import Head

OK: Final = b"HTTP/1.1 200 OK\r\n"  # as nearly always
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
CLOSE: Final = b"Connection: close\r\n"
KEEP: Final = b"Connection: keep-alive\r\n"  # HTTP/1.0 only: there it has to be said

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_NEVER_UP: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
# Status lines are few; the cache is bounded because the reason phrase is the upstream's.
_STATUS_LINES_MAX: Final = 256
_status_lines: Final[dict[tuple[int, bytes], bytes]] = {}


def request_head(method: bytes, attempt: Attempt, framing: bytes) -> bytes:
    """The head of the request to the upstream. framing: the lines that say how long the body is.

    Raises `OwnFault` for a field of a plugin that would break the head.
    """
    target = attempt.target
    edited = attempt.edited
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
        method,
        target.path,
        target.origin.host_header,
        attempt.came.text() if edited is None else _edited(edited, _NEVER_UP),
        framing,
    )


def answer_head(head: Head, framing: bytes) -> bytes:
    """The head of the answer to the caller. framing: its length or coding, and Connection where
    there is something to say. Raises `OwnFault` as above.
    """
    return b"%b%b%b\r\n" % (
        status_line(head.status, head.reason),
        _edited(head.headers, _FRAMING),
        framing,
    )


def _edited(headers: Headers, never: frozenset[bytes]) -> bytes:
    """Fields that plugins have had in their hands: those that came are good, the rest is judged."""
    text = judged = b""
    came, made = headers.came, headers.added
    if made is None:
        made = headers.items
        if came is not None:
            known = came.fields
            count = len(known)
            if made[:count] == known:
                text, made = came.text(), made[count:]
    elif came is not None:
        text = came.text()
    for name, value in made:
        if name.lower() not in never:
            text = b"%b%b: %b\r\n" % (text, name, value)
            judged = b"%b%b%b" % (judged, name, value)
    if 13 in judged or 10 in judged or 0 in judged:
        # CR, LF, NUL: a plugin's value must not be able to end its line.
        raise OwnFault("The gateway made a field that cannot be sent.", code="bad_field",
                       detail="a plugin set a field with a line break or NUL in it")  # fmt: skip
    return text


def status_line(status: int, reason: bytes) -> bytes:
    """The first line of an answer; `OwnFault` for one that a plugin spoiled."""
    if status == 200 and reason == b"OK":
        return OK
    line = _status_lines.get((status, reason))
    if line is not None:
        return line
    if not 100 <= status <= 999 or not is_reason_safe(reason):
        raise OwnFault(
            "The gateway made an answer that cannot be sent.",
            code="bad_status",
            detail="a plugin set a status outside 100..999 or control bytes in the reason",
        )
    line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    if len(_status_lines) < _STATUS_LINES_MAX:
        _status_lines[status, reason] = line
    return line


__all__ = [
    "CHUNKED",
    "CLOSE",
    "KEEP",
    "answer_head",
    "reason_of",
    "request_head",
    "status_line",
]
