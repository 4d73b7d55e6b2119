"""Edits of JSON as bytes: only the bytes of the edited value change.

To decode and encode a body would change more than was asked: 1.10 becomes 1.1, a big integer a
float, a doubled key one key, and every space moves. So these functions find where a value stands
and cut there. A path is a tuple of member names and array indexes: ("messages", 0, "content").

What the grammar leaves open is settled like this. Of members of one name the last is the one that
counts, as for orjson; `set_value` writes to all of them, so that no other parser reads another
value, and `remove` takes all of them. A name is compared as it reads, however it is escaped.
Strings are not checked to be UTF-8. A byte order mark stays. The whole body has to be JSON, and
what is not raises ValueError with the position; so does nesting over `DEPTH_MAX`.

One pass over the body, without recursion, and one more over each container on the path.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import orjson

# orjson refuses what is nested deeper, so nobody could have read such a body.
DEPTH_MAX: Final = 1024

Path = tuple[str | int, ...]

_BOM: Final = b"\xef\xbb\xbf"
_WS: Final = rb"[ \t\n\r]*+"
# Possessive, so that no input makes the matcher try a second way (RFC 8259, sections 6 and 7).
_STRING: Final = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
_SCALAR: Final = rb"(?:" + _STRING + rb"|" + _NUMBER + rb"|true|false|null)"
# A container of scalars is taken in one step: that is most of what bodies consist of.
_FIELD: Final = _WS + _STRING + _WS + rb":" + _WS + _SCALAR + _WS
_ELEMENT: Final = _WS + _SCALAR + _WS
_FLAT: Final = (
    rb"\{(?:" + _WS + rb"|" + _FIELD + rb"(?:," + _FIELD + rb")*+)\}"
    rb"|\[(?:" + _WS + rb"|" + _ELEMENT + rb"(?:," + _ELEMENT + rb")*+)\]"
)  # fmt: skip

_SPACE: Final = re.compile(_WS)
_ATOM: Final = re.compile(rb"(?:" + _SCALAR + rb"|" + _FLAT + rb")")
_KEY: Final = re.compile(_WS + rb"(" + _STRING + rb")" + _WS + rb":" + _WS)
_NEXT: Final = re.compile(_WS + rb"([,\]}])" + _WS)

_OBJECT: Final = ord("{")
_ARRAY: Final = ord("[")
_COMMA: Final = ord(",")
_CLOSERS: Final = {_OBJECT: ord("}"), _ARRAY: ord("]")}


class _Item(NamedTuple):
    """A member or an element: where it starts (a member with its key), its key, its value."""

    start: int
    key_end: int
    value: int
    end: int


def get_span(body: bytes, path: Path) -> tuple[int, int] | None:
    """Give the start and end of the value at `path`, or None where there is none."""
    span = _document(body)
    for step in path:
        found = _matching(body, _items(body, span[0])[0], span[0], step)
        if not found:
            return None
        span = found[-1].value, found[-1].end
    return span


def set_value(body: bytes, path: Path, value: object) -> bytes:
    """Give the body with `value` at `path`: replaced, or inserted as a last member.

    Objects that are missing on the way are made; an index may be the next after the last. Anything
    else that does not fit the path is a ValueError.
    """
    start, end = _document(body)
    for number, step in enumerate(path):
        items, close = _items(body, start)
        found = _matching(body, items, start, step)
        last = number == len(path) - 1
        if not found:
            made = _nested(path[number + 1 :], value)
            return _inserted(body, (start, close), items, step, made)
        if last:
            return _replaced(body, found, orjson.dumps(value))
        start, end = found[-1].value, found[-1].end
    return body[:start] + orjson.dumps(value) + body[end:]


def remove(body: bytes, path: Path) -> bytes:
    """Give the body without the member or element at `path`; the same body if there is none."""
    if not path:
        raise ValueError("a document cannot be removed from itself")
    parent = get_span(body, path[:-1])
    if parent is None:
        return body
    items, _ = _items(body, parent[0])
    gone = set(_matching(body, items, parent[0], path[-1]))
    if not gone:
        return body
    pieces = [body[: items[0].start]]
    for number, item in enumerate(items):
        if item in gone:
            continue
        if len(pieces) > 1:  # what stood before this one, comma included
            pieces.append(body[items[number - 1].end : item.start])
        pieces.append(body[item.start : item.end])
    pieces.append(body[items[-1].end :])
    return b"".join(pieces)


def _replaced(body: bytes, items: list[_Item], value: bytes) -> bytes:
    pieces = []
    end = 0
    for item in items:
        pieces += [body[end : item.value], value]
        end = item.end
    return b"".join([*pieces, body[end:]])


def _inserted(
    body: bytes, container: tuple[int, int], items: list[_Item], step: str | int, value: object
) -> bytes:
    start, close = container
    new = orjson.dumps(value)
    if isinstance(step, str) and body[start] == _OBJECT:
        new = orjson.dumps(step) + b":" + new
    elif body[start] != _ARRAY or step != len(items):
        raise ValueError(f"nothing can be set at {step!r} of the value at byte {start}")
    if items:
        at = items[-1].end
        return body[:at] + b"," + new + body[at:]
    return body[: start + 1] + new + body[start + 1 :]


def _nested(path: Path, value: object) -> object:
    """Wrap a value in the objects that a path asks for."""
    for step in reversed(path):
        if not isinstance(step, str):
            raise ValueError(f"no array is made for the index {step}")  # noqa: TRY004
        value = {step: value}
    return value


def _matching(body: bytes, items: list[_Item], start: int, step: str | int) -> list[_Item]:
    """Choose the items of a container that a step means; more than one where a key is doubled."""
    if isinstance(step, int):
        if body[start] == _ARRAY and 0 <= step < len(items):
            return [items[step]]
        return []
    if body[start] != _OBJECT:
        return []
    plain = orjson.dumps(step)
    return [item for item in items if _is_key(body[item.start : item.key_end], step, plain)]


def _is_key(written: bytes, key: str, plain: bytes) -> bool:
    if written == plain:
        return True
    if b"\\" not in written:
        return False
    try:
        return bool(orjson.loads(written) == key)
    except orjson.JSONDecodeError:
        return False  # half of a surrogate pair is no name that anybody could ask for


def _document(body: bytes) -> tuple[int, int]:
    """Check that the body is JSON and give the span of its value."""
    start = _SPACE.match(body, len(_BOM) if body.startswith(_BOM) else 0).end()
    end = _end_of(body, start)
    rest = _SPACE.match(body, end).end()
    if rest != len(body):
        raise _fault(rest)
    return start, end


def _items(body: bytes, start: int) -> tuple[list[_Item], int]:
    """List what a container holds, with the place of its closing bracket. A scalar holds nothing."""
    items: list[_Item] = []
    kind = body[start]
    at = _SPACE.match(body, start + 1).end()
    if kind not in _CLOSERS or body[at] == _CLOSERS[kind]:
        return items, at
    while True:
        first = key_end = at
        if kind == _OBJECT:
            key = _KEY.match(body, at)
            key_end, at = key.end(1), key.end()
        end = _end_of(body, at)
        items.append(_Item(first, key_end, at, end))
        following = _NEXT.match(body, end)
        if following[1] != b",":
            return items, following.start(1)
        at = following.end()


def _end_of(body: bytes, at: int) -> int:
    """Give the end of the value that starts at `at`, checked in full."""
    closers: list[int] = []
    while True:
        atom = _ATOM.match(body, at)
        if atom is None:
            at = _opened(body, at, closers)
            continue
        at = atom.end()
        while closers:
            following = _NEXT.match(body, at)
            if following is None:
                raise _fault(_SPACE.match(body, at).end())
            at = following.end()
            sign = body[following.start(1)]
            if sign == _COMMA:
                if closers[-1] == _CLOSERS[_OBJECT]:
                    at = _after_key(body, at)
                break
            if sign != closers.pop():
                raise _fault(following.start(1))
            at = following.end(1)
        else:
            return at


def _opened(body: bytes, at: int, closers: list[int]) -> int:
    kind = body[at] if at < len(body) else 0
    if kind not in _CLOSERS:
        raise _fault(at)
    if len(closers) == DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX} at byte {at}")
    closers.append(_CLOSERS[kind])
    at = _SPACE.match(body, at + 1).end()
    return _after_key(body, at) if kind == _OBJECT else at


def _after_key(body: bytes, at: int) -> int:
    key = _KEY.match(body, at)
    if key is None:
        raise _fault(at)
    return key.end()


def _fault(at: int) -> ValueError:
    return ValueError(f"not JSON at byte {at}")
