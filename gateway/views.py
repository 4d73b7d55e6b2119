"""What plugins may say of a target or an answer, beside giving a Reply of their own."""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError, OwnFault

_NO_TARGET: Final = "There is no upstream left to try."


class Again:
    """A `judge`'s view: try once more after that many nanoseconds."""

    __slots__ = ("after_ns",)

    def __init__(self, after_ns: int = 0) -> None:
        self.after_ns = after_ns


class Keep:
    """A `judge`'s view: this answer, good or bad, is the one to give. Use the constant KEEP."""


class Skip:
    """A `send`'s view: not this target, take the next. SKIP is one without a reason.

    why: what the caller is told where there is no next one.
    """

    __slots__ = ("why",)

    def __init__(self, why: GatewayError | None = None) -> None:
        self.why = why


KEEP: Final = Keep()
SKIP: Final = Skip()


def nowhere(skip: Skip | None, detail: str = "") -> GatewayError:
    """What a caller is told where no target is left: the last plugin's reason, if it gave one."""
    if skip is not None and skip.why is not None:
        return skip.why
    return OwnFault(_NO_TARGET, status=503, code="no_target", detail=detail)
