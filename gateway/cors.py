"""Pages of other origins, by configuration: CORS (the Fetch standard, section "CORS protocol").

It is made like a plugin, and comes first in every plan where `server.cors_origins` names somebody:
a browser sends its preflight without any credential, so nobody may be asked before, and what an
answer says to the browser is said last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.hooks import hookimpl
from gateway.reply import Reply

if TYPE_CHECKING:
    from gateway.exchange import Exchange
    from gateway.reply import Head

# How long a browser may remember a preflight, in seconds; Chromium takes no more than 7,200.
MAX_AGE: Final = b"7200"
METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
# What an upstream says to browsers is about its own pages, and two of these would void both.
_OURS: Final = (
    b"access-control-allow-origin",
    b"access-control-allow-credentials",
    b"access-control-expose-headers",
)


class Plugin:
    """The two hooks. origins: as `server.cors_origins`."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = {origin.lower().encode() for origin in origins}

    @hookimpl
    def authenticate(self, exchange: Exchange) -> Reply | None:
        """Answer a preflight."""
        if exchange.method != b"OPTIONS" or self._page(exchange) is None:
            return None
        headers = exchange.headers
        if headers.get(b"access-control-request-method") is None:
            return None
        fields = [
            (b"Access-Control-Allow-Methods", METHODS),
            (b"Access-Control-Max-Age", MAX_AGE),
            (b"Vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
        wanted = headers.get(b"access-control-request-headers")
        if wanted is not None:
            # Said back, because "*" would not cover Authorization.
            fields.append((b"Access-Control-Allow-Headers", wanted))
        return Reply(204, headers=fields, outcome="complete")

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        headers = head.headers
        if not self._any:
            headers.add(b"Vary", b"Origin")
        origin = self._page(exchange)
        if origin is None:
            return
        for name in _OURS:
            if name in headers:
                headers.drop(name)
        if self._any:
            # Never with credentials: that would open it to every page that can make a browser
            # send them.
            headers.add(b"Access-Control-Allow-Origin", b"*")
        else:
            headers.add(b"Access-Control-Allow-Origin", origin)
            headers.add(b"Access-Control-Allow-Credentials", b"true")
        headers.add(b"Access-Control-Expose-Headers", b"*")

    def _page(self, exchange: Exchange) -> bytes | None:
        """The origin of the page that asks, if it is one of ours."""
        origin = exchange.headers.get(b"origin")
        if origin is None or not (self._any or origin.lower() in self._origins):
            return None
        return origin
