"""Events that differ from an earlier one in nothing but text, told apart in a few comparisons.

Nearly all events of a stream are alike but for a word. A name stands in quotes, so an event whose
quotes are those of an event that says nothing, with the same between them but for some values
without a quote, says nothing either. That is cheaper to see than to look for names.
"""

from __future__ import annotations

from typing import Final

_QUOTE: Final = b'"'
# Values that may differ: a piece of text, a number that counts events, a padding.
_VALUES_MAX: Final = 4
# No stream changes its frame so often; one that does is not worth learning from.
_LESSONS_MAX: Final = 32
# What no event begins with.
_NOTHING: Final = b"\0"


class Likeness:
    """What the events of one stream have in common."""

    __slots__ = ("_before", "_first", "_lessons", "_rest", "_start")

    def __init__(self) -> None:
        self._first = _NOTHING
        self._start = len(_NOTHING)
        self._rest: list[bytes] = []  # each begins with the quote that ends a value, or with a name
        self._before: bytes | None = None
        self._lessons = _LESSONS_MAX

    def holds(self, raw: bytes) -> bool:
        """Whether an event is like those that were learned from."""
        at = self._start
        if raw[:at] != self._first:
            return False
        for piece in self._rest:
            at = raw.find(_QUOTE, at)
            end = at + len(piece)
            if raw[at:end] != piece:  # to cut and compare costs half of `startswith`
                return False
            at = end
        return at == len(raw)

    def learn(self, raw: bytes) -> None:
        """Learn from an event that says nothing, by what it has in common with the one before."""
        if self._lessons == 0:
            return
        self._lessons -= 1
        before, self._before = self._before, raw
        if before is None or b"\\" in raw or b"\\" in before:
            return
        ours, theirs = raw.split(_QUOTE), before.split(_QUOTE)
        if len(ours) != len(theirs):
            return
        differ = [
            at for at, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other
        ]
        if not 0 < len(differ) <= _VALUES_MAX or not all(_may_differ(ours, at) for at in differ):
            return
        pieces = []
        start = 0
        for at in (*differ, len(ours)):
            pieces.append(_QUOTE.join([b"", *ours[start:at], b""]))
            start = at + 1
        self._first = pieces[0][1:]
        self._start = len(self._first)
        self._rest = [*pieces[1:-1], pieces[-1][:-1]]


def _may_differ(parts: list[bytes], at: int) -> bool:
    """Whether a part is a string that is a value, or what stands between two strings; a response
    is known by its `object`.
    """
    if at in (0, len(parts) - 1):
        return False
    return at % 2 == 0 or (parts[at - 1].strip() == b":" and parts[at - 2] != b"object")
