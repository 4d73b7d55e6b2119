"""What an answer's fields say: how its body ends, and which of them may go on.

llhttp has refused two lengths and a length beside an encoding. What it lets through and a proxy
must not is refused here: a transfer coding that is not plain `chunked` would be read until close,
and so would one in HTTP/1.0.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.headers import HOP_BY_HOP, named_by_connection
from gateway.shapes import Shapes, by_table

if TYPE_CHECKING:
    from gateway.upstream import Answer

Fields = list[tuple[bytes, bytes]]

_DROP, _LENGTH, _TYPE, _ENCODING, _CODING, _CONNECTION = range(6)
_KINDS: Final = dict.fromkeys(HOP_BY_HOP, _DROP) | {
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"content-encoding": _ENCODING,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
}
_SHAPES: Final = Shapes(by_table(_KINDS), stays=frozenset({_TYPE, _ENCODING}))
_ALONE: Final = (b"keep-alive", b"close", b"Keep-Alive", b"Close")
_REASONS: Final = frozenset(status.phrase.encode() for status in HTTPStatus) | {b""}

BAD_CODING: Final = "a transfer coding that is not plain chunked"


def sort_fields(answer: Answer, fields: Fields, version: str) -> str:
    """Note framing, type and coding on the answer, and give it the fields that pass. What is wrong,
    or nothing.
    """
    shape = _SHAPES.find(next(zip(*fields, strict=False), ()))
    at = shape.at
    if (
        shape.is_odd
        or (_CONNECTION in at and fields[at[_CONNECTION]][1] not in _ALONE)
        or (_CODING in at and (fields[at[_CODING]][1] != b"chunked" or version != "1.1"))
    ):
        return _sort_slowly(answer, fields, version)
    answer.is_coded = _CODING in at
    if _LENGTH in at:
        answer.length = fields[at[_LENGTH]][1].strip()
    if _TYPE in at:
        answer.kind = fields[at[_TYPE]][1]
    if _ENCODING in at:
        answer.coding = fields[at[_ENCODING]][1]
    for place in shape.drops:
        del fields[place]
    answer.headers.items = fields
    return ""


def is_reason_safe(reason: bytes) -> bool:
    """Whether a reason phrase may be repeated: no control bytes (RFC 9112 section 4)."""
    return reason in _REASONS or not any(
        (byte < 32 and byte != 9) or byte == 127 for byte in reason
    )


def _sort_slowly(answer: Answer, fields: Fields, version: str) -> str:
    """The same for any head: field by field."""
    passed: Fields = []
    connection: list[bytes] = []
    wrong = ""
    for pair in fields:
        kind = _KINDS.get(pair[0].lower())
        if kind == _LENGTH:
            answer.length = pair[1].strip()
        elif kind == _CODING:
            if answer.is_coded or pair[1].strip().lower() != b"chunked" or version != "1.1":
                wrong = BAD_CODING
            answer.is_coded = True
        elif kind == _CONNECTION:
            connection.append(pair[1])
        elif kind != _DROP:
            passed.append(pair)
            if kind == _TYPE:
                answer.kind = pair[1]
            elif kind == _ENCODING:
                # Packed twice is packed in a way of its own (RFC 9110 section 5.3).
                before = answer.coding
                answer.coding = pair[1] if before is None else b"%b, %b" % (before, pair[1])
    named = named_by_connection(connection) - {b"keep-alive", b"close"}
    answer.headers.items = [pair for pair in passed if pair[0].lower() not in named]
    return wrong
