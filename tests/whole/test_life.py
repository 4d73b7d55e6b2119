"""Start, drain, reload and end of the process."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    Visit,
    answers,
    running_gateway,
)
from tests.whole.lives import SHORT, Stream, admin_status, ask, begun, comes_to_its_end, until


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def upstream(stream) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(stream) as upstream:
        yield upstream


def config(upstream: ScriptedUpstream, drain_timeout: str = "10s") -> dict[str, object]:
    return {
        "providers": {"openai": upstream.provider()},
        "server": {"drain_timeout": drain_timeout},
    }


# -- start -----------------------------------------------------------------------------------------


def test_one_line_on_stdout_says_where_it_listens(upstream):
    with running_gateway(config(upstream)) as gateway:
        assert gateway.stop() == 0
        assert gateway.process.stdout is not None
        assert gateway.process.stdout.read() == b""


def test_a_port_that_is_taken_stops_the_start(upstream):
    with (
        running_gateway(config(upstream)) as gateway,
        pytest.raises(StartFailed) as failed,
        running_gateway({"server": {"port": gateway.port}}),
    ):
        pass

    assert failed.value.code not in (0, None)
    assert str(gateway.port) in failed.value.stderr
    assert "Traceback" not in failed.value.stderr


# -- drain -----------------------------------------------------------------------------------------


def test_streams_finish_while_nobody_new_is_let_in(upstream, stream):
    with (
        running_gateway(config(upstream)) as gateway,
        RawCaller(gateway.port) as caller,
        RawCaller(gateway.port) as idle,
    ):
        ask(idle, SHORT)
        assert idle.answer().body == b"short"
        begun(caller)
        gateway.signal(signal.SIGTERM)
        assert until(lambda: admin_status(gateway, "/readyz") == 503)

        assert idle.ending() == "fin"
        with pytest.raises(ConnectionError):
            RawCaller(gateway.port)
        stream.end.set()
        began = time.monotonic()
        assert comes_to_its_end(caller)
        assert gateway.wait() == 0
        assert time.monotonic() - began < 2  # nothing is left to wait for


def test_an_answer_during_the_drain_says_close(upstream, stream):
    hold = threading.Event()

    def held(visit: Visit) -> None:
        visit.read()
        visit.wait(hold)
        answers(b"held")(visit)

    upstream.script = held
    with running_gateway(config(upstream)) as gateway, RawCaller(gateway.port) as caller:
        ask(caller)
        upstream.wait_for_requests(1)
        gateway.signal(signal.SIGTERM)
        assert until(lambda: admin_status(gateway, "/readyz") == 503)
        hold.set()
        answer = caller.answer()

        assert (answer.body, answer.is_complete) == (b"held", True)
        assert answer.get(b"connection") == b"close"
        assert caller.ending() == "fin"
        assert gateway.wait() == 0


def test_what_does_not_finish_in_time_is_cut_truthfully(upstream):
    with (
        running_gateway(config(upstream, "500ms")) as gateway,
        RawCaller(gateway.port) as caller,
        RawCaller(gateway.port) as old,
    ):
        begun(caller)
        old.send(b"GET /openai/v1/x HTTP/1.0\r\n\r\n")
        assert old.answer_head().status == 200
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)

        assert gateway.wait() == 0
        assert 0.4 < time.monotonic() - began < 3
        assert caller.everything() == b""  # no last chunk
        assert old.ending() == "reset"
        upstream.requests[0].connection.wait_gone(1)


def test_who_waits_for_a_head_when_the_time_is_up_is_told(upstream):
    upstream.script = lambda visit: visit.wait_gone()
    with (
        running_gateway(config(upstream, "300ms")) as gateway,
        RawCaller(gateway.port) as caller,
    ):
        ask(caller)
        upstream.wait_for_requests(1)
        gateway.signal(signal.SIGTERM)
        answer = caller.answer()

        assert (answer.status, answer.is_complete) == (503, True)
        assert json.loads(answer.body)["error"]["message"]
        assert gateway.wait() == 0


def test_a_second_signal_ends_it_at_once(upstream):
    with running_gateway(config(upstream)) as gateway, RawCaller(gateway.port) as caller:
        begun(caller)
        gateway.signal(signal.SIGTERM)
        assert until(lambda: admin_status(gateway, "/readyz") == 503)
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        gateway.wait()

        assert time.monotonic() - began < 2
        assert not caller.everything().endswith(b"0\r\n\r\n")


def test_control_c_ends_it_quietly(upstream):
    with running_gateway(config(upstream)) as gateway:
        gateway.signal(signal.SIGINT)

        assert gateway.wait() == 0
        assert gateway.crashes == []


def test_without_callers_it_ends_at_once(upstream):
    with running_gateway(config(upstream)) as gateway, RawCaller(gateway.port) as idle:
        ask(idle, SHORT)
        idle.answer()
        began = time.monotonic()

        assert gateway.stop() == 0
        assert time.monotonic() - began < 1.5


# -- reload ----------------------------------------------------------------------------------------

PLUGIN = '''
"""Puts a word from its config into every answer, and counts how often it was started."""

from contextlib import asynccontextmanager

import msgspec

from gateway import hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """word: What to say."""

    word: str = ""


class Plugin:
    started = 0

    def __init__(self, config):
        pass

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway):
        self.started += 1
        yield

    @hookimpl
    def answer(self, exchange, head):
        head.headers.add(b"X-Started", b"%d" % self.started)
        head.headers.add(b"X-Word", exchange.settings["word"].word.encode())
'''


@pytest.fixture
def worded(upstream, tmp_path) -> Iterator[RunningGateway]:
    (tmp_path / "word.py").write_text(PLUGIN)
    with running_gateway(
        {**config(upstream), "plugins": {"word": {"word": "old"}}}, plugins=[tmp_path / "word.py"]
    ) as gateway:
        yield gateway


def new_word(gateway: RunningGateway, upstream: ScriptedUpstream, **changes: object) -> None:
    gateway.write_config(
        {
            **config(upstream),
            "enabled": gateway.enabled,
            "plugins": {"word": {"word": "new"}},
            **changes,
        }
    )


def word_of(caller: RawCaller) -> bytes | None:
    ask(caller, SHORT)
    return caller.answer().get(b"x-word")


@pytest.mark.parametrize("by", ["signal", "admin"])
def test_a_reload_changes_what_comes_next_and_nothing_that_runs(worded, upstream, stream, by):
    new_word(worded, upstream)
    with RawCaller(worded.port) as running, RawCaller(worded.port) as caller:
        ask(running)
        before = running.answer_head()
        assert word_of(caller) == b"old"
        if by == "signal":
            worded.signal(signal.SIGHUP)
        else:
            token = worded.admin_token
            assert admin_status(worded, "/api/reload", method="POST", token=token) == 200
        assert until(lambda: word_of(caller) == b"new")
        stream.end.set()

        assert before.get(b"x-word") == b"old"
        assert rest_of_stream(running) == b"data: 1\n\ndata: 2\n\n"
        ask(caller, SHORT)
        assert caller.answer().get(b"x-started") == b"1"  # lifespan is not run again


def rest_of_stream(caller: RawCaller) -> bytes:
    return b"".join(piece for _, piece in caller.wire.chunks())


@pytest.mark.parametrize(
    ("wrong", "changes"),
    [
        ("wrod", {"plugins": {"word": {"wrod": "new"}}}),
        ("header_timeout", {"limits": {"header_timeout": "soon"}}),
        ("base_url", {"providers": {"openai": {"base_url": "not a url"}}}),
        ("nonsense", {"nonsense": 1}),
    ],
)
def test_a_bad_configuration_is_refused_and_the_old_one_stays(worded, upstream, wrong, changes):
    new_word(worded, upstream, **changes)
    with RawCaller(worded.port) as caller:
        worded.signal(signal.SIGHUP)
        assert until(lambda: wrong in worded.stderr)
        assert word_of(caller) == b"old"
        assert worded.process.poll() is None


def test_a_reload_changes_providers_too(worded, upstream):
    with ScriptedUpstream(answers(b"the other")) as other:
        new_word(worded, upstream, providers={"openai": other.provider()})
        with RawCaller(worded.port) as caller:
            worded.signal(signal.SIGHUP)
            assert until(lambda: word_of(caller) == b"new")
            ask(caller)
            assert caller.answer().body == b"the other"


def test_what_only_a_restart_can_change_is_said(worded, upstream):
    new_word(worded, upstream, enabled=[])
    worded.signal(signal.SIGHUP)
    assert until(lambda: "restart" in worded.stderr)

    with RawCaller(worded.port) as caller:
        assert word_of(caller) is not None
