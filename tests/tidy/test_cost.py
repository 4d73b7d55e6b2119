"""A plugin that is not enabled costs nothing: frames are counted, not timed, and never flicker."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median_low
from typing import Any

import pytest

from gateway import hooks, plugins
from gateway.config import Config
from gateway.plan import ON_THE_LINE
from gateway.testing import RawCaller, ScriptedUpstream, answers, streams
from tests.tidy.source import ROOT

# Frames of ours for one request that passes through, and for one more chunk of its answer. Both
# stand a little above what the code enters, and may only shrink.
FRAMES_MAX = 70
FRAMES_PER_CHUNK_MAX = 5.5
ROUNDS = 9
CHUNKS = 40
JSON = (b"Content-Type", b"application/json")

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
TWO_HOOKS = (
    ONE_HOOK
    + """
    @hookimpl
    def answer(self, exchange, head): pass

    def idle(self, config): return ("answer",)
"""
)


def configured(folder: Path, url: str, plugin: str) -> Path:
    enabled: list[str] = []
    if plugin:
        (folder / "one.py").write_text(plugin)
        enabled = [str(folder / "one.py")]
    config = folder / "config.toml"
    config.write_text(
        f"state_dir = {json.dumps(str(folder / 'state'))}\n"
        f"enabled = {json.dumps(enabled)}\n"
        "[server]\nport = 0\n[admin]\nport = 0\n"
        f'[providers.up]\nbase_url = "{url}"\ndialect = "openai"\n'
    )
    return config


class Counted:
    """A gateway in a process of its own that counts its frames, with a caller and an upstream."""

    def __init__(self, process: subprocess.Popen[str], upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.process = process
        self.caller = RawCaller(int(self.said()["callers"].rpartition(":")[2]))

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

    def frames(self, chunks: int = 0) -> int:
        """Count for one request; the middle of several, since a clock may tick in one of them."""
        events = [b"data: {}\n\n"] * chunks
        self.upstream.script = streams(events, pause_s=0.002) if chunks else answers(b"{}")
        counts = []
        for _ in range(ROUNDS):
            before = self.asked()["entered"]
            self.caller.request(b"POST", b"/up/v1/chat/completions", JSON, body=b"{}")
            assert self.caller.answer().status == 200
            counts.append(self.settled() - before)
        return median_low(counts[1:])  # the first one opens the connection

    def settled(self) -> int:
        """Count once the request has left nothing to do."""
        last, now = -1, self.asked()["entered"]
        while last != now:
            time.sleep(0.01)
            last, now = now, self.asked()["entered"]
        return now


@contextlib.contextmanager
def counted(folder: Path, plugin: str = "") -> Iterator[Counted]:
    with ScriptedUpstream(answers(b"{}")) as upstream:
        config = configured(folder, upstream.url, plugin)
        command = [sys.executable, "-m", "tests.tidy.counted", str(config)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                gateway = Counted(process, upstream)
                with gateway.caller:
                    yield gateway
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[Counted]:
    with counted(tmp_path_factory.mktemp("empty")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def frames(empty) -> int:
    return empty.frames()


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


def test_a_chunk_that_passes_through_enters_few_frames(empty, capsys):
    each = (empty.frames(2 * CHUNKS) - empty.frames(CHUNKS)) / CHUNKS
    with capsys.disabled():
        print(f"\n{each:.1f} frames of ours for one more chunk")
    assert 0 < each <= FRAMES_PER_CHUNK_MAX


def test_an_idle_plugin_adds_no_frame(tmp_path, frames):
    with counted(tmp_path, IDLE) as gateway:
        assert gateway.frames() == frames


def test_a_hook_adds_its_own_frame_and_no_other(tmp_path, frames):
    with counted(tmp_path, ONE_HOOK) as gateway:
        assert gateway.frames() == frames + 1


def test_a_hook_that_is_idle_by_its_settings_adds_none(tmp_path, frames):
    with counted(tmp_path, TWO_HOOKS) as gateway:
        assert gateway.frames() == frames + 1
