"""One look at a server, step by step: its addresses, a connection, TLS, and one small GET.

`weir init`, `weir health` and `weir doctor` ask by it. It is no client for requests that matter:
the connection is used once, and only the beginning of an answer is read. Every step waits for as
long as it takes; whoever asks puts a deadline around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterable
from email.message import Message
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any, Final, Self

import aiohappyeyeballs

from gateway.proxies import Proxy

if TYPE_CHECKING:
    from types import TracebackType

# A head longer than this is no answer that we asked for.
HEAD_BYTES_MAX: Final = 64 * 1024
# What we read of a body is a word or a short document.
BODY_BYTES_MAX: Final = 64 * 1024
# RFC 8305 section 5.
NEXT_ADDRESS_S: Final = 0.25

AddressInfo = tuple[Any, Any, int, str, Any]
Fields = Iterable[tuple[bytes, bytes]]


class ProbeError(Exception):
    """The other side answered, and not as HTTP/1.1 has it."""


class Answer:
    """status: of the answer. fields: its head. body: its beginning, if it has a known size."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: Message, body: bytes = b"") -> None:
        self.status = status
        self.fields = fields
        self.body = body


class Connection:
    """A connection for one request; leaving the block drops it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.transport.abort()

    @property
    def certificate(self) -> dict[str, Any]:
        """The server's verified certificate as `ssl` gives it; empty without TLS."""
        return self._writer.get_extra_info("peercert") or {}

    async def get(self, target: bytes, host: bytes, fields: Fields = ()) -> Answer:
        """Ask for a target. `ProbeError` if what comes is no HTTP answer, OSError if it breaks."""
        lines = [b"GET %b HTTP/1.1" % target, b"Host: %b" % host, b"User-Agent: weir"]
        lines += [b"Accept: */*", b"Connection: close"]
        lines += [b"%b: %b" % field for field in fields]
        self._writer.write(b"\r\n".join([*lines, b"", b""]))
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            what = "in its head" if error.partial else "without an answer"
            raise ProbeError(f"the connection was closed {what}") from None
        except asyncio.LimitOverrunError:
            raise ProbeError("what answers there does not speak HTTP") from None
        answer = _read_head(head)
        answer.body = await self._body(answer)
        return answer

    async def _body(self, answer: Answer) -> bytes:
        size = answer.fields.get("Content-Length", "")
        if not size.isdecimal():
            return b""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            return await self._reader.readexactly(min(int(size), BODY_BYTES_MAX))
        return b""


async def addresses(host: str, port: int) -> list[AddressInfo]:
    """Look a name up. OSError if it has no address.

    In a thread that nobody waits for: the resolver cannot be stopped, and the loop's own threads
    would hold the end of the process until it gives up.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[AddressInfo]] = loop.create_future()

    def put(result: list[AddressInfo] | None, error: OSError | None) -> None:
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(result or [])

    def look() -> None:
        result: list[AddressInfo] | None = None
        problem: OSError | None = None
        try:
            result = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            problem = error
        except UnicodeError:
            problem = OSError(f'"{host}" is no host name')
        with contextlib.suppress(RuntimeError):  # the loop ended before the resolver did
            loop.call_soon_threadsafe(put, result, problem)

    threading.Thread(target=look, name=f"look up {host}", daemon=True).start()
    return await found


async def connect(found: list[AddressInfo]) -> socket.socket:
    """Connect to the first of these addresses that answers. OSError if none does."""
    return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS_S)


async def connect_unix(path: str) -> socket.socket:
    """Connect to a Unix socket."""
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, path)
    except BaseException:
        made.close()
        raise
    return made


async def tunnel(made: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have a proxy lead on to a host (RFC 9110 section 9.3.6); `ProbeError` if it refuses."""
    loop = asyncio.get_running_loop()
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1".encode(), f"Host: {name}".encode()]
    if proxy.authorization is not None:
        lines.append(b"Proxy-Authorization: " + proxy.authorization.reveal())
    await loop.sock_sendall(made, b"\r\n".join([*lines, b"", b""]))
    head = b""
    # Byte by byte: what follows the head belongs to the host behind it.
    while not head.endswith(b"\r\n\r\n"):
        piece = await loop.sock_recv(made, 1)
        if not piece or len(head) >= HEAD_BYTES_MAX:
            raise ProbeError("the proxy gave no answer to CONNECT")
        head += piece
    status = _read_head(head).status
    if not 200 <= status < 300:
        raise ProbeError(f"the proxy refused with status {status}")


async def opened(
    made: socket.socket, context: ssl.SSLContext | None = None, name: str | None = None
) -> Connection:
    """A connection over a connected socket, with TLS if there is a context for it."""
    reader, writer = await asyncio.open_connection(
        sock=made, ssl=context, server_hostname=name, limit=HEAD_BYTES_MAX
    )
    return Connection(reader, writer)


async def fetch(host: str, port: int, target: bytes, *, tls: bool = False) -> Answer:
    """All steps in one: GET a target of a host."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    made = await connect(await addresses(host, port))
    context = ssl.create_default_context() if tls else None
    async with await opened(made, context, host if tls else None) as connection:
        return await connection.get(target, shown.encode())


def reason(error: BaseException) -> str:
    """Why a step failed, in plain words."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (
            f"TLS failed: {(getattr(error, 'reason', '') or str(error)).lower().replace('_', ' ')}"
        )
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _read_head(head: bytes) -> Answer:
    first, _, rest = head.partition(b"\r\n")
    parts = first.split(b" ", 2)
    if not first.startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        raise ProbeError("what answers there does not speak HTTP")
    return Answer(int(parts[1]), BytesParser(http.client.HTTPMessage).parsebytes(rest))
