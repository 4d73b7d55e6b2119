"""What a wire format has to offer, so that the server can serve them all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gateway import Event
from plugins.mock.script import Ask, Document, Script

# Answers are the same from run to run: their clock stands still, in January 2025.
CREATED: Final = 1_735_689_600
OVERLOADED: Final = "The mock provider is overloaded, as it was asked to be."


class Format(NamedTuple):
    """One format of one provider.

    read: a request's document as an `Ask`; raises `Refusal`. whole: the answer in one piece.
    frames: the same as a stream, one write each. failure: how a stream reports an error.
    error: the body of an error, by status and message. content_type: of a stream.
    """

    read: Callable[[Document], Ask]
    whole: Callable[[Ask, Script], object]
    frames: Callable[[Ask, Script], Iterator[bytes]]
    failure: bytes
    error: Callable[[int, str], Document]
    content_type: str = "text/event-stream; charset=utf-8"


def sse(data: bytes, name: str | None = None) -> bytes:
    """Write an event."""
    return Event.make(data, None if name is None else name.encode()).raw
