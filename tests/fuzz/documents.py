"""Edits of JSON by its bytes, against the same edits of the document that orjson reads."""

from __future__ import annotations

import json
import random

import orjson

from gateway.splice import Path, get_span, remove, set_value
from tests.fuzz.mutants import dice_of
from tests.gateway.test_splice import look, with_value, without

VALUES: tuple[object, ...] = ("x", 1, None, [], {"a": [1.5]}, "é\n")
NAMES = ("a", "model", "messages", "no such")


def splice(data: bytes) -> None:
    """What orjson reads can be found and edited, what it does not read is refused."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        reason = str(error)
        assert is_refused(data) or is_excused(data, reason)
        return
    dice = dice_of(data)
    for _ in range(3):
        path = path_into(document, dice)
        spans(data, document, path)
        edits(data, document, path, dice.choice(VALUES))


def is_refused(data: bytes) -> bool:
    try:
        get_span(data, ())
    except ValueError:
        return True
    return False


def is_excused(data: bytes, reason: str) -> bool:
    """Whether it is one of the things that the module lets through on purpose."""
    known = ("UTF-8", "surrogate", "infinity")
    return any(what in reason for what in known) or data.startswith(b"\xef\xbb\xbf")


def path_into(document: object, dice: random.Random) -> Path:
    """Choose a path that mostly exists."""
    path: list[str | int] = []
    while dice.random() < 0.8:
        known = [*document] if isinstance(document, dict) else []
        if isinstance(document, list):
            known = list(range(len(document) + 1))
        step = dice.choice([*known, *known, dice.choice(NAMES), 0])
        path.append(step)
        found = look(document, (step,))
        document = found[0] if found else None
        if not found and dice.random() < 0.5:
            break
    return tuple(path)


def spans(data: bytes, document: object, path: Path) -> None:
    span = get_span(data, path)
    found = look(document, path)
    assert ([] if span is None else [orjson.loads(data[slice(*span)])]) == found
    assert bool(found) == (span is not None)


def edits(data: bytes, document: object, path: Path, value: object) -> None:
    try:
        expected = with_value(document, path, value)
    except ValueError:
        expected = ValueError
    try:
        changed = set_value(data, path, value)
    except ValueError:
        assert expected is ValueError
    else:
        assert orjson.loads(changed) == expected
        untouched(data, changed, path, orjson.dumps(value))
    if not path:
        return
    left = remove(data, path)
    assert orjson.loads(left) == without(document, path)
    assert get_span(data, path) is not None or left == data
    rest = iter(data)
    assert all(byte in rest for byte in left)


def is_doubled(data: bytes) -> bool:
    """Whether any object has two members of one name."""
    doubled: list[bool] = []
    json.loads(data, object_pairs_hook=lambda pairs: doubled.append(len(dict(pairs)) < len(pairs)))
    return any(doubled)


def untouched(data: bytes, changed: bytes, path: Path, new: bytes) -> None:
    """See that only the value's bytes changed, or that bytes were only added."""
    span = get_span(data, path)
    if span is None:
        rest = iter(changed)
        assert all(byte in rest for byte in data)
        return
    start, end = span
    assert changed.endswith(new + data[end:])
    if not is_doubled(data):
        assert changed == data[:start] + new + data[end:]
