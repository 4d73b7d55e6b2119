"""Unpacking an answer that came compressed, for those who read it."""

from __future__ import annotations

import zlib
from typing import Final

# A decoder gives back at most this much per step, so that a few bytes of a bomb never become
# gigabytes at once.
INFLATE_STEP_BYTES: Final = 256 * 1024


class Undecodable(ValueError):
    """An answer is not encoded as its Content-Encoding says: the upstream's own fault."""


class Decoder:
    """Inflates an answer for its readers, a bounded step at a time; only what the standard library
    has.

    gzip may come in several members (RFC 1952 section 2.2).
    """

    __slots__ = ("_ended", "_format", "_has_begun", "_inflate", "_input", "is_over")

    def __init__(self, coding: bytes) -> None:
        # gzip, or zlib's own format under the name of deflate (RFC 9110 section 8.4.1.2).
        self._format = zlib.MAX_WBITS if coding == b"deflate" else 16 + zlib.MAX_WBITS
        self._inflate = zlib.decompressobj(self._format)
        self._input = b""
        self._ended = False
        self._has_begun = False
        self.is_over = False

    @staticmethod
    def knows(coding: bytes) -> bool:
        return coding in (b"gzip", b"x-gzip", b"deflate")

    def push(self, data: bytes, ended: bool) -> None:
        self._input += data
        self._ended = ended

    def step(self) -> bytes | None:
        """The next piece, of at most `INFLATE_STEP_BYTES`; None until more is pushed. `is_over`
        goes with the last.
        """
        if self.is_over:
            return None
        if self._inflate.eof and self._input:
            self._inflate = zlib.decompressobj(self._format)
        if not self._input:
            return self._last() if self._ended else None
        self._has_begun = True
        try:
            plain = self._inflate.decompress(self._input, INFLATE_STEP_BYTES)
        except zlib.error as error:
            raise Undecodable(str(error)) from error
        self._input = (
            self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        )
        if not plain and not self._input:
            return self._last() if self._ended else None
        return plain

    def _last(self) -> bytes:
        self.is_over = True
        if self._has_begun and not self._inflate.eof:
            raise Undecodable("it ends before its end")
        return b""
