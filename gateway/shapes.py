"""The shape of a head: which fields stand where.

A client sends the same field names in the same order with every request, and so does a provider
with its answers. What follows from the names alone, which fields are special and which only pass,
is therefore worked out once per sequence of names and remembered, with a template that the values
are put into; a head of a known shape costs the same whether it has five fields or twenty-five.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

# Clients and providers in use at a time are a handful; beyond this many shapes a head is sorted out
# each time.
SHAPES_MAX: Final = 1024
# Sets of names that a shape was asked about: each provider has one.
AMONG_MAX: Final = 64
# Sets of names that a shape was asked to leave out: a credential stands in one of few fields.
WITHOUT_MAX: Final = 16
# A usual head's names take 300 bytes.
NAMES_BYTES_MAX: Final = 4096

Names = tuple[bytes, ...]
Fields = list[tuple[bytes, bytes]]
# As llhttp tells of them: name, value, name, value. Slices of it are names and values.
Flat = list[bytes]


class Shape:
    """What the names of a head's fields say.

    at: where each special field stands, by its kind; -1 where there is none. passes: the places of
    the fields that pass. names: theirs, in lower case. template: their lines, for a tuple of all
    values. is_odd: a special field stands there twice, or one whose value decides more than its own
    fate. longer: the shape with a field behind these, for whoever adds always the same.
    """

    __slots__ = (
        "_among",
        "_lower",
        "_names",
        "_without",
        "at",
        "is_odd",
        "longer",
        "names",
        "passes",
        "template",
    )

    def __init__(
        self,
        names: Names,
        at: tuple[int, ...],
        passes: tuple[int, ...],
        *,
        is_odd: bool,
    ) -> None:
        self.at = at
        self.passes = passes
        self.template = _template(names, passes)
        self.is_odd = is_odd
        self.longer: Shape | None = None
        self._names = names
        self._lower = [name.lower() for name in names]
        self.names = frozenset([self._lower[place] for place in passes])
        self._among: dict[frozenset[bytes], list[int]] = {}
        self._without: dict[Names, Shape] = {}

    def among(self, names: frozenset[bytes]) -> list[int]:
        """The places of fields that pass and bear one of these names (lower case).

        Remembered, so `names` must be one of few, such as a provider's.
        """
        places = self._among.get(names)
        if places is None:
            places = [place for place in self.passes if self._lower[place] in names]
            if len(self._among) < AMONG_MAX:
                self._among[names] = places
        return places

    def without(self, names: Names) -> Shape:
        """The shape in which no field of these names (lower case) passes. Remembered like above."""
        shape = self._without.get(names)
        if shape is None:
            passes = tuple([place for place in self.passes if self._lower[place] not in names])
            shape = Shape(self._names, self.at, passes, is_odd=self.is_odd)
            if len(self._without) < WITHOUT_MAX:
                self._without[names] = shape
        return shape


class Shapes:
    """The shapes seen so far, for one direction.

    kinds: how many there are. kind_of: the kind of a field by its name in lower case, None for one
    that only passes. stays: the kinds that are looked at and pass all the same. odd: the kinds that
    need the long way.
    """

    def __init__(
        self,
        kinds: int,
        kind_of: Callable[[bytes], int | None],
        *,
        stays: frozenset[int] = frozenset(),
        odd: frozenset[int] = frozenset(),
    ) -> None:
        self._kinds = kinds
        self._kind_of = kind_of
        self._stays = stays
        self._odd = odd
        # To be looked into first: `known.get(names) or work_out(names)`, without a call on the way.
        self.known: dict[Names, Shape] = {}

    def work_out(self, names: Names) -> Shape:
        """The shape of a head seen for the first time."""
        at = [-1] * self._kinds
        passes = []
        is_odd = False
        for place, name in enumerate(names):
            kind = self._kind_of(name.lower())
            if kind is not None:
                is_odd = is_odd or at[kind] >= 0 or kind in self._odd
                at[kind] = place
            if kind is None or kind in self._stays:
                passes.append(place)
        shape = Shape(names, tuple(at), tuple(passes), is_odd=is_odd)
        if sum(map(len, names)) <= NAMES_BYTES_MAX:
            if len(self.known) >= SHAPES_MAX:
                self.known.clear()  # those in use are back at once
            self.known[names] = shape
        return shape


class Passed:
    """The fields of a head that pass to the other side, as they came."""

    __slots__ = ("_fields", "_flat", "_shape", "_values")

    def __init__(
        self,
        flat: Flat,
        values: tuple[bytes, ...],
        shape: Shape | None,
        fields: Fields | None = None,
    ) -> None:
        self._flat = flat
        self._values = values
        self._shape = shape
        self._fields = fields

    @classmethod
    def only(cls, fields: Fields) -> Passed:
        """These fields, sorted out one by one."""
        return cls([], (), None, fields)

    @property
    def fields(self) -> Fields:
        """As pairs; the list is kept, so whoever changes it takes a copy."""
        fields = self._fields
        if fields is None:
            assert self._shape is not None
            flat = self._flat
            fields = self._fields = [
                (flat[2 * place], flat[2 * place + 1]) for place in self._shape.passes
            ]
        return fields

    def has(self, name: bytes) -> bool:
        """Whether one of them has this name (lower case)."""
        shape = self._shape
        if shape is not None:
            return name in shape.names
        return any(pair[0].lower() == name for pair in self.fields)

    def among(self, names: frozenset[bytes]) -> Fields:
        """Those with one of these names (lower case), in order."""
        shape = self._shape
        if shape is None:
            return [pair for pair in self.fields if pair[0].lower() in names]
        flat = self._flat
        return [(flat[2 * place], flat[2 * place + 1]) for place in shape.among(names)]

    def replaced(self, names: frozenset[bytes], value: bytes) -> Passed | None:
        """The same with another value in the one field of these names (lower case, and as in
        `among`); None where there is not exactly one, or where they were sorted out one by one.
        """
        shape = self._shape
        if shape is None:
            return None
        places = shape.among(names)
        if len(places) != 1:
            return None
        place = places[0]
        flat, values = self._flat.copy(), list(self._values)
        flat[2 * place + 1] = values[place] = value
        return Passed(flat, tuple(values), shape)

    def without(self, names: Names) -> Passed:
        """The same without the fields of these names (lower case; one of few tuples)."""
        shape = self._shape
        if shape is None:
            return Passed.only([pair for pair in self.fields if pair[0].lower() not in names])
        return Passed(self._flat, self._values, shape.without(names))

    def text(self) -> bytes:
        """As lines."""
        shape = self._shape
        return lines(self.fields) if shape is None else shape.template % self._values


def _template(names: Names, passes: tuple[int, ...]) -> bytes:
    """The lines of the fields that pass, for a tuple of all values."""
    text = b""
    for place, name in enumerate(names):
        if place in passes:
            text += name.replace(b"%", b"%%") + b": %b\r\n"
        else:
            text += b"%.0b"  # of its value nothing
    return text


def paired(flat: Flat) -> Fields:
    """Names and values as pairs."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def lines(items: Fields) -> bytes:
    """Fields as they stand on the wire."""
    return b"".join([b"%b: %b\r\n" % pair for pair in items])


def by_table(kinds: Mapping[bytes, int]) -> Callable[[bytes], int | None]:
    """A `kind_of` that is a mere table."""
    return kinds.get
