"""Several workers on one port, whoever dies, and a gateway that takes another one's place."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from gateway.testing import RawCaller, ScriptedUpstream, StartFailed, running_gateway
from tests.sizes import Sizes
from tests.whole.lives import (
    SHORT,
    Stream,
    admin_status,
    ask,
    begun,
    comes_to_its_end,
    free_ports,
    until,
)

RATE = 100


class Load:
    """Callers in threads: half of them with a connection per request, half with a kept one.
    Together they send `RATE` requests a second.
    """

    def __init__(self, address: int | str, *, callers: int = 8) -> None:
        self.address = address
        self.served = 0
        self.failures: list[str] = []
        self._began = 0.0
        self._pause_s = callers / RATE
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._call, args=(number,)) for number in range(callers)
        ]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def rate(self) -> float:
        """Requests answered a second since the first was sent."""
        return self.served / (time.monotonic() - self._began)

    def wait_for(self, count: int) -> None:
        """Go on until that many were answered, or one was not."""
        assert until(lambda: self.served >= count or bool(self.failures), count / RATE * 3 + 10)

    def _call(self, number: int) -> None:
        keeps = number % 2 == 0
        connection = Connection(self.address)
        due = time.monotonic() + number / RATE
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += self._pause_s  # of when it was due, so that a slow answer lowers no rate
            try:
                connection.request("POST", SHORT.decode(), b"{}")
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._note(repr(error))
                connection.close()
            else:
                self._note("" if body == b"short" else f"{response.status} {body[:80]!r}")
            if not keeps:
                connection.close()
        connection.close()

    def _note(self, failure: str) -> None:
        with self._lock:
            if failure:
                self.failures.append(failure)
            else:
                self.served += 1


class Connection(http.client.HTTPConnection):
    """A client's connection to a port, or to a Unix socket."""

    def __init__(self, address: int | str) -> None:
        port = address if isinstance(address, int) else None
        super().__init__("127.0.0.1", port, timeout=10)
        self._path = address if isinstance(address, str) else ""

    def connect(self) -> None:
        if self._path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        else:
            super().connect()


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


