"""A request for a WebSocket goes the usual way, and only a right 101 makes a tunnel of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.handshake import accept_of
from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    answers,
    running_gateway,
)
from tests.gateway.frames import (
    ASKING,
    BINARY,
    KEY,
    MASK,
    PING,
    TEXT,
    bye,
    frame,
    packed,
    read_frame,
    switch,
)

PLUGIN = '''
"""Watches, spoils and logs WebSockets, as fields of the request ask it to."""

import msgspec

from gateway import hookimpl
from gateway.log import get

log = get("watcher")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Watcher:
    def __init__(self, side, fails):
        self.side = side
        self.fails = fails

    def message(self, direction, kind, data):
        shown = None if data is None else data[:40].decode()
        log.info("message", side=self.side, direction=direction, kind=kind, data=shown)
        if self.fails:
            raise ValueError("a tap that raises")


class Plugin:
    def __init__(self, config):
        pass

    @hookimpl
    def answer(self, exchange, head):
        spoils = exchange.control(b"spoils")
        if spoils == b"raise":
            raise ValueError("a hook that raises")
        if spoils == b"status" and head.status == 101:
            head.status = 200
        head.headers.add(b"X-Edited", b"yes")

    @hookimpl
    def tap(self, exchange, side):
        if side == "caller":
            return lambda data: log.error("bytes", data=repr(data))
        if exchange.control(b"taps") is not None:
            return Watcher(side, exchange.control(b"taps") == b"fails")

    @hookimpl
    def judge(self, exchange, attempt):
        log.info("judged", status=attempt.status, failure=getattr(attempt.failure, "code", None))

    @hookimpl
    def settle(self, exchange):
        log.info("settled", outcome=exchange.outcome)

    @hookimpl
    def account(self, exchange):
        log.info("accounted", status=exchange.status, outcome=exchange.outcome,
                 received=exchange.bytes_received, sent=exchange.bytes_sent)
'''


def echoes(visit: Visit, *fields: tuple[bytes, bytes]) -> None:
    """Switch, then send every message back, until the goodbye, which is answered."""
    visit.read()
    visit.send(switch(visit, *fields))
    while True:
        opcode, payload = read_frame(visit.connection.wire)
        visit.send(frame(opcode, payload))
        if opcode == 8:
            visit.fin()
            return


@pytest.fixture(scope="module")
def gateway(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    path: Path = tmp_path_factory.mktemp("plugin") / "watcher.py"
    path.write_text(PLUGIN)
    config = {
        "providers": {"openai": upstream.provider(api_key="env:A_KEY")},
        "limits": {"websocket_message_bytes_max": "1KiB"},
        "enabled": ["credentials"],
    }
    with running_gateway(config, plugins=[path], env={"A_KEY": "sk-of-the-gateway"}) as gateway:
        yield gateway


@pytest.fixture
def caller(upstream: ScriptedUpstream, gateway: RunningGateway) -> Iterator[RawCaller]:
    upstream.forget()
    upstream.script = echoes
    with RawCaller(gateway.port) as caller:
        yield caller


def ask(caller: RawCaller, *more: tuple[bytes, bytes], ahead: bytes = b"") -> bytes:
    """Ask for a WebSocket, and give the head of the answer, whatever it is."""
    lines = b"".join(b"%b: %b\r\n" % field for field in (*ASKING, *more))
    caller.send(b"GET /openai/v1/realtime?model=a HTTP/1.1\r\nHost: a.localhost\r\n")
    caller.send(lines + b"\r\n" + ahead)
    return caller.wire.head()


def test_the_upgrade_goes_up_and_the_tunnel_passes_both_ways(upstream, gateway, caller):
    head = ask(caller, (b"Sec-WebSocket-Protocol", b"realtime"))
    request = upstream.wait_for_requests(1)[0]

    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"\r\nX-Edited: yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" in head
    assert (request.method, request.target) == (b"GET", b"/v1/realtime?model=a")
    for name, value in ((b"upgrade", b"websocket"), (b"connection", b"Upgrade")):
        assert [got for have, got in request.fields if have.lower() == name] == [value]
    assert request.get(b"sec-websocket-key") == KEY
    assert request.get(b"sec-websocket-protocol") == b"realtime"
    assert request.get(b"authorization") == b"Bearer sk-of-the-gateway"
    assert request.get(b"content-length") is None

    caller.send(frame(TEXT, b"hello", mask=MASK))
    assert read_frame(caller.wire) == (TEXT, b"hello")
    caller.send(bye(mask=MASK))
    assert read_frame(caller.wire)[0] == 8
    assert caller.ending() == "fin"
    upstream.connections[-1].wait_gone()


def test_settle_and_account_run_once_with_what_went_through(upstream, gateway, caller):
    ask(caller)
    caller.send(frame(BINARY, bytes(1234), mask=MASK) + bye(mask=MASK))
    down = frame(BINARY, bytes(1234)) + bye()
    assert caller.everything() == down
    up = len(frame(BINARY, bytes(1234), mask=MASK) + bye(mask=MASK))

    def lines(event: str) -> list[dict[str, object]]:
        return [line for line in gateway.log if line["event"] == event]

    upstream.wait_for(lambda: up in [line["received"] for line in lines("accounted")])
    (line,) = (line for line in lines("accounted") if line["received"] == up)
    assert (line["status"], line["outcome"], line["sent"]) == (101, "complete", len(down))
    upstream.wait_for(lambda: len(lines("accounted")) == len(lines("settled")))


def test_what_is_sent_ahead_goes_up_once_the_tunnel_is_there(upstream, gateway, caller):
    def thinks(visit: Visit) -> None:
        visit.read()
        visit.pause(0.2)  # until then the caller is paused, with more ahead than is kept
        echoes(visit)

    upstream.script = thinks
    ahead = frame(TEXT, b"early", mask=MASK) + frame(BINARY, bytes(1_000_000), mask=MASK)
    ask(caller, ahead=ahead)
    assert read_frame(caller.wire) == (TEXT, b"early")
    assert read_frame(caller.wire) == (BINARY, bytes(1_000_000))


def test_what_comes_with_the_head_of_the_101_comes_down(upstream, gateway, caller):
    def says_hello(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit) + frame(TEXT, b"hello") + frame(TEXT, b"again")[:3])
        visit.pause(0.05)
        visit.send(frame(TEXT, b"again")[3:])
        visit.wait_gone()

    upstream.script = says_hello
    ask(caller)
    assert read_frame(caller.wire) == (TEXT, b"hello")
    assert read_frame(caller.wire) == (TEXT, b"again")


# -- no tunnel -------------------------------------------------------------------------------------

BEHIND = b"GET /openai/v1/behind HTTP/1.1\r\nHost: a.localhost\r\n\r\n"


@pytest.mark.parametrize("status", [200, 403, 426])
def test_any_other_answer_is_an_answer_and_http_goes_on(upstream, gateway, caller, status):
    upstream.script = answers(b"no", status=status)
    asked = b"".join(b"%b: %b\r\n" % field for field in ASKING)
    line = b"GET /openai/v1/realtime HTTP/1.1\r\nHost: a.localhost\r\n"
    caller.send(line + asked + b"\r\n" + BEHIND)
    first, second = caller.answer(), caller.answer()

    assert (first.status, first.body, first.is_complete) == (status, b"no", True)
    assert (second.status, second.body) == (status, b"no")
    targets = [request.target for request in upstream.requests]
    assert targets == [b"/v1/realtime", b"/v1/behind"]
    # Nothing of what came behind was sent up with the first, and the refusal kept its connection.
    assert upstream.requests[0].connection is upstream.requests[1].connection


def test_what_comes_behind_is_no_request_before_the_answer_is_known(upstream, gateway, caller):
    def thinks(visit: Visit) -> None:
        visit.read()
        visit.pause(0.3)
        seen.append(len(upstream.requests))
        echoes(visit)

    seen: list[int] = []
    upstream.script = thinks
    ask(caller, ahead=BEHIND)
    upstream.wait_for(lambda: bool(seen))
    assert seen == [1]


def test_frames_behind_a_refusal_are_no_http_and_go_nowhere(upstream, gateway, caller):
    upstream.script = answers(b"no", status=403)
    ask(caller, ahead=frame(TEXT, BEHIND, mask=MASK))
    raw = caller.everything()

    assert raw.startswith(b"no" + b"HTTP/1.1 400 ")
    assert len(upstream.requests) == 1


WRONG = {
    "wrong_accept": lambda visit: switch(visit, accept=b"x"),
    "no_accept": lambda visit: switch(visit, accept=b" "),
    "other_protocol": lambda visit: switch(visit).replace(b"websocket", b"h2c"),
    "no_connection": lambda visit: switch(visit).replace(b"Connection: Upgrade\r\n", b""),
    "no_upgrade": lambda visit: switch(visit).replace(b"Upgrade: websocket\r\n", b""),
    "old_version": lambda visit: switch(visit).replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_101_is_a_502_and_no_tunnel(upstream, gateway, caller, name):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(WRONG[name](visit) + frame(TEXT, b"not yours"))
        visit.wait_gone()

    upstream.script = script
    caller.send(b"GET /openai/v1/realtime HTTP/1.1\r\nHost: a.localhost\r\n")
    caller.send(b"".join(b"%b: %b\r\n" % field for field in ASKING) + b"\r\n")
    answer = caller.answer()

    assert answer.status == 502
    assert b"not yours" not in answer.raw
    upstream.connections[-1].wait_gone()
    upstream.script = answers(b"ok")
    caller.request(b"GET", b"/openai/v1/next")
    assert caller.answer().body == b"ok"


def test_a_101_that_was_not_asked_for_stays_a_502(upstream, gateway, caller):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit, accept=accept_of(KEY)))
        visit.wait_gone()

    upstream.script = script
    caller.request(b"GET", b"/openai/v1/models")
    assert caller.answer().status == 502
    # Nor on a connection whose request before had asked for one, and was refused.
    upstream.script = answers(b"no", status=403)
    ask(caller)
    upstream.script = script
    with RawCaller(gateway.port) as other:
        other.request(b"GET", b"/openai/v1/models")
        assert other.answer().status == 502


OTHERS = {
    "post": (b"POST", ASKING),
    "no_key": (b"GET", tuple(field for field in ASKING if field[0] != b"Sec-WebSocket-Key")),
    "h2c": (b"GET", ((b"Connection", b"Upgrade"), (b"Upgrade", b"h2c"))),
    "with_a_body": (b"GET", (*ASKING, (b"Content-Length", b"2"))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_upgrade_is_left_out(upstream, gateway, caller, name):
    method, fields = OTHERS[name]
    upstream.script = answers(b"ok")
    caller.send(b"%b /openai/v1/realtime HTTP/1.1\r\nHost: a.localhost\r\n" % method)
    caller.send(b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n")
    if name == "with_a_body":
        caller.send(b"{}")
    assert caller.answer().body == b"ok"
    assert upstream.requests[0].get(b"upgrade") is None
    assert upstream.requests[0].get(b"connection") is None


@pytest.mark.parametrize("spoils", [b"raise", b"status"])
def test_a_hook_that_spoils_the_101_is_a_500(upstream, gateway, caller, spoils):
    caller.send(b"GET /openai/v1/realtime HTTP/1.1\r\nHost: a.localhost\r\n")
    fields = (*ASKING, (b"weir-spoils", spoils))
    caller.send(b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n")
    assert caller.answer().status == 500
    upstream.connections[-1].wait_gone()
    upstream.script = answers(b"ok")
    caller.request(b"GET", b"/openai/v1/next")
    assert caller.answer().body == b"ok"


# -- taps ------------------------------------------------------------------------------------------


def told(gateway: RunningGateway, since: int) -> list[tuple[str, str, str | None]]:
    lines = [line for line in gateway.log if line["event"] == "message"][since:]
    assert all(line["side"] == "upstream" for line in lines)
    return [(line["direction"], line["kind"], line["data"]) for line in lines]


def messages(gateway: RunningGateway) -> int:
    return len([line for line in gateway.log if line["event"] == "message"])


def test_a_tap_is_told_whole_messages_and_no_control_frame(upstream, gateway, caller):
    since = messages(gateway)
    ask(caller, (b"weir-taps", b"on"))
    raw = frame(TEXT, b"hel", mask=MASK, fin=False) + frame(PING, b"p", mask=MASK)
    caller.send(raw + frame(0, b"lo", mask=MASK) + frame(BINARY, b"x" * 1025, mask=MASK))
    caller.send(bye(mask=MASK))
    down = frame(TEXT, b"hel") + frame(PING, b"p") + frame(0, b"lo") + frame(BINARY, b"x" * 1025)
    # The echo is of whole frames without their FIN bits, so "hel" is a message of its own.
    assert caller.everything() == down + bye()
    gateway.wait_for_log("message", since + 3)

    up = [line for line in told(gateway, since) if line[0] == "up"]
    assert up == [("up", "text", "hello"), ("up", "binary", None)]
    slices = [line["data"] for line in gateway.log if line["event"] == "bytes"]
    assert not [data for data in slices if "hel" in data]


def test_a_tap_is_told_compressed_messages_inflated_and_the_bytes_stay(upstream, gateway, caller):
    packer = zlib.compressobj(wbits=-15)
    sent = [packed(b"a compressed message", packer) for _ in range(2)]
    since = messages(gateway)

    def script(visit: Visit) -> None:
        visit.read()
        agreed = b"permessage-deflate; server_no_context_takeover"
        visit.send(switch(visit, (b"Sec-WebSocket-Extensions", agreed)))
        got.extend(read_frame(visit.connection.wire)[1] for _ in range(2))
        visit.send(frame(TEXT, packed(b"anew", zlib.compressobj(wbits=-15)), packed=True) * 2)
        visit.send(bye())
        visit.wait_gone()

    got: list[bytes] = []
    upstream.script = script
    ask(caller, (b"weir-taps", b"on"))
    for payload in sent:
        caller.send(frame(TEXT, payload, mask=MASK, packed=True))
    once = frame(TEXT, packed(b"anew", zlib.compressobj(wbits=-15)), packed=True)
    assert b"".join(caller.wire.sized(2 * len(once))) == 2 * once
    gateway.wait_for_log("message", since + 4)

    assert got == sent
    wanted = [("up", "text", "a compressed message")] * 2 + [("down", "text", "anew")] * 2
    assert told(gateway, since) == wanted


def test_a_tap_that_raises_hears_no_more_and_the_bytes_flow_on(upstream, gateway, caller):
    since = messages(gateway)
    ask(caller, (b"weir-taps", b"fails"))
    for number in range(3):
        caller.send(frame(TEXT, b"%d" % number, mask=MASK))
        assert read_frame(caller.wire) == (TEXT, b"%d" % number)
    caller.send(bye(mask=MASK))
    assert read_frame(caller.wire)[0] == 8
    gateway.wait_for_log("message", since + 1)
    assert told(gateway, since) == [("up", "text", "0")]
    assert gateway.wait_for_log("plugin_failed")["hook"] == "tap"


def test_a_tap_that_cannot_be_told_the_messages_is_given_up(upstream, gateway, caller):
    def script(visit: Visit) -> None:
        echoes(visit, (b"Sec-WebSocket-Extensions", b"x-secret"))

    since = messages(gateway)
    upstream.script = script
    ask(caller, (b"weir-taps", b"on"))
    caller.send(frame(TEXT, b"hello", mask=MASK))
    assert read_frame(caller.wire) == (TEXT, b"hello")
    upstream.wait_for(lambda: "cannot read the extension x-secret" in gateway.stderr)
    assert messages(gateway) == since
