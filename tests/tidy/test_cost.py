"""A plugin that is not enabled costs nothing: frames are counted, not timed, and never flicker."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median_low
from typing import Any

import pytest

from gateway import hooks, plugins
from gateway.config import Config
from gateway.plan import ON_THE_LINE
from tests.tidy.source import ROOT

# Frames of ours for one request that passes through, and for one more chunk of its answer. Both
# stand a little above what the code enters, and may only shrink.
FRAMES_MAX = 90
FRAMES_PER_CHUNK_MAX = 5.5
ROUNDS = 9
CHUNKS = 40

IDLE = """
from gateway import hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    def endpoints(self, gateway): return []
"""
ONE_HOOK = (
    IDLE
    + """
    @hookimpl
    def account(self, exchange): pass
"""
)


class Upstream(BaseHTTPRequestHandler):
    """Answers a POST with a sized body, and /stream with one chunk after the other."""

    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if not self.path.endswith("/stream"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        self.wfile.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(CHUNKS):
            threading.Event().wait(0.002)
            self.wfile.write(b"c\r\ndata: {..}\n\n\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Say nothing; the base class writes to standard error."""


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def configured(folder: Path, port: int, plugin: str) -> Path:
    enabled: list[str] = []
    if plugin:
        (folder / "one.py").write_text(plugin)
        enabled = [str(folder / "one.py")]
    config = folder / "config.toml"
    config.write_text(
        f"state_dir = {json.dumps(str(folder / 'state'))}\n"
        f"enabled = {json.dumps(enabled)}\n"
        "[server]\nport = 0\n[admin]\nport = 0\n"
        f'[providers.up]\nbase_url = "http://127.0.0.1:{port}"\ndialect = "openai"\n'
    )
    return config


class Counted:
    """A gateway in a process of its own that counts its frames."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        address = self.said()["callers"].removeprefix("http://")
        self.caller = http.client.HTTPConnection(address, timeout=10)

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the gateway did not start"
        return dict(json.loads(line))

    def asked(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.said()

    def frames(self, path: str) -> int:
        """Count for one request; the middle of several, since a clock may tick in one of them."""
        counts = []
        for _ in range(ROUNDS):
            before = self.asked()["entered"]
            self.caller.request("POST", path, b"{}", {"Content-Type": "application/json"})
            answer = self.caller.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            counts.append(self.settled() - before)
        return median_low(counts[1:])  # the first one opens the connection

    def settled(self) -> int:
        """Count once the request has left nothing to do."""
        last, now = -1, self.asked()["entered"]
        while last != now:
            threading.Event().wait(0.01)
            last, now = now, self.asked()["entered"]
        return now


@contextlib.contextmanager
def counted(folder: Path, plugin: str = "") -> Iterator[Counted]:
    with upstream() as port:
        config = configured(folder, port, plugin)
        command = [sys.executable, "-m", "tests.tidy.counted", str(config)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                gateway = Counted(process)
                with contextlib.closing(gateway.caller):
                    yield gateway
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[Counted]:
    with counted(tmp_path_factory.mktemp("empty")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def frames(empty) -> int:
    return empty.frames("/up/v1/chat/completions")


def test_the_empty_plan_is_all_empty_tuples():
    plan = plugins.load(Config(enabled=())).plans["default"]
    assert {name: getattr(plan, name) for name in ON_THE_LINE} == dict.fromkeys(ON_THE_LINE, ())


def test_every_hook_of_the_line_is_in_the_plan():
    assert {"lifespan", "endpoints", *ON_THE_LINE} == set(hooks.NAMES)


def test_a_plugin_that_is_not_enabled_is_not_imported(empty):
    assert empty.asked()["plugins"] == []


def test_a_request_that_passes_through_enters_few_frames(frames, capsys):
    with capsys.disabled():
        print(f"\n{frames} frames of ours for a request that passes through")
    assert 0 < frames <= FRAMES_MAX


def test_a_chunk_that_passes_through_enters_few_frames(empty, frames, capsys):
    each = (empty.frames("/up/v1/stream") - frames) / CHUNKS
    with capsys.disabled():
        print(f"\n{each:.1f} frames of ours for one more chunk")
    assert 0 < each <= FRAMES_PER_CHUNK_MAX


def test_an_idle_plugin_adds_no_frame(tmp_path, frames):
    with counted(tmp_path, IDLE) as gateway:
        assert gateway.frames("/up/v1/chat/completions") == frames


def test_a_hook_adds_its_own_frame_and_no_other(tmp_path, frames):
    with counted(tmp_path, ONE_HOOK) as gateway:
        assert gateway.frames("/up/v1/chat/completions") == frames + 1
