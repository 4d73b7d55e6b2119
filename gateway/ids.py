"""Ids: UUIDv7 in text (RFC 9562 section 5.7), in the order in which they are made.

Ids of one millisecond share its time and its random half, and count up in between (section 6.2,
method 1): a millisecond costs what one id would, and the ids cost next to nothing.
"""

from __future__ import annotations

import os
import time
from typing import Final

_time_ns: Final = time.time_ns  # see `gateway.clock`
_COUNTS: Final = tuple([f"{count:03x}" for count in range(4096)])
_VARIANTS: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class Millisecond:
    """What the ids of the present millisecond have in common."""

    __slots__ = ("count", "ms", "random_half", "time_half")

    def __init__(self) -> None:
        self.ms = 0
        self.count = 0
        self.time_half = ""
        self.random_half = ""

    def begin(self, ms: int) -> None:
        random = os.urandom(9)
        text = (ms.to_bytes(6, "big") + random).hex()
        self.ms = ms
        self.count = random[8]  # begins anywhere in the first sixteenth
        self.time_half = f"{text[:8]}-{text[8:12]}-7"
        self.random_half = f"-{_VARIANTS[text[12]]}{text[13:16]}-{text[16:28]}"


_now: Final = Millisecond()


def uuid7() -> str:
    """A new id."""
    now = _now
    ms = _time_ns() // 1_000_000
    now.count += 1
    if ms != now.ms or now.count > 4095:
        now.begin(ms)
    return f"{now.time_half}{_COUNTS[now.count]}{now.random_half}"
