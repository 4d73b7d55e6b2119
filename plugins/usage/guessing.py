"""A guess at how much a stream wrote, for one that ends without its provider's count.

No event is decoded for it. Events are alike but for their text, so it is enough to know how many
there were, how large they were together, and of a few what is text in them.
"""

from __future__ import annotations

import re
from typing import Final

from gateway import BYTES_PER_TOKEN

# The members that hold a piece of the answer, in whichever format; a cut string counts, too.
_TEXT: Final = re.compile(
    rb'"(?:text|content|delta|reasoning_content|reasoning|thinking|arguments|partial_json|input'
    rb'|response)"\s*+:\s*+"((?:[^"\\]|\\.)*+)'
)
# What a call of a tool is beside its arguments: its name, and what a provider wraps it in.
_CALL: Final = b'"name":'
_CALL_BYTES: Final = 40
# Samples grow rarer as a stream grows longer, and are kept as they are until they are needed.
_SAMPLES_BYTES_MAX: Final = 16 * 1024


def text_bytes(raw: bytes) -> int:
    """How much of an event or a document is the answer's text."""
    return sum(map(len, _TEXT.findall(raw))) + raw.count(_CALL) * _CALL_BYTES


class Written:
    """Of one stream: how much was written, as far as can be guessed."""

    __slots__ = ("_next", "_room", "_samples", "_size", "parts")

    def __init__(self) -> None:
        self.parts = 0  # events that carry a piece of the answer
        self._size = 0
        self._samples: list[bytes] = []
        self._room = _SAMPLES_BYTES_MAX
        self._next = 1

    def part(self, raw: bytes) -> None:
        """Count such an event."""
        size = len(raw)
        self._size += size
        parts = self.parts = self.parts + 1
        if parts >= self._next and size <= self._room:
            self._room -= size
            self._next = parts + 1 + (parts >> 3)
            self._samples.append(raw)

    def tokens(self) -> int:
        """Guess how many tokens came: of text by its bytes, and hardly fewer than events."""
        if not self._samples:
            return self.parts
        share = sum(map(text_bytes, self._samples)) / sum(map(len, self._samples))
        return max(round(self._size * share / BYTES_PER_TOKEN), self.parts)
