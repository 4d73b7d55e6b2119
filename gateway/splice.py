"""Edits of JSON as bytes: only the bytes of the edited value change.

To decode and encode a body would change more than was asked: 1.10 becomes 1.1, a big integer a
float, a doubled key one key, and every space moves. So these functions find where a value stands
and cut there. A path is a tuple of member names and array indexes: ("messages", 0, "content").

What the grammar leaves open is settled like this. Of members of one name the last is the one that
counts and is entered, as orjson does; at the path's last step `set_value` writes to all of them, so
that no other parser reads another value, and `remove` takes all of them. A name is compared as it
reads, however it is escaped.
Strings are not checked to be UTF-8. A byte order mark stays. The whole body has to be JSON, and
what is not raises ValueError with the position; so does nesting over `DEPTH_MAX`.

One pass over the body, without recursion, and one more over each container on the path.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import orjson

from gateway.dialects.loose import read_json

# orjson refuses what is nested deeper, so nobody could have read such a body.
DEPTH_MAX: Final = 1024

Path = tuple[str | int, ...]

_BOM: Final = b"\xef\xbb\xbf"
_WS: Final = rb"[ \t\n\r]*+"
# Possessive, so that no input makes the matcher try a second way (RFC 8259, sections 6 and 7).
_STRING: Final = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+"'
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
_SCALAR: Final = rb"(?:" + _STRING + rb"|" + _NUMBER + rb"|true|false|null)"
# A container of scalars is taken in one step, like a scalar. That is many of them, and the pattern
# for deeper ones would grow fourfold with each level and gain less.
_VALUE: Final = _WS + _SCALAR + _WS
_MEMBER: Final = _WS + _STRING + _WS + rb":" + _VALUE
_FLAT: Final = b"|".join(
    rb"%b(?:%b|%b(?:,%b)*+)%b" % (opener, _WS, inside, inside, closer)
    for opener, inside, closer in ((rb"\{", _MEMBER, rb"\}"), (rb"\[", _VALUE, rb"\]"))
)

_SPACE: Final = re.compile(_WS)
_ATOM: Final = re.compile(_SCALAR + rb"|" + _FLAT)
_KEY: Final = re.compile(_WS + rb"(" + _STRING + rb")" + _WS + rb":" + _WS)
_NEXT: Final = re.compile(_WS + rb"([,\]}])")

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


class _Place(NamedTuple):
    """How far a path leads: a container, what is in it, and what of that the next step means.

    depth: the number of that step; the last one, unless nothing was found.
    """

    start: int
    items: list[_Item]
    found: list[_Item]
    depth: int


def get_span(body: bytes, path: Path) -> tuple[int, int] | None:
    """Give the start and end of the value at `path`, or None where there is none."""
    if not path:
        return _document(body)[:2]
    found = _follow(body, path).found
    return (found[-1].value, found[-1].end) if found else None


def set_value(body: bytes, path: Path, value: object) -> bytes:
    """Give the body with `value` at `path`: replaced, or inserted as a last member.

    Objects that are missing on the way are made; an index may be the next after the last. Anything
    else that does not fit the path is a ValueError.
    """
    if not path:
        start, end, _ = _document(body)
        return body[:start] + orjson.dumps(value) + body[end:]
    place = _follow(body, path)
    if not place.found:
        return _inserted(body, place, path, value)
    new = orjson.dumps(value)
    pieces = []
    end = 0
    for item in place.found:
        pieces += [body[end : item.value], new]
        end = item.end
    return b"".join([*pieces, body[end:]])


def remove(body: bytes, path: Path) -> bytes:
    """Give the body without the member or element at `path`; the same body if there is none."""
    if not path:
        raise ValueError("a document cannot be removed from itself")
    _, items, found, _ = _follow(body, path)
    if not found:
        return body
    gone = set(found)
    pieces = [body[: items[0].start]]
    for number, item in enumerate(items):
        if item in gone:
            continue
        if len(pieces) > 1:  # what stood before this one, comma included
            pieces.append(body[items[number - 1].end : item.start])
        pieces.append(body[item.start : item.end])
    pieces.append(body[items[-1].end :])
    return b"".join(pieces)


def member_names(body: bytes) -> list[str]:
    """The names of an object's members as they read, doubled ones too; none of another value."""
    start, _, items = _document(body)
    if body[start] != _OBJECT:
        return []
    return [read_json(body[item.start : item.key_end]) for item in items]


