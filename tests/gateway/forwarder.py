"""A proxy that makes tunnels, on a real socket: it follows CONNECT, or answers as it is told.

    with Forwarder(upstream.port, credentials=b"user:word") as proxy:
        ...
    assert proxy.heads[0].startswith(b"CONNECT up.example:443 ")

Whatever name is asked for, it connects to that port of this machine, so that no test needs a name
to lead anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

PATIENCE_S = 10.0
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Forwarder:
    """A proxy; use it as a context manager.

    port: where it listens. credentials: what it wants, as "user:password"; else it answers 407.
    answer: what it says to every request instead, and then closes. heads: what it was asked.
    """

    def __init__(
        self, target_port: int = 0, *, credentials: bytes = b"", answer: bytes | None = None
    ) -> None:
        self.target_port = target_port
        self.answer = answer
        self.heads: list[bytes] = []
        self._wanted = b"Basic " + base64.b64encode(credentials) if credentials else b""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._socks: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sock in (self._listener, *self._socks):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in tuple(self._threads):
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._socks.append(sock)
                self._start(self._serve, sock)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(65536)
                if not data:
                    return
                head += data
            self.heads.append(head)
            answer = self.answer
            if self._wanted and b"\r\nProxy-Authorization: " + self._wanted + b"\r\n" not in head:
                answer = b"HTTP/1.1 407 Who is it\r\nProxy-Authenticate: Basic\r\n\r\n"
            if answer is not None:
                sock.sendall(answer)
                sock.shutdown(socket.SHUT_RDWR)
                return
            onward = socket.create_connection(("127.0.0.1", self.target_port))
            self._socks.append(onward)
            sock.sendall(ESTABLISHED)
            self._start(_pump, onward, sock)
            _pump(sock, onward)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on in one direction, and then the end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
