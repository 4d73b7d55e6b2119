"""Several workers on one port, whoever dies, and a gateway that takes another one's place."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    Visit,
    answers,
    chunk,
    head,
    running_gateway,
)
from tests.sizes import Sizes

STREAM = head(200, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
TARGET = "/openai/v1/chat/completions"
RATE = 100
# How long the load goes on between two replacements: a start takes half a second.
APART_S = 1.0


class Load:
    """Callers in threads: half of them with a connection per request, half with a kept one."""

    def __init__(self, port: int, *, rate: float = RATE, callers: int = 8) -> None:
        self.port = port
        self.served = 0
        self.failures: list[str] = []
        self._pause_s = callers / rate
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._call, args=(number % 2 == 0,))
            for number in range(callers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, keeps: bool) -> None:
        connection = self._connection()
        while not self._over.is_set():
            try:
                connection.request("POST", TARGET, b"{}", {"Content-Type": "application/json"})
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._note(repr(error))
                connection.close()
                connection = self._connection()
            else:
                self._note("" if body == b"short" else f"{response.status} {body[:80]!r}")
            if not keeps:
                connection.close()
            self._over.wait(self._pause_s)
        connection.close()

    def _note(self, failure: str) -> None:
        with self._lock:
            if failure:
                self.failures.append(failure)
            else:
                self.served += 1

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)


class Stream:
    """An upstream whose streams go on until the test says so; /short is answered at once."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def __call__(self, visit: Visit) -> None:
        visit.read()
        if visit.request.target.endswith(b"/stream"):
            visit.send(STREAM + chunk(b"data: 1\n\n"))
            visit.wait(self.end)
            visit.send(chunk(b"data: 2\n\n"), chunk(b""))
        else:
            answers(b"short")(visit)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def upstream(stream) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(stream) as upstream:
        yield upstream


def config(upstream: ScriptedUpstream, workers: int = 2, **server: Any) -> dict[str, Any]:
    return {
        "providers": {"openai": upstream.provider()},
        "server": {"workers": workers, "drain_timeout": "10s", **server},
    }


def workers_of(pid: int) -> list[int]:
    """Give the processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    patient_until = time.monotonic() + timeout_s
    while time.monotonic() < patient_until:
        if holds():
            return True
        time.sleep(0.02)
    return False


def ask(gateway: RunningGateway, path: str, *, method: str = "GET", token: str = "") -> int:
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


@pytest.fixture
def streams() -> Iterator[Callable[[int, int], list[RawCaller]]]:
    """Give callers that have each had the first event of a stream."""
    with contextlib.ExitStack() as stack:
        yield lambda port, count: [
            begun(stack.enter_context(RawCaller(port))) for _ in range(count)
        ]


def begun(caller: RawCaller) -> RawCaller:
    caller.request(b"GET", b"/openai/stream")
    assert caller.answer_head().status == 200
    assert caller.wire.line() == b"9\r\n"
    return caller


def comes_to_its_end(caller: RawCaller) -> bool:
    """Whether the rest of a stream comes, and its last chunk."""
    data = b""
    with contextlib.suppress(OSError), caller:
        while not data.endswith(b"data: 2\n\n\r\n0\r\n\r\n"):
            more = caller.wire.sock.recv(65536)
            if not more:
                return False
            data += more
        return True
    return False


def test_the_end_of_one_worker_is_the_end_of_its_own_exchanges_alone(upstream, stream, streams):
    with running_gateway(config(upstream)) as gateway:
        first, second = workers_of(gateway.pid)
        callers = streams(gateway.port, 16)
        with Load(gateway.port) as load:
            time.sleep(0.3)
            os.kill(first, signal.SIGKILL)
            assert until(lambda: len(workers_of(gateway.pid)) == 2)
            gateway.wait_for_log("worker_ready", 3)
            time.sleep(0.5)
        stream.end.set()
        died = gateway.wait_for_log("worker_died")
        assert died["exit_code"] == -signal.SIGKILL
        assert second in workers_of(gateway.pid)
        assert first not in workers_of(gateway.pid)
        ends = [comes_to_its_end(caller) for caller in callers]
        # The kernel spreads connections over both; those of the one that lives go on.
        assert 0 < sum(ends) < len(ends)
        # Each caller of the load had at most one request in the worker that died.
        assert len(load.failures) <= 8
        assert not [failure for failure in load.failures if "Refused" in failure]
        assert load.served > 30
        assert gateway.stop() == 0


def test_whoever_waits_to_be_accepted_waits_for_the_next_worker(upstream):
    with running_gateway(config(upstream)) as gateway:
        for worker in workers_of(gateway.pid):
            os.kill(worker, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            callers = [stack.enter_context(RawCaller(gateway.port)) for _ in range(10)]
            for caller in callers:
                caller.request(b"POST", TARGET.encode(), body=b"{}")
            for worker in workers_of(gateway.pid):
                os.kill(worker, signal.SIGKILL)
            assert [caller.answer().body for caller in callers] == [b"short"] * 10


def test_a_worker_that_dies_again_and_again_waits_longer_each_time(upstream):
    with running_gateway(config(upstream)) as gateway:
        (keeper_first, *_) = workers_of(gateway.pid)
        os.kill(keeper_first, signal.SIGKILL)
        assert gateway.wait_for_log("worker_died", 1)["next_in_s"] <= 0.1
        gateway.wait_for_log("worker_ready", 3)
        os.kill(max(workers_of(gateway.pid)), signal.SIGKILL)
        assert 0.2 <= gateway.wait_for_log("worker_died", 2)["next_in_s"] <= 1.0


def test_a_signal_reaches_all_workers(upstream, stream, streams):
    with running_gateway(config(upstream)) as gateway:
        callers = streams(gateway.port, 8)
        tables = config(upstream)
        tables["limits"] = {"body_bytes_max": "1KiB"}
        gateway.write_config(tables)
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_log("reloaded", 2)
        for _ in range(16):
            with RawCaller(gateway.port) as caller:
                caller.request(b"POST", TARGET.encode(), body=b"x" * 2000)
                assert caller.answer().status == 413
        workers = workers_of(gateway.pid)
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_log("draining", 2)
        stream.end.set()
        for caller in callers:
            assert comes_to_its_end(caller)
        assert gateway.wait() == 0
        assert not any(map(is_alive, workers))
        assert not list((gateway.folder / "state").glob("*.sock"))


def test_a_second_signal_is_for_those_who_hurry(upstream, streams):
    with running_gateway(config(upstream)) as gateway:
        streams(gateway.port, 4)
        gateway.signal(signal.SIGINT)
        gateway.wait_for_log("draining", 2)
        assert gateway.process.poll() is None
        gateway.signal(signal.SIGINT)
        assert gateway.wait(8) == 0


def test_no_worker_outlives_its_keeper(upstream):
    with running_gateway(config(upstream)) as gateway:
        workers = workers_of(gateway.pid)
        assert len(workers) == 2
        gateway.process.kill()
        assert until(lambda: not any(map(is_alive, workers)))


def test_one_admin_listener_speaks_for_all(upstream):
    with running_gateway(config(upstream)) as gateway:
        assert (ask(gateway, "/livez"), ask(gateway, "/readyz")) == (200, 200)
        assert ask(gateway, "/api/reload", method="POST") == 401
        assert ask(gateway, "/api/reload", method="POST", token=gateway.admin_token) == 200
        gateway.wait_for_log("reloaded", 2)
        assert ask(gateway, "/nothing") == 404
        gateway.config_file.write_text("nonsense = 1\n")
        assert ask(gateway, "/api/reload", method="POST", token=gateway.admin_token) == 400


def test_what_is_wrong_is_said_once_and_nothing_is_left_behind(upstream, tmp_path):
    port, _ = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(StartFailed, match=f":{port}: Address already in use") as failed:
            with running_gateway(config(upstream, port=port)):
                pass
    assert failed.value.code == 78
    broken = tmp_path / "broken.py"
    broken.write_text(BROKEN)
    with pytest.raises(StartFailed, match="no luck") as failed:
        with running_gateway(config(upstream), plugins=[broken]):
            pass
    assert failed.value.code == 78


BROKEN = """
from contextlib import asynccontextmanager