def _inserted(body: bytes, place: _Place, path: Path, value: object) -> bytes:
    start, items, _, depth = place
    step = path[depth - 1]
    for missing in reversed(path[depth:]):
        if not isinstance(missing, str):
            raise ValueError(f"no array is made for the index {missing}")  # noqa: TRY004
        value = {missing: value}
    new = orjson.dumps(value)
    if isinstance(step, str) and body[start] == _OBJECT:
        new = orjson.dumps(step) + b":" + new
    elif body[start] != _ARRAY or step != len(items):
        raise ValueError(f"nothing can be set at {step!r} of the value at byte {start}")
    at = items[-1].end if items else start + 1
    return body[:at] + (b"," if items else b"") + new + body[at:]


def _follow(body: bytes, path: Path) -> _Place:
    start, _, items = _document(body)
    depth = 1
    while True:
        found = _matching(body, items, start, path[depth - 1])
        if not found or depth == len(path):
            return _Place(start, items, found, depth)
        start = found[-1].value
        items, _ = _items(body, start)
        depth += 1


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


def _document(body: bytes) -> tuple[int, int, list[_Item]]:
    """Check that the body is JSON; give the start and end of its value, and what that holds."""
    start = _after_space(body, len(_BOM) if body.startswith(_BOM) else 0)
    items, end = _items(body, start)
    rest = _after_space(body, end)
    if rest != len(body):
        raise _fault(rest)
    return start, end, items


def _items(body: bytes, start: int) -> tuple[list[_Item], int]:
    """List what the value at `start` holds, checked in full, and give its end."""
    closer = _CLOSERS.get(body[start]) if start < len(body) else None
    if closer is None:
        return [], _end_of(body, start)  # a scalar holds nothing
    items: list[_Item] = []
    at = _after_space(body, start + 1)
    if body[at : at + 1] == b"%c" % closer:
        return items, at + 1
    while True:
        first = key_end = at
        if body[start] == _OBJECT:
            key_end, at = _after_key(body, at)
        end = _end_of(body, at, depth=1)
        items.append(_Item(first, key_end, at, end))
        sign, at = _after_sign(body, end)
        if sign == closer:
            return items, at
        if sign != _COMMA:
            raise _fault(at - 1)
        at = _after_space(body, at)


def _end_of(body: bytes, at: int, depth: int = 0) -> int:
    """Give the end of the value at `at`, checked in full, that stands in `depth` containers."""
    closers: list[int] = []
    while True:
        atom = _ATOM.match(body, at)
        if atom is None:
            if depth + len(closers) == DEPTH_MAX - 1:
                raise ValueError(f"nested deeper than {DEPTH_MAX} at byte {at}")
            at = _opened(body, at, closers)
            continue
        at = atom.end()
        while closers:
            sign, following = _after_sign(body, at)
            if sign == _COMMA:
                at = _content(body, following, closers[-1])
                break
            if sign != closers.pop():
                raise _fault(following - 1)
            at = following
        else:
            return at


def _opened(body: bytes, at: int, closers: list[int]) -> int:
    """Enter a container that holds another one, or is broken."""
    kind = body[at] if at < len(body) else 0
    if kind not in _CLOSERS:
        raise _fault(at)
    closers.append(_CLOSERS[kind])
    return _content(body, at + 1, closers[-1])


def _content(body: bytes, at: int, closer: int) -> int:
    """Give the start of the value that comes first in a container or after a comma in it."""
    return _after_key(body, at)[1] if closer == _CLOSERS[_OBJECT] else _after_space(body, at)


def _after_key(body: bytes, at: int) -> tuple[int, int]:
    """Give the end of a key, and where its value starts."""
    key = _KEY.match(body, at)
    if key is None:
        raise _fault(_after_space(body, at))
    return key.end(1), key.end()


def _after_sign(body: bytes, at: int) -> tuple[int, int]:
    """Give the comma or bracket that follows a value, and where the next thing starts."""
    found = _NEXT.match(body, at)
    if found is None:
        raise _fault(_after_space(body, at))
    return body[found.start(1)], found.end()


def _after_space(body: bytes, at: int) -> int:
    found = _SPACE.match(body, at)
    assert found is not None  # it matches nothing, too
    return found.end()


def _fault(at: int) -> ValueError:
    return ValueError(f"not JSON at byte {at}")
