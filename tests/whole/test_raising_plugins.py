"""A plugin that raises, in any phase, changes nothing about the truth of an ending."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    running_gateway,
    streams,
)
from tests.whole.deaths import BY_NAME, DONE, ONE

PLUGIN = '''
"""Raises in the phase that its config names."""

import msgspec

from gateway import hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """phase: Where to raise."""

    phase: str = ""


class Watcher:
    def __init__(self, raises):
        self.raises = raises
        self.count = 0

    def __call__(self, data):
        self.feed(data)

    def feed(self, data):
        self.count += 1
        if self.raises and self.count == 2:
            raise LookupError("raised on purpose")
        return data

    def end(self):
        if self.raises == "end":
            raise LookupError("raised on purpose")
        return b""


class Plugin:
    fails = "FAILS"

    def __init__(self, config):
        pass

    def at(self, exchange, phase):
        if exchange.settings["NAME"].phase == phase:
            raise LookupError("raised on purpose")

    @hookimpl
    async def authenticate(self, exchange):
        self.at(exchange, "authenticate")

    @hookimpl
    async def prepare(self, exchange):
        self.at(exchange, "prepare")

    @hookimpl
    async def lookup(self, exchange):
        self.at(exchange, "lookup")

    @hookimpl
    async def limit(self, exchange):
        self.at(exchange, "limit")

    @hookimpl
    def pick(self, exchange):
        self.at(exchange, "pick")

    @hookimpl
    async def send(self, exchange, attempt):
        self.at(exchange, "send")

    @hookimpl
    def judge(self, exchange, attempt):
        self.at(exchange, "judge")

    @hookimpl
    def answer(self, exchange, head):
        self.at(exchange, "answer")

    @hookimpl
    def rewrite(self, exchange):
        self.at(exchange, "rewrite")
        phase = exchange.settings["NAME"].phase
        if phase.startswith("rewrite_"):
            return Watcher(phase.removeprefix("rewrite_"))

    @hookimpl
    def tap(self, exchange, side):
        self.at(exchange, "tap")
        if exchange.settings["NAME"].phase == "tap_" + side:
            return Watcher("feed")

    @hookimpl
    def settle(self, exchange):
        self.at(exchange, "settle")

    @hookimpl
    def account(self, exchange):
        self.at(exchange, "account")
'''
# What a caller sees: an answer of ours before any upstream is asked, one after that, a cut behind
# the first slice, or what it would have seen without the plugin.
REFUSED, FAILED, CUT, SAME = "refused", "failed", "cut", "same"
PHASES = {
    ("closed", "authenticate"): REFUSED,
    ("closed", "prepare"): REFUSED,
    ("closed", "lookup"): SAME,
    ("closed", "limit"): REFUSED,
    ("open", "limit"): SAME,
    ("closed", "pick"): REFUSED,
    ("closed", "send"): REFUSED,
    ("closed", "judge"): FAILED,
    ("closed", "answer"): FAILED,
    ("closed", "rewrite"): FAILED,
    ("closed", "rewrite_feed"): CUT,
    ("closed", "rewrite_end"): CUT,
    ("closed", "tap"): SAME,
    ("closed", "tap_upstream"): SAME,
    ("closed", "tap_caller"): SAME,
    ("closed", "settle"): SAME,
    ("closed", "account"): SAME,
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(streams([])) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory) -> Iterator[RunningGateway]:
    """Run one gateway, with a named one for each phase."""
    folder: Path = tmp_path_factory.mktemp("plugins")
    for fails in ("open", "closed"):
        text = PLUGIN.replace("NAME", f"raises_{fails}").replace("FAILS", fails)
        (folder / f"raises_{fails}.py").write_text(text)
    gateways = {
        f"{fails}-{phase.replace('_', '-')}": {
            "enabled": [str(folder / f"raises_{fails}.py")],
            "plugins": {f"raises_{fails}": {"phase": phase}},
        }
        for fails, phase in PHASES
    }
    config = {"providers": {"openai": upstream.provider()}, "gateways": gateways}
    with running_gateway(config) as gateway:
        yield gateway


def ask(gateway: RunningGateway, fails: str, phase: str) -> RawAnswer:
    name = f"{fails}-{phase.replace('_', '-')}".encode()
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", b"/openai/v1/chat/completions", (b"weir-gateway", name), body=b"{}")
        return caller.answer()


@pytest.mark.parametrize(("fails", "phase"), PHASES)
def test_a_healthy_stream_stays_whole_or_is_visibly_not(upstream, gateway, fails, phase):
    upstream.script = streams([ONE, DONE], pause_s=0.02)
    upstream.forget()
    answer = ask(gateway, fails, phase)

    match PHASES[fails, phase]:
        case "same":
            assert (answer.status, answer.body, answer.is_complete) == (200, ONE + DONE, True)
        case "cut":
            assert (answer.status, answer.is_complete) == (200, False)
            assert (ONE + DONE).startswith(answer.body)
            assert answer.body.startswith(ONE)
        case kind:
            assert (answer.status, answer.is_complete) == (500, True)
            assert b"on purpose" not in answer.raw
            assert (len(upstream.requests) == 0) == (kind == "refused")


@pytest.mark.parametrize(("fails", "phase"), PHASES)
@pytest.mark.parametrize("death", ["fin_inside_an_event_and_a_character", "reset_before_the_head"])
def test_a_dead_upstream_is_told_all_the_same(upstream, gateway, fails, phase, death):
    upstream.script = BY_NAME[death].script
    answer = ask(gateway, fails, phase)

    body = BY_NAME[death].body
    if PHASES[fails, phase] in ("refused", "failed"):
        assert (answer.status >= 500, answer.is_complete) == (True, True)
    elif body is None:
        assert (answer.status, answer.is_complete) == (502, True)
    else:
        assert (answer.status, answer.is_complete) == (200, False)
        if PHASES[fails, phase] == "same":
            assert answer.body == body


@pytest.mark.parametrize(("fails", "phase"), PHASES)
def test_the_log_names_the_plugin(upstream, gateway, fails, phase):
    def blamed() -> int:
        return sum(
            line.get("plugin") == f"raises_{fails}" and "on purpose" in line.get("error", "")
            for line in gateway.log
        )

    upstream.script = streams([ONE, DONE], pause_s=0.02)
    before = blamed()
    ask(gateway, fails, phase)
    patient_until = time.monotonic() + 2
    while blamed() == before and time.monotonic() < patient_until:
        time.sleep(0.02)

    assert blamed() > before