from gateway import StartError, hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway):
        raise StartError("no luck")
        yield
"""


# -- replacement -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_one_gateway_takes_the_place_of_another_and_no_caller_can_tell(
    upstream, workers, sizes: Sizes
):
    port, admin_port = free_ports()
    tables = config(upstream, workers, port=port)
    tables["admin"] = {"port": admin_port}
    with running_gateway(tables) as first, contextlib.ExitStack() as stack:
        state = str(first.folder / "state")
        gateway = first
        with Load(port) as load:
            for number in range(sizes.replacements):
                time.sleep(APART_S)
                # From one worker to several and back, as an operator would.
                count = workers + number % 2
                successor = {**tables, "state_dir": state}
                successor["server"] = {**tables["server"], "workers": count}
                following = stack.enter_context(running_gateway(successor))
                assert (following.port, following.admin_port) == (port, admin_port)
                assert gateway.wait() == 0
                gateway = following
            time.sleep(0.5)
        assert load.failures == []
        assert load.served > RATE * APART_S * sizes.replacements * 0.5
        assert ask(gateway, "/readyz") == 200
        assert gateway.stop() == 0


def test_streams_of_the_older_one_go_on_to_their_end(upstream, stream, streams):
    port, admin_port = free_ports()
    tables = {**config(upstream, 1, port=port), "admin": {"port": admin_port}}
    with running_gateway(tables) as older:
        callers = streams(port, 5)
        state = str(older.folder / "state")
        with running_gateway({**tables, "state_dir": state}) as newer:
            older.wait_for_log("draining")
            streams(port, 3)
            assert older.process.poll() is None
            stream.end.set()
            for caller in callers:
                assert comes_to_its_end(caller)
            assert older.wait() == 0
            assert newer.stop() == 0


def test_a_successor_that_cannot_start_changes_nothing(upstream, tmp_path):
    port, admin_port = free_ports()
    tables = {**config(upstream, 1, port=port), "admin": {"port": admin_port}}
    broken = tmp_path / "broken.py"
    broken.write_text(BROKEN)
    with running_gateway(tables) as older:
        state = str(older.folder / "state")
        with Load(port) as load:
            with pytest.raises(StartFailed, match="no luck"):
                with running_gateway({**tables, "state_dir": state}, plugins=[broken]):
                    pass
        assert load.failures == []
        assert older.process.poll() is None
        assert ask(older, "/readyz") == 200
        with running_gateway({**tables, "state_dir": state}) as newer:
            assert older.wait() == 0
            assert ask(newer, "/readyz") == 200
