"""The process: its start, its signals, its reload and its end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from gateway.testing import (
    BrokenOff,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    answers,
    chunk,
    head,
    running_gateway,
    sized,
)

LIVES = """
import contextlib, os
from pathlib import Path
import msgspec
from gateway import Endpoint, Route, StartError, hookimpl

class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    word: str = "first"
    fault: str = ""

def note(text):
    with Path("order.txt").open("a") as file:
        file.write(text + "\\n")

class Plugin:
    def __init__(self, config):
        self.fault = config.fault

    @hookimpl
    @contextlib.asynccontextmanager
    async def lifespan(self, gateway):
        if self.fault == "start":
            raise StartError("the store is away")
        if self.fault == "lifespan":
            raise LookupError("the store is away")
        note(f"NAME up {gateway.state_path.is_dir()}")
        yield
        note("NAME down")

    @hookimpl
    def endpoints(self, gateway):
        if self.fault == "endpoints":
            raise LookupError("no page today")
        return [Route("/openai/x")] if self.fault == "route" else []

    @hookimpl
    def answer(self, exchange, head):
        head.headers.add(b"X-NAME", exchange.settings["NAME"].word.encode())

    @hookimpl
    def settle(self, exchange):
        note("NAME settled " + exchange.outcome)
"""
CHUNKED = (b"Transfer-Encoding", b"chunked")
EVENTS = (b"Content-Type", b"text/event-stream")
ONE, DONE = b"data: 1\n\n", b"data: [DONE]\n\n"


@pytest.fixture
def go():
    """Give what a held stream waits for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def held(go):
    """Give an upstream whose stream at /v1/held goes on when the test says so."""

    def script(visit):
        visit.read()
        if visit.request.target != b"/v1/held":
            visit.send(sized(b"{}"))
            return
        visit.send(head(200, EVENTS, CHUNKED) + chunk(ONE))
        visit.wait(go)
        visit.send(chunk(DONE) + chunk(b""))

    with ScriptedUpstream(script) as upstream:
        yield upstream
        go.set()


@pytest.fixture
def plugin(tmp_path):
    """Write a plugin with a lifespan under that name."""

    def written(name: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(LIVES.replace("NAME", name))
        return path

    return written


def order(gateway: RunningGateway) -> list[str]:
    return (gateway.folder / "order.txt").read_text().splitlines()


def started(caller: RawCaller) -> Iterator[bytes]:
    """Ask for the stream that is held; give its further pieces, the first one being here."""
    caller.request(b"GET", b"/openai/v1/held")
    caller.answer_head()
    pieces = (piece for _, piece in caller.wire.chunks() if piece)
    assert next(pieces) == ONE
    return pieces


def ready(gateway: RunningGateway) -> int:
    with RawCaller(gateway.admin_port) as caller:
        caller.request(b"GET", b"/readyz")
        return caller.answer().status


def ask(gateway: RunningGateway, target: bytes = b"/openai/v1/models"):
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", target)
        return caller.answer()


def wait_until(true, timeout_s: float = 5.0) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


# -- start -----------------------------------------------------------------------------------------


def test_one_line_says_where_it_listens(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(
        f'state_dir = "{tmp_path}/state"\nenabled = []\n[server]\nport = 0\n[admin]\nport = 0\n'
    )
    command = [sys.executable, "-m", "gateway", "run", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = orjson.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert list(line) == ["event", "callers", "admin", "pid"]
    assert (line["event"], line["pid"], rest) == ("listening", process.pid, b"")
    assert line["callers"].startswith("http://127.0.0.1:")
    assert line["callers"] != line["admin"]


@pytest.mark.parametrize("listener", ["server", "admin"])
def test_a_port_that_is_taken_stops_the_start_and_says_which(listener):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed) as failed, running_gateway({listener: {"port": port}}):
            pass

    assert failed.value.code == 78
    assert f"[{listener}] 127.0.0.1:{port}" in failed.value.stderr
    assert f"set another {listener}.port" in failed.value.stderr
    assert "Traceback" not in failed.value.stderr


def test_a_state_directory_that_cannot_be_made_stops_the_start():
    with pytest.raises(StartFailed) as failed, running_gateway({"state_dir": "/dev/null/state"}):
        pass

    assert failed.value.code == 78
    assert "state_dir /dev/null/state" in failed.value.stderr
    assert "WEIR_STATE_DIR" in failed.value.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("start", 'plugin "late": the store is away'),
        ("lifespan", "plugin \"late\" failed to start: LookupError('the store is away')"),
        ("endpoints", 'plugin "late"'),
        ("route", 'plugin "late": route "/openai/x": /openai/ leads to the provider'),
    ],
)
def test_a_fault_in_lifespan_or_endpoints_stops_the_start(plugin, tmp_path, fault, said):
    config = {"plugins": {"late": {"fault": fault}}}
    plugins = [plugin("early"), plugin("late")]
    with pytest.raises(StartFailed) as failed, running_gateway(config, plugins=plugins):
        pass

    assert failed.value.code == 78
    assert said in failed.value.stderr
    assert "Traceback" not in failed.value.stderr


