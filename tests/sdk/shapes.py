"""The shapes in which a stream may come: what the wire format allows, and what goes wrong in it.

All are framed in chunks and end properly, so that whatever an SDK makes of one, it makes of the
events. A pause stands between the parts of a shape, each of which is a chunk of its own: what is
written apart arrives apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.testing import Visit, chunk, head
from gateway.testing.scripts import CHUNKED, EVENTS
from tests.sdk.formats import Format

# Long enough for the parts to be read apart where it matters, short enough for hundreds of streams.
_APART_S: Final = 0.02
# Between the first piece of the paced stream and the rest; nobody may hold that piece back.
PACE_S: Final = 0.4

_ARROW: Final = "↓".encode()


def _plain(form: Format) -> list[bytes]:
    return [b"".join(form.events)]


def _pinged(form: Format) -> list[bytes]:
    """Put a comment before every event, as providers do to keep a connection alive."""
    return [b"".join(b": ping\n\n" + event for event in form.events)]


def _unended(form: Format) -> list[bytes]:
    return [b"".join(form.unended)]


def _crlf(form: Format) -> list[bytes]:
    return [b"".join(form.events).replace(b"\n", b"\r\n")]


def _tight(form: Format) -> list[bytes]:
    """Leave the space behind the colon out, which is optional."""
    events = [event.replace(b"event: ", b"event:", 1) for event in form.events]
    return [b"".join(event.replace(b"data: ", b"data:", 1) for event in events)]


def _split(form: Format) -> list[bytes]:
    """Cut within the word `data`, within an event's empty line, and within a character."""
    whole = b"".join(form.events)
    cuts = [2, len(form.events[0]) - 1, whole.index(_ARROW) + 1]
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]


def _failing(form: Format) -> list[bytes]:
    """Give two pieces of the text, then the error's event, and end."""
    return [b"".join(form.events[: form.shown]), form.frame]


def _called(form: Format) -> list[bytes]:
    return [b"".join(form.call)]


def _paced(form: Format) -> list[bytes]:
    """Keep all but the first piece of the text back for a while."""
    first = form.shown - 1
    return [b"".join(form.events[:first]), b"".join(form.events[first:])]


SHAPES: Final[dict[str, Callable[[Format], list[bytes]]]] = {
    "plain": _plain,
    "pinged": _pinged,
    "unended": _unended,
    "crlf": _crlf,
    "tight": _tight,
    "split": _split,
    "failing": _failing,
    "called": _called,
    "paced": _paced,
}


def play_shape(visit: Visit, form: Format, scene: str) -> None:
    """Send the parts of a shape, a chunk each."""
    visit.send(head(200, EVENTS, CHUNKED))
    for number, part in enumerate(SHAPES[scene](form)):
        if number:
            visit.pause(PACE_S if scene == "paced" else _APART_S)
        visit.send(chunk(part))
    visit.send(chunk(b""))
