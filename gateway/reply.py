"""Answers: the head that `answer` hooks may edit, and replies that we or a plugin make ourselves.

A `Reply` joins the line at `answer`, like an upstream's answer. Errors get the shape of the route's
surface there, so that the official SDKs raise the exception they would raise for the provider
itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from gateway.headers import Headers


class Head:
    """Status and fields of an answer on its way to the caller; `answer` hooks edit it in place.

    Framing fields are the core's: a Content-Length or Transfer-Encoding set here is ignored.
    """

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: bytes, headers: Headers) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers


class Reply:
    """An answer made here: whole (`body`) or as it comes (`stream`, an async iterator of bytes).

    outcome: what the exchange counts as: "refused" for a limit or an authenticator, "cached" for
    `lookup`, "complete" for a plugin's own page. A stream that raises is cut, never completed.
    """

    __slots__ = ("body", "headers", "outcome", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        content_type: bytes | None = None,
        stream: AsyncIterator[bytes] | None = None,
        outcome: str = "refused",
    ) -> None:
        self.status = status
        self.body = body
        self.headers = Headers(headers)
        if content_type is not None:
            self.headers.add(b"Content-Type", content_type)
        self.stream = stream
        self.outcome = outcome
