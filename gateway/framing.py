"""What an answer's fields say: how its body ends, and which of them go on.

llhttp has refused two lengths and a length beside an encoding. What it lets through and a proxy
must not is refused here: a transfer coding that is not plain `chunked` would be read until close,
and so would one in HTTP/1.0.

What goes on has a Date: where the upstream gave none, the time at which its head came stands behind
its fields (RFC 9110 section 6.6.1). It is put among the values, so that a shape remembers that
there is one, never which. A 101 is no answer to be dated.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.clock import date
from gateway.headers import HOP_BY_HOP, named_by_connection
from gateway.shapes import Fields, Flat, Passed, Shapes, by_table, paired

if TYPE_CHECKING:
    from gateway.upstream import Answer

_KINDS_COUNT: Final = 7
_DROP, _LENGTH, _TYPE, _ENCODING, _CODING, _CONNECTION, _DATE = range(_KINDS_COUNT)
_KINDS: Final = dict.fromkeys(HOP_BY_HOP, _DROP) | {
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"content-encoding": _ENCODING,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"date": _DATE,
}
_STAYS: Final = frozenset({_TYPE, _ENCODING, _DATE})
_SHAPES: Final = Shapes(_KINDS_COUNT, by_table(_KINDS), stays=_STAYS)
_ALONE: Final = (b"keep-alive", b"close", b"Keep-Alive", b"Close")
REASONS: Final = frozenset(status.phrase.encode() for status in HTTPStatus) | {b""}

BAD_CODING: Final = "a transfer coding that is not plain chunked"


def sort_fields(answer: Answer, flat: Flat, version: str) -> str:
    """Note framing, type and coding on the answer, and give it the fields that pass. What is wrong,
    or nothing.
    """
    values = tuple(flat[1::2])
    names = tuple(flat[::2])
    shape = _SHAPES.known.get(names) or _SHAPES.work_out(names)
    _, length, kind, encoding, coding, connection, dated = shape.at
    if (
        shape.is_odd
        or (connection >= 0 and values[connection] not in _ALONE)
        or (coding >= 0 and (values[coding] != b"chunked" or version != "1.1"))
    ):
        return _sort_slowly(answer, paired(flat), version)
    if dated < 0 and answer.status != 101:
        now = date()
        flat, values = [*flat, b"Date", now], (*values, now)
        longer = shape.longer
        if longer is None:
            longer = shape.longer = _SHAPES.work_out((*names, b"Date"))
        shape = longer
    if length >= 0:
        answer.length = values[length].strip()
    if coding >= 0:
        answer.is_coded = True
    if kind >= 0:
        answer.kind = values[kind]
    if encoding >= 0:
        answer.coding = values[encoding]
    answer.passed = Passed(flat, values, shape)
    return ""


def is_reason_safe(reason: bytes) -> bool:
    """Whether a reason phrase may be repeated: no control bytes (RFC 9112 section 4)."""
    return reason in REASONS or not any((byte < 32 and byte != 9) or byte == 127 for byte in reason)


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
    passed = [pair for pair in passed if pair[0].lower() not in named]
    if answer.status != 101 and not any(pair[0].lower() == b"date" for pair in passed):
        passed.append((b"Date", date()))
    answer.passed = Passed.only(passed)
    return wrong
