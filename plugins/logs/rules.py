"""The rules by which bodies are blanked, as the configuration says them."""

from __future__ import annotations

import re

import msgspec


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    r"""What is not to be kept.

    pattern: A regular expression, of Python's `re`; in JSON it sees texts as they read, not as they
        are escaped, and those of a stream as they are put together.
    with_: What stands in the place of what it matches; \1 is its first group.
    """

    pattern: str
    with_: str = msgspec.field(default="[redacted]", name="with")

    def __post_init__(self) -> None:
        try:
            pattern = re.compile(self.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"pattern {self.pattern!r}: {error}") from None
        if pattern.match(""):
            raise ValueError(f"pattern {self.pattern!r}: it matches where nothing is")
        try:
            pattern.sub(self.with_, "")
        except (re.error, IndexError) as error:
            raise ValueError(f"with {self.with_!r}: {error}") from None
