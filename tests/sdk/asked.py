"""What is asked of an SDK, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, NamedTuple

# What the caller pays with.
KEY: Final = "sk-of-the-caller"


class Question(NamedTuple):
    """base: the base URL, as the SDK wants it. key: None to bring none."""

    base: str
    model: str
    streaming: bool = False
    headers: Mapping[str, str] = {}
    key: str | None = KEY


class Fault(NamedTuple):
    """What an SDK raised. kinds: the names of its class and of those above it."""

    kinds: tuple[str, ...]
    status: int | None
    text: str


class Got:
    """What an SDK gave. arrived_s: when each piece of the text came (monotonic clock)."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.arrived_s: list[float] = []
        self.fault: Fault | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def kinds(self) -> tuple[str, ...]:
        return () if self.fault is None else self.fault.kinds

    def add(self, piece: str | None) -> None:
        if piece:
            self.pieces.append(piece)
            self.arrived_s.append(time.monotonic())

    def raised(self, error: Exception) -> None:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        kinds = tuple(kind.__name__ for kind in type(error).__mro__)
        body = getattr(error, "body", "")
        self.fault = Fault(kinds, status if isinstance(status, int) else None, f"{error} {body}")
