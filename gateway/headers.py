"""HTTP fields as they stood on the wire, and the rules for passing them on.

A field list keeps order, case and duplicates, because a proxy that reorders or folds fields changes
what its neighbours see. Names are compared as lower-case bytes. What a hop must not pass on is
decided here for both directions (RFC 9110 section 7.6.1); who calls it, and when, is the business
of the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gateway.shapes import Fields, Passed

# Fields that speak about one connection only (RFC 9110 section 7.6.1; proxy-connection is an old
# client habit). Expect is ours to answer: a 100 goes out only after `authenticate`. Content-Length
# and Transfer-Encoding are framing and set by whoever writes the message.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


NONE: Final[Fields] = []


class Headers:
    """An ordered list of (name, value) pairs, names in the case they came in.

    Look-ups take the name in lower case: `headers.get(b"content-type")`.

    came: the fields as they came, where this began as those of a head that passes. Most plugins
    only append; as long as nobody does more, no list of all pairs is made, and what came goes on as
    the text that its shape makes of it.
    """

    __slots__ = ("_added", "_items", "came")

    def __init__(self, items: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.came: Passed | None = None
        # A list is taken over, not copied: on the hot path it is already ours.
        self._items: Fields | None = items if type(items) is list else list(items)
        self._added: Fields = NONE

    @staticmethod
    def over(came: Passed) -> Headers:
        """What came in a head, to be added to and changed; `came` stays as it is."""
        headers = Headers(NONE)
        headers.came = came
        headers._items = None
        headers._added = []
        return headers

    @property
    def items(self) -> Fields:
        """All fields in order; whoever changes the list changes the head."""
        items = self._items
        if items is None:
            assert self.came is not None
            items = self._items = self.came.fields + self._added
        return items

    @items.setter
    def items(self, items: Fields) -> None:
        self._items = items

    @property
    def added(self) -> Fields | None:
        """What stands behind `came`; None where that is not all that was changed."""
        return self._added if self._items is None else None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]  # a list of fields changes

    def __repr__(self) -> str:
        # Values may be credentials, so only the names show.
        return f"Headers({[name.decode('latin-1') for name, _ in self.items]})"

    def get(self, name: bytes) -> bytes | None:
        """The first value of that name, or None."""
        if self._items is None and not self._has(name):
            return None
        for have, value in self.items:
            if have.lower() == name:
                return value
        return None

    def all(self, name: bytes) -> list[bytes]:
        """Every value of that name, in order."""
        return [value for have, value in self.items if have.lower() == name]

    def among(self, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
        """The fields with one of these names (lower case), in order."""
        if self._items is None and not self._added:
            assert self.came is not None
            return self.came.among(names)
        return [pair for pair in self.items if pair[0].lower() in names]

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field, whatever is there already."""
        items = self._items
        if items is None:
            items = self._added
        items.append((name, value))

    def set(self, name: bytes, value: bytes) -> None:
        """Replace the first field of that name in its place and drop the others, or append one."""
        lower = name.lower()
        if self._items is None and not self._has(lower):
            self._added.append((name, value))
            return
        found = [place for place, pair in enumerate(self.items) if pair[0].lower() == lower]
        if not found:
            self.items.append((name, value))
            return
        first, *others = found
        self.items[first] = (name, value)
        for place in reversed(others):
            del self.items[place]

    def drop(self, name: bytes) -> None:
        """Remove every field of that name (lower case)."""
        self.items = [pair for pair in self.items if pair[0].lower() != name]

    def copy(self) -> Headers:
        return Headers(self.items.copy())

    def _has(self, name: bytes) -> bool:
        assert self.came is not None
        return self.came.has(name) or any(pair[0].lower() == name for pair in self._added)


def named_by_connection(values: Iterable[bytes]) -> frozenset[bytes]:
    """The field names that the values of Connection list, in lower case (`close` and `keep-alive`
    among them).
    """
    return frozenset(token.strip().lower() for value in values for token in value.split(b",")) - {
        b""
    }


def is_field_safe(name: bytes, value: bytes) -> bool:
    """Whether a field that a plugin made may go on the wire: no line can be smuggled in it."""
    return (
        bool(name) and not _forbidden(name, b"\r\n\x00: \t") and not _forbidden(value, b"\r\n\x00")
    )


def _forbidden(text: bytes, bad: bytes) -> bool:
    return any(byte in bad for byte in text)
