"""Reads what a PATCH sets."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from .records import Change

_WANTED: Final = {
    "feedback": "1, -1 or null",
    "score": "a number from -1e9 to 1e9, or null",
    "metadata": "null or an object of at most 50 texts, numbers and booleans",
}
_AT: Final = re.compile(r"`\$\.(\w+)|unknown field `([^`]*)`")


def read_change(body: bytes) -> Change:
    """What a PATCH sets. ValueError names the field."""
    try:
        change = msgspec.json.decode(body, type=Change)
    except msgspec.ValidationError as error:
        at = _AT.search(str(error))
        if at is None:
            text = 'wanted an object such as {"feedback": 1}'
        elif at[1] is None:
            text = f"{at[2]}: there is no such field; wanted {', '.join(_WANTED)}"
        else:
            text = f"{at[1]}: wanted {_WANTED[at[1]]}"
        raise ValueError(text) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"the body is no JSON: {error}") from None
    if change == Change():
        raise ValueError(f"wanted {', '.join(_WANTED)}, or some of them")
    return change
