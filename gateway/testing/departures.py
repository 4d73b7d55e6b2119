"""When the other end of a socket went, to the microsecond, whoever is reading it or not.

A script that sleeps, waits or does not read cannot see a FIN. The kernel can: one thread waits in
epoll for it and notes the time (monotonic clock). Needs Linux.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Final, Protocol

# Edge-triggered: each change is told once, and bytes that nobody reads wake the thread only once.
_MASK: Final = select.EPOLLRDHUP | select.EPOLLET


class Noted(Protocol):
    def __call__(self, now_ns: int, *, was_reset: bool) -> None: ...


class Watch:
    """Calls `noted(now_ns, was_reset=...)` when the other end of a socket closed or reset it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waker, wakes = socket.socketpair()
        self._wakes = wakes
        self._epoll.register(wakes.fileno(), select.EPOLLIN)
        self._noted: dict[int, Noted] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="departures", daemon=True)
        self._thread.start()

    def add(self, sock: socket.socket, noted: Noted) -> None:
        with self._lock:
            self._noted[sock.fileno()] = noted
        self._epoll.register(sock.fileno(), _MASK)

    def remove(self, sock: socket.socket) -> None:
        """Stop watching; to be called before the socket is closed."""
        with self._lock:
            known = self._noted.pop(sock.fileno(), None)
        if known is not None:
            self._epoll.unregister(sock.fileno())

    def close(self) -> None:
        self._waker.close()
        self._thread.join()
        self._wakes.close()
        self._epoll.close()

    def _run(self) -> None:
        while True:
            for descriptor, events in self._epoll.poll():
                now_ns = time.monotonic_ns()
                if descriptor == self._wakes.fileno():
                    return
                if not events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR):
                    continue
                with self._lock:
                    noted = self._noted.get(descriptor)
                if noted is not None:
                    noted(now_ns, was_reset=bool(events & select.EPOLLERR))
