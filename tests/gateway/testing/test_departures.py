from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from gateway.testing.departures import Watch


@pytest.mark.parametrize("was_reset", [False, True])
def test_a_departure_is_noted_behind_bytes_that_nobody_reads(was_reset):
    noted: list[tuple[int, bool]] = []
    told = threading.Event()

    def note(now_ns, *, was_reset):
        noted.append((now_ns, was_reset))
        told.set()

    watch = Watch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        watch.add(server, note)
        caller.sendall(b"unread")
        if was_reset:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left_ns = time.monotonic_ns()
        caller.close()
        told.wait(2)
        watch.remove(server)
        server.close()
    watch.close()

    assert [reset for _, reset in noted] == [was_reset]
    assert noted[0][0] - left_ns < 500_000_000
