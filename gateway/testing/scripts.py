"""Ready scripts for the scripted upstream, and the pieces to make one's own from."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from gateway.testing.upstream import Script
from gateway.testing.visit import Visit
from gateway.testing.wire import chunk

JSON: Final = (b"Content-Type", b"application/json")
EVENTS: Final = (b"Content-Type", b"text/event-stream")
CHUNKED: Final = (b"Transfer-Encoding", b"chunked")
CLOSE: Final = (b"Connection", b"close")


def head(status: int, *fields: tuple[bytes, bytes]) -> bytes:
    """Make the head of an answer."""
    reason = HTTPStatus(status).phrase.encode()
    lines = [b"HTTP/1.1 %d %b" % (status, reason), *(b"%b: %b" % field for field in fields)]
    return b"\r\n".join([*lines, b"", b""])


def sized(body: bytes, *fields: tuple[bytes, bytes], status: int = 200) -> bytes:
    """Make a whole answer with a Content-Length."""
    return head(status, *fields, (b"Content-Length", b"%d" % len(body))) + body


def answers(body: bytes = b"{}", *fields: tuple[bytes, bytes], status: int = 200) -> Script:
    """Read the request, then give that body with a Content-Length."""
    whole = sized(body, *(fields or (JSON,)), status=status)

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(whole)

    return script


def streams(events: Iterable[bytes], *, pause_s: float = 0.0, status: int = 200) -> Script:
    """Read the request, then give an event stream, a chunk each, that far apart."""
    pieces = tuple(events)

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(head(status, EVENTS, CHUNKED))
        for piece in pieces:
            visit.pause(pause_s)
            visit.send(chunk(piece))
        visit.send(chunk(b""))

    return script


def says(raw: bytes) -> Script:
    """Read the request, then send exactly these bytes and keep the connection open."""

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(raw)

    return script
