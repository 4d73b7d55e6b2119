"""What the door found in a request's head (`gateway.refusal`), for the line."""

from __future__ import annotations

from typing import Final

from gateway.shapes import Passed

NOTHING: Final = Passed.only([])


class Screened:
    """What the pass over the fields found: the body's framing, the fields that may go up, whether
    to keep the connection.

    size: of the body; None with chunked.
    """

    __slots__ = ("expects", "has_length", "host", "is_chunked", "keep", "passed", "size")

    def __init__(self, host: bytes = b"", passed: Passed | None = None) -> None:
        self.size: int | None = 0
        self.is_chunked = False
        self.has_length = False
        self.expects = False
        self.host = host
        self.keep = True
        self.passed = passed or NOTHING

    @property
    def upward(self) -> list[tuple[bytes, bytes]]:
        """The fields that may go up."""
        return self.passed.fields
