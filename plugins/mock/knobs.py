"""How a request to the mock asks for trouble, and for how much."""

from __future__ import annotations

import re
from typing import Final

import msgspec

HEADER: Final = "x-mock"
MODEL_PREFIX: Final = "mock-"
# "slow" waits this long for its first byte, and this many times longer for each token.
SLOW_START_S: Final = 2.0
SLOW_FACTOR: Final = 10

_WORD: Final = re.compile(r"\b(cut|overloaded|silent|slow|error-([45][0-9]{2}))\b")


class Knobs(msgspec.Struct, frozen=True):
    """The plugin's docstring says what each does. error: a status, or None."""

    error: int | None = None
    cut: bool = False
    overloaded: bool = False
    silent: bool = False
    slow: bool = False


def knobs_of(model: str, header: str) -> Knobs:
    """Read the header, and the model's name if it is one of the mock's own."""
    own = model.removeprefix(MODEL_PREFIX) if model.startswith(MODEL_PREFIX) else ""
    found = _WORD.findall(f"{header} {own}")
    words = {word for word, _ in found}
    return Knobs(
        error=next((int(status) for _, status in found if status), None),
        cut="cut" in words,
        overloaded="overloaded" in words,
        silent="silent" in words,
        slow="slow" in words,
    )
