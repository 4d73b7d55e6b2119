"""A chunked request body on its way in.

llhttp parses it on a parser of its own, which was told of a head that has nothing in it but the
coding: whatever else the real head says (an Upgrade, say) cannot make it leave the body alone.
"""

from __future__ import annotations

from typing import Any, Final

import httptools

from gateway.refusal import Refusal

HEAD: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Chunks:
    """Takes the framing off.

    complete: the last chunk was there. has_surplus: so were bytes behind it, in the same read; they
    belong to a request that cannot be told from them, so the connection ends with this one.
    """

    __slots__ = (
        "_count_max",
        "_end",
        "_parser",
        "_slices",
        "_trailer_bytes",
        "_trailer_bytes_max",
        "_trailers",
        "complete",
        "has_surplus",
        "on_body",
    )

    def __init__(self, count_max: int, bytes_max: int) -> None:
        """count_max, bytes_max: of trailers."""
        self.complete = False
        self.has_surplus = False
        self._count_max = count_max
        self._trailer_bytes_max = bytes_max
        self._trailers = 0
        self._trailer_bytes = 0
        self._slices: list[bytes] = []
        self._end = 0
        self.on_body: Any = self._slices.append
        self._parser: Any = httptools.HttpRequestParser(self)
        self._parser.feed_data(HEAD)
        self._trailers = 0  # that were the fields of that head

    def feed(self, data: bytes) -> bytes:
        """The body in these bytes; `Refusal` for what is no chunked body."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.has_surplus = True  # it belongs to a request behind this one
        except httptools.HttpParserError as error:
            if not self.complete:
                text = "The request's body is not valid HTTP/1.1."
                raise Refusal(400, "bad_request", text, str(error)) from error
            self.has_surplus = True
        slices = self._slices
        self._trailer_bytes = 0 if slices or self.complete else self._trailer_bytes + len(data)
        if self._trailers > self._count_max or self._trailer_bytes > self._trailer_bytes_max:
            # Trailers are dropped, because nobody may merge them unasked (RFC 9110 section 6.5.1),
            # but counted.
            text = "The request has too many trailers."
            raise Refusal(431, "header_count", text, "header_count_max")
        # What llhttp took for the body of a request behind this one is not this one's.
        part = b"".join(slices[: self._end] if self.complete else slices)
        slices.clear()
        return part

    def let_go(self) -> None:
        """Forget the parser: both point at each other, and the collector is not to be needed."""
        self._parser = self.on_body = None

    # -- llhttp ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            self.has_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete:  # else it is a request's behind this one
            self._trailers += 1

    def on_message_complete(self) -> None:
        if not self.complete:
            self.complete = True
            self._end = len(self._slices)
