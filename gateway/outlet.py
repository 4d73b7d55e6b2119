"""Where an answer goes: the seam between a line and whoever asked.

A caller's connection (`gateway.caller.Caller`) is one outlet. The other two stand in for it: `Null`
where the caller left and a plugin wants the rest of the answer, `Collector` where a plugin made the
request itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.reply import Head


class CallerOutlet(Protocol):
    """What a line needs of the one who asked."""

    is_full: bool

    @property
    def may_keep(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def writelines(self, pieces: list[bytes]) -> None: ...
    def done(self, *, keep: bool) -> None: ...
    def cut(self, *, reset_too: bool) -> None: ...


class Null:
    """Swallows an answer whose caller has left, up to a bound."""

    __slots__ = ("_left", "_over", "is_full", "may_keep")

    def __init__(self, bytes_max: int, over: Callable[[], None]) -> None:
        self._left = bytes_max
        self._over = over
        self.is_full = False
        self.may_keep = False

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._over()

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def done(self, *, keep: bool) -> None:
        pass  # nobody is waiting

    def cut(self, *, reset_too: bool) -> None:
        pass  # nobody is waiting


class Collector:
    """Keeps an answer for the plugin that asked: its head as it is, its body without framing."""

    __slots__ = (
        "_bytes_max",
        "_pieces",
        "_size",
        "head",
        "is_cut",
        "is_full",
        "is_too_large",
        "may_keep",
        "over",
    )

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._size = 0
        self._pieces: list[bytes] = []
        self.head: Head | None = None
        self.over: Callable[[], None] | None = None  # called when the answer is too large
        self.is_full = False
        self.may_keep = True
        self.is_cut = False
        self.is_too_large = False

    @property
    def body(self) -> bytes:
        return b"".join(self._pieces)

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._bytes_max:
            self.is_too_large = True
            self._pieces.clear()
            if self.over is not None:
                self.over()
        else:
            self._pieces.append(data)

    def writelines(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.write(piece)

    def done(self, *, keep: bool) -> None:
        pass  # `Gateway.call` returns when the line does

    def cut(self, *, reset_too: bool) -> None:
        self.is_cut = True
