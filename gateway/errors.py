"""What can go wrong, whose fault it is, and what may be said about it.

A `GatewayError` is an answer in waiting: the line turns it into a reply in the route's surface.
`message` goes to the caller and names no host, key or file; `detail` goes to the operator's log
only. Everything that is not a `GatewayError` is a bug, ours or a plugin's, and is answered with a
bare 500.
"""

from __future__ import annotations


class GatewayError(Exception):
    """An exchange that ends with an answer of ours.

    status: HTTP status to send. code: a stable lower_snake word. message: one plain sentence for
    the caller.
    detail: the cause, for the log. retryable: whether another attempt could help. headers: fields
    to add.
    """

    status = 500
    code = "internal_error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        detail: str = "",
        retryable: bool | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.headers = headers
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class CallerFault(GatewayError):
    """The request cannot be served as it stands; nothing of it went to an upstream."""

    status = 400
    code = "invalid_request"


class UpstreamFault(GatewayError):
    """The upstream could not be reached, broke off or spoke nonsense.

    reached: whether any byte of the request may have been seen by the upstream; False means that
    sending it again, here or elsewhere, cannot do anything twice.
    """

    status = 502
    code = "upstream_error"
    retryable = True

    def __init__(self, message: str, *, reached: bool = True, **rest: object) -> None:
        super().__init__(message, **rest)  # type: ignore[arg-type]  # the keywords are GatewayError's own
        self.reached = reached


class OwnFault(GatewayError):
    """We, or a plugin, failed."""


class StartError(Exception):
    """The gateway cannot start as configured. The text names the thing and the way out; exit code
    78.
    """
