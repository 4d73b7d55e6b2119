"""Plugins that read or rewrite an answer's body, on bodies that are not what they say."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    Visit,
    answers,
    chunk,
    head,
    running_gateway,
)

EVENTS = b'data: {"a":1}\n\ndata: {"a":2}\r\n\r\ndata: [DONE]\n\n'

# Each kind of plugin is a gateway of its own; what a tap saw is told by the next answer's field.
PLUGIN = '''
import msgspec

from gateway import Event, hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """kind: What to be."""

    kind: str = ""


class Raw:
    def feed(self, data):
        return data.replace(b"a", b"bb")

    def end(self):
        return b"END"


class Events:
    def __init__(self):
        self.seen = []

    def event(self, event):
        self.seen.append(event.data)
        if event.data != b'{"a":1}':
            yield event
            yield Event.make(b"more")

    def end(self):
        return b": end\\n\\n"


class Plugin:
    reads = None

    def __init__(self, config):
        self.seen = {}

    def kind(self, exchange):
        return exchange.settings["watching"].kind

    @hookimpl
    def answer(self, exchange, head):
        seen = self.seen.pop(self.kind(exchange), None)
        head.headers.add(b"X-Seen", repr(seen).encode())

    @hookimpl
    def tap(self, exchange, side):
        kind = self.kind(exchange)
        if kind in ("tap-upstream", "tap-caller") and kind.endswith(side):
            self.seen[kind] = b""

            def see(data):
                self.seen[kind] += data

            return see
        if kind == "tap-length":
            return len
        if kind == "tap-length-of-events" and side == "upstream":
            return LengthTap()
        if kind == "tap-events" and side == "upstream":
            self.seen[kind] = []
            return EventTap(self.seen[kind])

    @hookimpl
    def rewrite(self, exchange):
        match self.kind(exchange):
            case "rewrite-bytes":
                return Raw()
            case "rewrite-events":
                return Events()


class LengthTap:
    def event(self, event):
        len(event.raw)


class EventTap:
    def __init__(self, seen):
        self.seen = seen

    def event(self, event):
        self.seen.append(event.data)
'''
READING = ("tap-upstream", "tap-caller", "tap-events")
COUNTING = ("tap-length", "tap-length-of-events")
REWRITING = ("rewrite-bytes", "rewrite-events")
KINDS = READING + COUNTING + REWRITING
EVENT_STREAM = (b"Content-Type", b"text/event-stream")


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory) -> Iterator[RunningGateway]:
    plugin = tmp_path_factory.mktemp("plugins") / "watching.py"
    plugin.write_text(PLUGIN)
    gateways = {
        kind: {"enabled": [str(plugin)], "plugins": {"watching": {"kind": kind}}} for kind in KINDS
    }
    with running_gateway(
        {"providers": {"openai": upstream.provider()}, "gateways": gateways}
    ) as gateway:
        yield gateway


def ask(gateway: RunningGateway, kind: str, method: bytes = b"POST") -> RawAnswer:
    with RawCaller(gateway.port) as caller:
        fields = (b"weir-gateway", kind.encode())
        caller.request(method, b"/openai/v1/chat/completions", fields, body=b"{}")
        return caller.answer(to=method)


def seen(gateway: RunningGateway, kind: str) -> object:
    """Give what the tap of this kind saw of the last body."""
    text = ask(gateway, kind).get(b"x-seen") or b""
    return eval(text)  # our own plugin's repr of bytes or a list of them


def sends(*pieces: bytes, coding: bytes | None = None, is_chunked: bool = True):
    def script(visit: Visit) -> None:
        visit.read()
        fields = [EVENT_STREAM]
        if coding is not None:
            fields.append((b"Content-Encoding", coding))
        if is_chunked:
            visit.send(head(200, *fields, (b"Transfer-Encoding", b"chunked")))
            for piece in pieces:
                visit.send(chunk(piece))
                visit.pause(0.002)
            visit.send(chunk(b""))
        else:
            length = (b"Content-Length", b"%d" % sum(map(len, pieces)))
            visit.send(head(200, *fields, length), *pieces)

    return script


CODINGS = {
    None: EVENTS,
    b"gzip": gzip.compress(EVENTS),
    b"deflate": zlib.compress(EVENTS),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", READING)
def test_a_tap_sees_what_the_body_says_and_the_caller_gets_what_was_sent(
    upstream, gateway, kind, coding
):
    raw = CODINGS[coding]
    upstream.script = sends(raw[:7], raw[7:20], raw[20:], coding=coding)
    answer = ask(gateway, kind)

    assert (answer.body, answer.is_complete) == (raw, True)
    assert answer.get(b"content-encoding") == coding
    upstream.script = answers(b"")
    if kind == "tap-events":
        assert seen(gateway, kind) == [b'{"a":1}', b'{"a":2}', b"[DONE]"]
    else:
        assert seen(gateway, kind) == EVENTS


@pytest.mark.parametrize(
    "coding", [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"nonsense"]
)
@pytest.mark.parametrize("kind", READING)
def test_a_tap_that_cannot_read_a_body_leaves_it_alone(upstream, gateway, kind, coding):
    raw = b"this is no such coding at all" * 10
    upstream.script = sends(raw[:100], raw[100:], coding=coding)
    answer = ask(gateway, kind)

    assert (answer.body, answer.is_complete) == (raw, True)
    assert answer.get(b"content-encoding") == coding


@pytest.mark.parametrize("kind", COUNTING)
def test_a_tap_is_not_fed_the_gigabytes_of_a_bomb_at_once(upstream, gateway, kind):
    bomb = gzip.compress(bytes(200_000_000), 9)
    upstream.script = sends(bomb, coding=b"gzip")
    memory = gateway.memory_bytes()
    answer = ask(gateway, kind)

    assert (answer.body, answer.is_complete) == (bomb, True)
    assert gateway.memory_peak_bytes() - memory < 64_000_000


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_rewriter_of_bytes_changes_the_body_and_its_length(upstream, gateway, coding, is_chunked):
    raw = CODINGS[coding]
    upstream.script = sends(raw[:7], raw[7:], coding=coding, is_chunked=is_chunked)
    upstream.forget()
    answer = ask(gateway, "rewrite-bytes")

    assert (answer.body, answer.is_complete) == (EVENTS.replace(b"a", b"bb") + b"END", True)
    assert answer.get(b"content-encoding") is None
    assert upstream.requests[0].get(b"accept-encoding") == b"identity"


@pytest.mark.parametrize("coding", CODINGS)
def test_a_rewriter_of_events_drops_keeps_and_adds(upstream, gateway, coding):
    raw = CODINGS[coding]
    upstream.script = sends(*(raw[n : n + 1] for n in range(len(raw))), coding=coding)
    answer = ask(gateway, "rewrite-events")

    more = b"data: more\n\n"
    wanted = b'data: {"a":2}\r\n\r\n' + more + b"data: [DONE]\n\n" + more + b": end\n\n"
    assert (answer.body, answer.is_complete) == (wanted, True)


def test_a_rewriter_of_an_answer_to_head_has_nothing_to_do(upstream, gateway):
    upstream.script = lambda visit: visit.send(head(200, (b"Content-Length", b"100")))
    answer = ask(gateway, "rewrite-bytes", b"HEAD")

    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("coding", [b"br", b"nonsense"])
def test_a_rewriter_that_cannot_read_the_body_does_not_let_it_pass(upstream, gateway, coding):
    upstream.script = sends(b"unreadable", coding=coding)
    answer = ask(gateway, "rewrite-bytes")

    assert (answer.status, answer.is_complete) == (502, True)
    assert b"unreadable" not in answer.raw


@pytest.mark.parametrize("kind", REWRITING)
def test_a_rewriter_of_a_body_that_is_not_what_it_says_cuts_it(upstream, gateway, kind):
    upstream.script = sends(b"this is not gzip", b"at all", coding=b"gzip")
    answer = ask(gateway, kind)

    assert not (answer.status == 200 and answer.is_complete)
    assert b"END" not in answer.body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_cut_is_a_cut_with_every_kind_of_plugin(upstream, gateway, kind, how):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, EVENT_STREAM, (b"Transfer-Encoding", b"chunked")))
        visit.send(chunk(b'data: {"a":2}\n\ndata: half'))
        visit.pause(0.02)
        getattr(visit, how)()

    upstream.script = script
    answer = ask(gateway, kind)

    assert (answer.status, answer.is_complete) == (200, False)
    assert b"END" not in answer.body
    assert b": end" not in answer.body