def callers_of(pid: int, port: int) -> set[int]:
    """Give the ports of the callers whose connections a process holds."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(str(descriptor.readlink()))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        here, there = (int(address.partition(":")[2], 16) for address in fields[1:3])
        if here == port and there and f"socket:[{fields[9]}]" in held:
            found.add(there)
    return found


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def streams() -> Iterator[Callable[[int, int], list[RawCaller]]]:
    """Give callers that have each had the first event of a stream."""
    with contextlib.ExitStack() as stack:
        yield lambda port, count: [
            begun(stack.enter_context(RawCaller(port))) for _ in range(count)
        ]


def test_the_end_of_one_worker_is_the_end_of_its_own_exchanges_alone(
    upstream, stream, streams, sizes: Sizes
):
    with running_gateway(config(upstream)) as gateway:
        first, second = workers_of(gateway.pid)
        callers = streams(gateway.port, 16)
        own = callers_of(first, gateway.port)
        doomed = [caller.sock.getsockname()[1] in own for caller in callers]
        assert any(doomed)
        assert not all(doomed)  # the kernel spreads connections over both
        with Load(gateway.port) as load:
            time.sleep(0.3)
            killed = time.monotonic()
            os.kill(first, signal.SIGKILL)
            gateway.wait_for_log("worker_ready", 3, sizes.restart_s)
            print(f"back after {time.monotonic() - killed:.2f} s")
            died = gateway.wait_for_log("worker_died")
            served = load.served
            assert until(lambda: load.served > served + RATE // 2)
        stream.end.set()
        assert died["exit_code"] == -signal.SIGKILL
        assert second in workers_of(gateway.pid)
        assert first not in workers_of(gateway.pid)
        assert len(workers_of(gateway.pid)) == 2
        assert [comes_to_its_end(caller) for caller in callers] == [not each for each in doomed]
        # Each caller of the load had at most one request in the worker that died.
        assert len(load.failures) <= 8
        assert not [failure for failure in load.failures if "Refused" in failure]
        assert gateway.stop() == 0


def test_a_unix_socket_is_served_by_all_workers(upstream, stream, tmp_path):
    path = str(tmp_path / "weir.sock")
    with running_gateway(config(upstream, socket=path)) as gateway:
        for spared in workers_of(gateway.pid):
            (other,) = set(workers_of(gateway.pid)) - {spared}
            os.kill(other, signal.SIGSTOP)
            with RawCaller(path) as caller:
                ask(caller, SHORT)
                assert caller.answer().body == b"short"
            os.kill(other, signal.SIGCONT)
        os.kill(workers_of(gateway.pid)[0], signal.SIGKILL)
        gateway.wait_for_log("worker_died")
        gateway.wait_for_log("worker_ready", 3, 20.0)
        for _ in range(10):
            with RawCaller(path) as caller:
                ask(caller, SHORT)
                assert caller.answer().body == b"short"
        assert gateway.stop() == 0
        assert not Path(path).exists()


def test_whoever_waits_to_be_accepted_waits_for_the_next_worker(upstream):
    with running_gateway(config(upstream)) as gateway:
        for worker in workers_of(gateway.pid):
            os.kill(worker, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            callers = [stack.enter_context(RawCaller(gateway.port)) for _ in range(10)]
            for caller in callers:
                ask(caller, SHORT)
            for worker in workers_of(gateway.pid):
                os.kill(worker, signal.SIGKILL)
            assert [caller.answer().body for caller in callers] == [b"short"] * 10


def test_a_worker_that_dies_again_and_again_waits_longer_each_time(upstream):
    with running_gateway(config(upstream)) as gateway:
        (keeper_first, *_) = workers_of(gateway.pid)
        os.kill(keeper_first, signal.SIGKILL)
        assert gateway.wait_for_log("worker_died", 1)["next_in_s"] == 0
        gateway.wait_for_log("worker_ready", 3)
        os.kill(max(workers_of(gateway.pid)), signal.SIGKILL)
        assert 0.2 <= gateway.wait_for_log("worker_died", 2)["next_in_s"] <= 1.0


def test_a_place_that_cannot_be_filled_is_tried_again_and_again(upstream):
    with running_gateway(config(upstream)) as gateway:
        limits = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        # No descriptor is left for the pipes to a worker, nor for anything else.
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
        os.kill(workers_of(gateway.pid)[0], signal.SIGKILL)
        failed = gateway.wait_for_log("worker_not_started", 3)
        assert failed["error"]
        assert failed["next_in_s"] >= 0.4
        assert len(workers_of(gateway.pid)) == 1
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, limits)
        gateway.wait_for_log("worker_ready", 3, 20.0)
        assert len(workers_of(gateway.pid)) == 2
        assert admin_status(gateway, "/readyz") == 200
        assert gateway.stop() == 0


def test_nobody_is_kept_waiting_by_a_gateway_that_ends(upstream, stream, streams):
    with running_gateway(config(upstream)) as gateway:
        (caller,) = streams(gateway.port, 1)
        gateway.signal(signal.SIGTERM)
        gateway.wait_for_log("draining", 2)
        with pytest.raises(ConnectionError):
            RawCaller(gateway.port)
        stream.end.set()
        assert comes_to_its_end(caller)
        assert gateway.wait() == 0


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
                caller.request(b"POST", SHORT, body=b"x" * 2000)
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
        assert (admin_status(gateway, "/livez"), admin_status(gateway, "/readyz")) == (200, 200)
        assert admin_status(gateway, "/api/reload", method="POST") == 401
        assert admin_status(gateway, "/api/reload", method="POST", token=gateway.admin_token) == 200
        gateway.wait_for_log("reloaded", 2)
        assert admin_status(gateway, "/nothing") == 404
        gateway.config_file.write_text("nonsense = 1\n")
        assert admin_status(gateway, "/api/reload", method="POST", token=gateway.admin_token) == 400


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
    upstream, workers, tmp_path, sizes: Sizes
):
    port, admin_port = free_ports()
    path = str(tmp_path / "weir.sock")
    tables = config(upstream, workers, port=port, socket=path)
    tables["admin"] = {"port": admin_port}
    with running_gateway(tables) as first, contextlib.ExitStack() as stack:
        state = str(first.folder / "state")
        gateway = first
        with Load(port) as load, Load(path) as local:
            for number in range(sizes.replacements):
                load.wait_for(number * sizes.replaced_requests // sizes.replacements)
                # From one worker to several and back, as an operator would.
                count = workers + number % 2
                successor = {**tables, "state_dir": state}
                successor["server"] = {**tables["server"], "workers": count}
                following = stack.enter_context(running_gateway(successor))
                assert (following.port, following.admin_port) == (port, admin_port)
                assert gateway.wait() == 0
                gateway = following
            load.wait_for(sizes.replaced_requests)
            local.wait_for(sizes.replaced_requests)
        for each in (load, local):
            print(f"{each.served} requests, {each.rate:.1f} a second, {len(each.failures)} failed")
            assert each.failures == []
            assert each.served >= sizes.replaced_requests
        assert admin_status(gateway, "/readyz") == 200
        assert gateway.stop() == 0
        assert not Path(path).exists()


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
        assert admin_status(older, "/readyz") == 200
        with running_gateway({**tables, "state_dir": state}) as newer:
            assert older.wait() == 0
            assert admin_status(newer, "/readyz") == 200
