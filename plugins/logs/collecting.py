"""What is kept of bodies while they pass, and handed over for the rest to be done elsewhere.

The loop of the requests does nothing here but to copy bytes, within bounds: what bodies mean, and
what of them must not be kept, is seen to on the writer's thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway import Exchange

from .rules import Rule

# So much more than is stored is looked at, so that what rules blank is not missed because the cut
# goes through it.
OVERLAP_BYTES: Final = 4096
_KIND: Final = frozenset({b"content-type"})
# Fields in which callers show who they are; what they hold must not be in a row.
_CREDENTIALS: Final = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"cf-aig-authorization",
        b"weir-authorization",
        b"x-amz-security-token",
        b"cookie",
    }
)
# Shorter values would tear words out of bodies.
_CREDENTIAL_BYTES_MIN: Final = 8


class Side(NamedTuple):
    """One side's body as it came. type: as its field says. size: of all that passed."""

    data: bytes | bytearray
    type: bytes
    size: int


class Passed(NamedTuple):
    """An exchange that is over and its bodies, for the writer.

    bytes_max: of each body in the store. rules: what to blank. credentials: so are these values.
    """

    entry: bytes
    request: Side | None
    response: Side | None
    bytes_max: int
    rules: tuple[Rule, ...]
    credentials: tuple[bytes, ...]


class Tally:
    """The bytes of all bodies that are collected or wait, and of the entries that wait.

    Two threads count, each in a number of its own.
    """

    __slots__ = ("_bytes_max", "came", "went")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.came = 0  # on the loop of the requests
        self.went = 0  # on the writer's thread

    @property
    def room(self) -> int:
        return self._bytes_max - self.came + self.went


class Collector:
    """Keeps the beginning of an answer's body. A tap."""

    __slots__ = ("_room", "_tally", "data", "size", "type")

    def __init__(self, tally: Tally, bytes_max: int, kind: bytes) -> None:
        self._tally = tally
        self._room = bytes_max + OVERLAP_BYTES
        self.data = bytearray()
        self.type = kind
        self.size = 0

    def __call__(self, data: bytes) -> None:
        length = len(data)
        self.size += length
        if self._room <= 0:
            return
        kept = min(length, self._room)
        if self._tally.room < kept:
            self._room = 0  # and so for good: what has a gap is no body
            return
        self._tally.came += kept
        self._room -= kept
        self.data += data if kept == length else data[:kept]

    def side(self) -> Side | None:
        """What was kept; None where nothing came."""
        return Side(self.data, self.type, self.size) if self.size else None


def kind_of_answer(exchange: Exchange) -> bytes:
    """The content type of the answer that goes to the caller; b"" where nobody said one."""
    attempt = exchange.attempt
    found = () if attempt is None else attempt.response_among(_KIND)
    return found[0][1] if found else b""


def side_of_request(exchange: Exchange, bytes_max: int) -> Side | None:
    """The caller's body, where somebody has read it."""
    body = exchange.body
    if not body:
        return None
    found = [value for name, value in _pairs(exchange) if name.lower() in _KIND]
    return Side(body[: bytes_max + OVERLAP_BYTES], found[0] if found else b"", len(body))


def credentials_of(exchange: Exchange) -> tuple[bytes, ...]:
    """What the caller's own credentials are, without the words before them ("Bearer")."""
    found = (
        value.rpartition(b" ")[2]
        for name, value in _pairs(exchange)
        if name.lower() in _CREDENTIALS
    )
    return tuple(value for value in found if len(value) >= _CREDENTIAL_BYTES_MIN)


def _pairs(exchange: Exchange) -> Iterator[tuple[bytes, bytes]]:
    flat = exchange.flat
    return zip(flat[::2], flat[1::2], strict=True)