def test_lifespans_open_in_the_order_of_enabled_and_close_in_reverse(plugin):
    with running_gateway(plugins=[plugin("a"), plugin("b")]) as gateway:
        assert gateway.stop() == 0
        assert order(gateway) == ["a up True", "b up True", "b down", "a down"]


def test_a_gateway_without_guards_is_told_at_start():
    gateways = {"wide": {"open": True}, "narrow": {"open": False}}
    with running_gateway({"gateways": gateways}) as gateway:
        gateway.wait_for_log("gateway_open")
        assert gateway.stop() == 0
        told = [line["gateway"] for line in gateway.log if line["event"] == "gateway_open"]

    assert told == ["wide"]


# -- what is durable before the caller sees the end ------------------------------------------------


def test_what_settle_wrote_is_there_when_the_caller_sees_the_end(plugin, held, go):
    config = {"providers": {"openai": held.provider()}}
    with running_gateway(config, plugins=[plugin("a")]) as gateway:
        with RawCaller(gateway.port) as caller:
            pieces = started(caller)
            assert order(gateway) == ["a up True"]
            go.set()
            assert next(pieces) == DONE
            assert order(gateway) == ["a up True", "a settled complete"]


# -- drain -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_ends_at_once(number):
    with running_gateway() as gateway, RawCaller(gateway.port) as idle:
        started_s = time.monotonic()
        gateway.signal(number)

        assert gateway.wait() == 0
        assert time.monotonic() - started_s < 2
        assert idle.ending() == "fin"


def test_a_drain_lets_streams_finish_and_nobody_in(held, go):
    with running_gateway({"providers": {"openai": held.provider()}}) as gateway:
        with RawCaller(gateway.port) as caller, RawCaller(gateway.port) as idle:
            pieces = started(caller)
            gateway.signal(signal.SIGTERM)
            wait_until(lambda: ready(gateway) == 503)
            assert idle.ending() == "fin"
            with pytest.raises(ConnectionRefusedError):
                ask(gateway)
            go.set()
            assert list(pieces) == [DONE]
            assert caller.ending() == "fin"
        assert gateway.wait() == 0


def test_what_outlasts_the_drain_is_cut_truthfully(plugin, held):
    config = {"providers": {"openai": held.provider()}, "server": {"drain_timeout": "100ms"}}
    with running_gateway(config, plugins=[plugin("a")]) as gateway:
        with RawCaller(gateway.port) as caller:
            pieces = started(caller)
            gateway.signal(signal.SIGTERM)
            with pytest.raises(BrokenOff):
                next(pieces)
        assert gateway.wait() == 0
        assert order(gateway) == ["a up True", "a settled stopped", "a down"]
        held.connections[0].wait_gone()


