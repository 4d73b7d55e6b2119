"""A tunnel through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6).

The proxy sees the upstream's name and port and our credentials for the proxy, and then only passes
bytes on. https and http upstreams are reached alike, so that a request and a provider's key have
one way of being framed, and no proxy reads or rewrites them. Deadlines are the caller's
(`gateway.pool` has the connect timeout above this).
"""

from __future__ import annotations

import asyncio
import re
import socket
from http import HTTPStatus
from typing import Final

from gateway.proxies import Proxy

# A proxy's head is a few fields; the page that it may add to a refusal is not read.
HEAD_BYTES_MAX: Final = 16 * 1024
_END: Final = b"\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")


class ProxyRefused(ConnectionError):
    """The proxy made no tunnel. The text is for the log, and quotes nothing of the proxy's."""


async def open_tunnel(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, host: str, port: int
) -> int:
    """Have the proxy at the other end of a socket connect it to a host; gives the bytes written."""
    request = connect_request(proxy, host, port)
    await loop.sock_sendall(sock, request)
    seen = b""
    size = 0
    while True:
        end = seen.find(_END)
        if end < 0:
            if size > HEAD_BYTES_MAX:
                raise ProxyRefused(f"the proxy's answer is longer than {HEAD_BYTES_MAX} bytes")
            data = await loop.sock_recv(sock, HEAD_BYTES_MAX)
            if not data:
                raise ProxyRefused("the proxy closed the connection without an answer")
            seen += data
            size += len(data)
            continue
        status = _status(seen)
        rest = seen[end + len(_END) :]
        if 100 <= status < 200 and status != HTTPStatus.SWITCHING_PROTOCOLS:
            seen = rest  # interim (RFC 9110 section 15.2); all of them share one bound
            continue
        if not 200 <= status < 300:
            raise ProxyRefused(_refusal(status, has_credentials=proxy.authorization is not None))
        if rest:
            # A 2xx has no body, whatever its fields say, and the upstream waits for us to begin.
            raise ProxyRefused("the proxy sent bytes behind the head of its answer")
        return len(request)


def connect_request(proxy: Proxy, host: str, port: int) -> bytes:
    """The request for a tunnel: its target and Host are the upstream's name and port."""
    name = host if host.isascii() else host.encode("idna").decode("ascii")
    place = (f"[{name}]:{port}" if ":" in name else f"{name}:{port}").encode("ascii")
    lines = [b"CONNECT %b HTTP/1.1" % place, b"Host: %b" % place]
    if proxy.authorization is not None:
        lines.append(b"Proxy-Authorization: %b" % proxy.authorization.reveal())
    return b"\r\n".join([*lines, b"", b""])


def _status(head: bytes) -> int:
    line = _STATUS.match(head)
    if line is None:
        raise ProxyRefused("the proxy's answer was not valid HTTP")
    return int(line[1])


def _refusal(status: int, *, has_credentials: bool) -> str:
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    hint = ""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        hint = "; it does not take the credentials of its URL"
        if not has_credentials:
            hint = "; it wants credentials: http://USER:PASSWORD@HOST:PORT"
    return f"the proxy answered CONNECT with {phrase}{hint}"
