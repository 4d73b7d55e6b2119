"""A scripted upstream on a real socket: it does to a gateway what providers do on their worst days.

    def dies(visit: Visit) -> None:
        visit.send(head(200, (b"Transfer-Encoding", b"chunked")) + chunk(b"data: 1"))
        visit.reset()

    with ScriptedUpstream(dies) as upstream, running_gateway(
        {"providers": {"openai": upstream.provider()}}
    ) as gateway:
        ...
    assert upstream.requests[0].target == b"/v1/models"

A script is called once for each request, in a thread of its connection, so that it reads from top
to bottom: send, pause, wait, end. When it returns and has not ended the connection, what is unread
of the request is read and the connection waits for the next one. Every request is kept as raw
bytes; every connection knows when the gateway closed or reset it.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gateway.testing.departures import Watch
from gateway.testing.visit import Connection, Request, Visit
from gateway.testing.wire import SILENCE, BrokenOff

# More connections than any test opens at once may wait to be accepted.
BACKLOG: Final = 4096
# A script that still waits after this long waits for something that does not come.
PATIENCE_S: Final = 30.0
# Not everything that a test waits for is announced.
LOOK_AGAIN_S: Final = 0.02

Script = Callable[[Visit], None]


class Tls:
    """A server's side of TLS. ca_file: what a gateway must trust to believe the certificate."""

    def __init__(self, context: ssl.SSLContext, ca_file: str) -> None:
        self.context = context
        self.ca_file = ca_file


class ScriptedUpstream:
    """An origin server that follows a script. Use it as a context manager.

    script: called for each request; may be replaced at any time. tls: speak TLS. unix: listen on a
    Unix socket. idle: called after each answer; gives the seconds after which an idle connection is
    closed. keeps_bodies: whether `Request.raw` holds the body; switch it off for large uploads.
    patience_s: how long a read, a write or a wait may take.
    """

    def __init__(
        self,
        script: Script,
        *,
        tls: Tls | None = None,
        unix: bool = False,
        idle: Callable[[], float] | None = None,
        keeps_bodies: bool = True,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.script = script
        self.tls = tls
        self.idle = idle
        self.keeps_bodies = keeps_bodies
        self.patience_s = patience_s
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self.faults: list[BaseException] = []
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self._folder = tempfile.mkdtemp(prefix="upstream-") if unix else None
        self._listener = self._listen()
        self._watch = Watch()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name="upstream", daemon=True)

    # -- addresses ---------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def socket_path(self) -> str | None:
        return None if self._folder is None else str(Path(self._folder) / "upstream.sock")

    @property
    def url(self) -> str:
        """Give the base URL to configure; a certificate must be made for `localhost`."""
        if self._folder is not None:
            return "http://localhost"
        return f"{'http' if self.tls is None else 'https'}://localhost:{self.port}"

    def provider(self, **settings: Any) -> dict[str, Any]:
        """Give a `[providers.NAME]` table that leads here, with further settings of one's own."""
        table: dict[str, Any] = {"base_url": self.url, **settings}
        if self.socket_path is not None:
            table["socket"] = self.socket_path
        if self.tls is not None:
            table["ca_file"] = self.tls.ca_file
        return table

    # -- looking -----------------------------------------------------------------------------------

    def wait_for(self, true: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until a condition on what was recorded holds; `TimeoutError` if it never does."""
        patient_until = time.monotonic() + timeout_s
        with self.changed:
            while not true():
                if time.monotonic() > patient_until:
                    raise TimeoutError(f"{len(self.requests)} requests, and still it does not hold")
                self.changed.wait(LOOK_AGAIN_S)

    def wait_for_requests(self, count: int, timeout_s: float = PATIENCE_S) -> list[Request]:
        self.wait_for(lambda: len(self.requests) >= count, timeout_s)
        return self.requests

    def forget(self) -> None:
        """Begin the record anew, for an upstream that several tests share."""
        self.requests.clear()
        self.connections.clear()

    # -- life --------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything. A script that failed by its own fault fails the test here."""
        self.stop_listening()
        self.stopping.set()
        for connection in tuple(self.connections):
            connection.wake()
        for thread in (self._accepting, *self._threads):
            thread.join(timeout=5)
        self._watch.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self.faults and error is None:
            raise self.faults[0]

    def stop_listening(self) -> None:
        """Refuse further connections; those that are open go on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> socket.socket:
        if self._folder is not None:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(self.socket_path))
        else:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        return listener

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(sock, len(self.connections), self.changed)
            self.connections.append(connection)
            self._watch.add(sock, connection.note)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: Connection) -> None:
        connection.sock.settimeout(self.patience_s)
        try:
            if self.tls is not None:
                connection.wrap(self.tls.context)
            self._converse(connection)
        except BrokenOff as broken:
            connection.broke(broken)
        except OSError as error:
            connection.failed(error)
        except Exception as error:  # the script's own fault; the test hears of it at the end
            self.faults.append(error)
        finally:
            self._watch.remove(connection.sock)
            connection.close()

    def _converse(self, connection: Connection) -> None:
        while not connection.is_ended:
            request = self._next(connection)
            if request is None:
                return
            with self.changed:
                self.requests.append(request)
                self.changed.notify_all()
            connection.served += 1
            visit = Visit(connection, request, self.stopping, self.patience_s)
            self.script(visit)
            visit.finish()

    def _next(self, connection: Connection) -> Request | None:
        idle_s = self.idle() if self.idle is not None and connection.served else None
        connection.sock.settimeout(self.patience_s if idle_s is None else idle_s)
        try:
            head = connection.wire.head()
        except BrokenOff as broken:
            connection.broke(broken)
            if broken.ending == SILENCE:
                connection.unread = len(broken.raw)
                connection.hang_up()
            return None
        connection.sock.settimeout(self.patience_s)
        return Request(head, connection, keeps_body=self.keeps_bodies)