def test_what_has_not_begun_at_the_end_of_the_drain_is_a_503(held):
    held.script = lambda visit: visit.wait_gone()
    config = {"providers": {"openai": held.provider()}, "server": {"drain_timeout": "100ms"}}
    with running_gateway(config) as gateway:
        with RawCaller(gateway.port) as caller:
            caller.request(b"GET", b"/openai/v1/held")
            held.wait_for_requests(1)
            gateway.signal(signal.SIGTERM)
            answer = caller.answer()
        assert gateway.wait() == 0

    assert (answer.status, answer.is_complete) == (503, True)
    assert answer.get(b"connection") == b"close"


def test_a_second_signal_ends_at_once(held):
    with running_gateway({"providers": {"openai": held.provider()}}) as gateway:
        with RawCaller(gateway.port) as caller:
            pieces = started(caller)
            gateway.signal(signal.SIGTERM)
            wait_until(lambda: ready(gateway) == 503)
            begun_s = time.monotonic()
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
            assert time.monotonic() - begun_s < 2
            with pytest.raises(BrokenOff):
                next(pieces)


# -- reload ----------------------------------------------------------------------------------------


def reload(gateway: RunningGateway, config, event: str = "reloaded") -> dict:
    """Write a configuration and send SIGHUP; give the line that the log has on it."""
    seen = sum(line["event"] == event for line in gateway.log)
    gateway.write_config(config)
    gateway.signal(signal.SIGHUP)
    return gateway.wait_for_log(event, seen + 1)


@pytest.fixture
def reloading(plugin, held):
    """Run a gateway whose configuration the test changes; give both."""
    config = {
        "enabled": [str(plugin("a"))],
        "providers": {"openai": held.provider()},
    }
    with running_gateway(config) as gateway:
        yield gateway, config


def test_a_reload_changes_settings_and_runs_no_lifespan_again(reloading):
    gateway, config = reloading
    assert ask(gateway).get(b"x-a") == b"first"
    said = reload(gateway, {**config, "plugins": {"a": {"word": "second"}}})

    assert said["restart_needed"] == []
    assert ask(gateway).get(b"x-a") == b"second"
    assert order(gateway).count("a up True") == 1
    assert gateway.stop() == 0


def test_a_reload_changes_providers_and_gateways(reloading):
    gateway, config = reloading
    with ScriptedUpstream(answers(b"another")) as another:
        config["providers"] = {"openai": another.provider()}
        config["gateways"] = {"new": {"plugins": {"a": {"word": "its own"}}}}
        reload(gateway, config)
        with RawCaller(gateway.port) as caller:
            caller.request(b"GET", b"/openai/v1/models", (b"weir-gateway", b"new"))
            answer = caller.answer()

    assert (answer.body, answer.get(b"x-a")) == (b"another", b"its own")


def test_a_running_exchange_keeps_the_plan_it_began_with(reloading, held, go):
    gateway, config = reloading
    held.script = lambda visit: (visit.read(), visit.wait(go), visit.send(sized(b"late")))
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/held")
        held.wait_for_requests(1)
        reload(gateway, {**config, "plugins": {"a": {"word": "second"}}})
        go.set()
        answer = caller.answer()

    assert (answer.body, answer.get(b"x-a")) == (b"late", b"first")


def test_a_reload_with_a_fault_changes_nothing(reloading):
    gateway, config = reloading
    said = reload(gateway, {**config, "plugins": {"a": {"wurd": "x"}}}, "reload_failed")

    assert "did you mean word?" in said["error"]
    assert "config.toml:" in said["error"]
    assert ask(gateway).get(b"x-a") == b"first"
    reload(gateway, {**config, "plugins": {"a": {"word": "repaired"}}})
    assert ask(gateway).get(b"x-a") == b"repaired"


def test_a_reload_says_what_waits_for_a_restart(reloading):
    gateway, config = reloading
    changed = {**config, "enabled": [], "server": {"drain_timeout": "1s"}, "admin": {"port": 1}}
    said = reload(gateway, changed)

    assert said["restart_needed"] == ["enabled", "server", "admin"]
    assert ask(gateway).get(b"x-a") == b"first"
    assert ready(gateway) == 200
