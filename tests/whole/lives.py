"""What the stories of a process's life share: an upstream whose streams go on, and who looks on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from gateway.testing import BrokenOff, RawCaller, RunningGateway, Visit, answers, chunk, head

STREAM = head(200, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
LAST = chunk(b"data: 2\n\n") + chunk(b"")
SHORT = b"/openai/v1/short"


class Stream:
    """An upstream's event stream that goes on until the test says so; /short is answered at
    once.
    """

    def __init__(self) -> None:
        self.end = threading.Event()

    def __call__(self, visit: Visit) -> None:
        visit.read()
        if visit.request.target.endswith(b"/short"):
            answers(b"short")(visit)
            return
        visit.send(STREAM + chunk(b"data: 1\n\n"))
        visit.wait(self.end)
        visit.send(LAST)


def ask(caller: RawCaller, path: bytes = b"/openai/v1/chat/completions") -> None:
    caller.request(b"POST", path, body=b"{}")


def begun(caller: RawCaller) -> RawCaller:
    """Ask for the stream and wait for its first event."""
    ask(caller)
    assert caller.answer_head().status == 200
    first = chunk(b"data: 1\n\n")
    assert b"".join(caller.wire.sized(len(first))) == first
    return caller


def comes_to_its_end(caller: RawCaller) -> bool:
    """Whether the rest of a stream comes, and its last chunk."""
    with contextlib.suppress(BrokenOff):
        return b"".join(caller.wire.sized(len(LAST))) == LAST
    return False


def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Wait for something; whether it came."""
    patient_until = time.monotonic() + timeout_s
    while time.monotonic() < patient_until:
        if holds():
            return True
        time.sleep(0.02)
    return False


def admin_status(
    gateway: RunningGateway, path: str, *, method: str = "GET", token: str = ""
) -> int:
    request = urllib.request.Request(gateway.admin_url + path, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]
