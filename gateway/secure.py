"""Callers who come in otherwise than by plain TCP, and what their connections do differently.

TLS has an end of its own (close_notify, RFC 8446 section 6.1) and uvloop gives it no half-close. A
Unix socket cannot be reset.
"""

from __future__ import annotations

from gateway.caller import LINGER, Caller, Listener
from gateway.refusal import Refusal
from gateway.tcp import unacknowledged


class SecureCaller(Caller):
    """A caller over TLS.

    Its answer is whole only with close_notify behind it, where nothing else frames it; a cut one
    goes without, by the reset that `Caller.cut` makes.
    """

    __slots__ = ("_has_taken_all",)

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._has_taken_all = False

    def _begin(self, rest: bytes, head: bytes) -> None:
        url = self._url
        if url[:8].lower() == b"https://":
            # The scheme of what comes over TLS (RFC 9112 section 3.2.2), which is judged like http.
            # In the clear it stays refused (RFC 9110 section 7.4).
            self._url = b"http" + url[5:]
            head = b""  # whose places are others now
        super()._begin(rest, head)

    def check(self, now_ns: int) -> None:
        transport = self.transport
        if transport.get_extra_info("socket") is None:
            return  # lost, which the loop is about to tell us
        if transport.is_closing():
            # The closing waits for the caller's own close_notify, which it need not send: once the
            # caller's kernel has all, nothing is lost by going. Between the transport and the
            # kernel is a buffer that cannot be asked, hence twice.
            has_all = not transport.get_write_buffer_size() and not unacknowledged(self._socket())
            if has_all and self._has_taken_all:
                transport.abort()
                return
            self._has_taken_all = has_all
        elif self.state == LINGER and now_ns - self._since_ns > self.limits.linger_timeout:
            transport.close()  # with close_notify, which an abort would leave out
            return
        super().check(now_ns)


class LocalCaller(Caller):
    """A caller on the Unix socket."""

    def _begin(self, rest: bytes, head: bytes) -> None:
        if self._headers_over and self.parser.get_http_version() == "1.0":
            # Only a reset tells an HTTP/1.0 caller that an answer was cut, and there is none here.
            text = "On the Unix socket only HTTP/1.1 is spoken."
            self._refuse(Refusal(505, "http_version", text), self.parser.get_method())
            return
        super()._begin(rest, head)
