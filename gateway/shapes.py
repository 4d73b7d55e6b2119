"""The shape of a head: which fields stand where.

A client sends the same field names in the same order with every request, and so does a provider
with its answers. What follows from the names alone, which fields are special and which only pass,
is therefore worked out once per sequence of names and remembered; a head of a known shape costs the
same whether it has five fields or twenty-five.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

# Clients and providers in use at a time are a handful; beyond this many shapes a head is sorted out
# each time.
SHAPES_MAX: Final = 1024

Names = tuple[bytes, ...]


class Shape:
    """What the names of a head's fields say.

    at: where each special field stands, by its kind. drops: the places of fields that do not pass,
    last first.
    is_odd: a special field stands there twice, or one whose value decides more than its own fate.
    """

    __slots__ = ("at", "drops", "is_odd")

    def __init__(self, at: dict[int, int], drops: tuple[int, ...], *, is_odd: bool) -> None:
        self.at = at
        self.drops = drops
        self.is_odd = is_odd


class Shapes:
    """The shapes seen so far, for one direction.

    kind_of: the kind of a field by its name in lower case, None for one that only passes. stays:
    the kinds that are looked at and pass all the same. odd: the kinds that need the long way.
    """

    def __init__(
        self,
        kind_of: Callable[[bytes], int | None],
        *,
        stays: frozenset[int] = frozenset(),
        odd: frozenset[int] = frozenset(),
    ) -> None:
        self._kind_of = kind_of
        self._stays = stays
        self._odd = odd
        self._known: dict[Names, Shape] = {}

    def find(self, names: Names) -> Shape:
        shape = self._known.get(names)
        if shape is None:
            shape = self._work_out(names)
            if len(self._known) < SHAPES_MAX:
                self._known[names] = shape
        return shape

    def _work_out(self, names: Names) -> Shape:
        at: dict[int, int] = {}
        drops = []
        is_odd = False
        for place, name in enumerate(names):
            kind = self._kind_of(name.lower())
            if kind is None:
                continue
            is_odd = is_odd or kind in at or kind in self._odd
            at[kind] = place
            if kind not in self._stays:
                drops.append(place)
        return Shape(at, tuple(reversed(drops)), is_odd=is_odd)


def by_table(kinds: Mapping[bytes, int]) -> Callable[[bytes], int | None]:
    """A `kind_of` that is a mere table."""
    return kinds.get
