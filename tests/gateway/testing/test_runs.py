from __future__ import annotations

import contextlib

import pytest

from gateway import Reply, Size, hookimpl
from gateway.config import Config, Limits
from gateway.testing import ScriptedUpstream, answers, chunk, exchange, head, plan_of, run, streams

pytestmark = pytest.mark.usefixtures("logged")
EVENTS = [b"data: 1\n\n", b"data: 2\n\n"]


class Notes:
    """Notes when the caller could have seen what."""

    def __init__(self):
        self.order = []

    @hookimpl
    async def prepare(self, exchange):
        self.order.append((exchange.body, exchange.model))

    @hookimpl
    def account(self, exchange):
        self.order.append(exchange.outcome)


class Reader(Notes):
    reads = "json"


def test_a_whole_answer_arrives_in_memory():
    with ScriptedUpstream(answers(b'{"a":1}', (b"X-A", b"1"))) as upstream:
        ran = run(plan_of(), exchange(body=b"{}"), upstream)

    assert (ran.status, ran.body, ran.get(b"x-a")) == (200, b'{"a":1}', b"1")
    assert (ran.ending, ran.is_complete, ran.exchange.outcome) == ("complete", True, "complete")
    assert (upstream.requests[0].target, upstream.requests[0].body) == (
        b"/v1/chat/completions",
        b"{}",
    )


def test_a_stream_arrives_without_its_framing():
    with ScriptedUpstream(streams(EVENTS)) as upstream:
        ran = run(plan_of(), exchange(body=b"{}"), upstream)

    assert (ran.body, ran.is_complete) == (b"".join(EVENTS), True)
    assert ran.raw.endswith(b"0\r\n\r\n")


def test_a_cut_answer_is_not_complete():
    def dies(visit):
        visit.read()
        visit.send(head(200, (b"Transfer-Encoding", b"chunked")) + chunk(b"ab"))
        visit.reset()

    with ScriptedUpstream(dies) as upstream:
        ran = run(plan_of(), exchange(body=b"{}"), upstream)

    assert (ran.status, ran.body, ran.ending, ran.is_complete) == (200, b"ab", "cut", False)


def test_the_line_reads_the_body_only_where_a_plugin_does():
    with ScriptedUpstream(answers()) as upstream:
        for plugin, seen in ((Notes(), (None, None)), (Reader(), (b'{"model":"m"}', "m"))):
            run(plan_of(plugin), exchange(body=b'{"model":"m"}'), upstream)
            assert plugin.order == [seen, "complete"]


def test_without_an_upstream_none_is_reached():
    ran = run(plan_of(), exchange(body=b"{}", provider="anthropic"))

    assert (ran.status, ran.exchange.outcome) == (502, "provider_error")


def test_a_whole_message_without_a_body_is_complete():
    class Empty:
        @hookimpl
        async def authenticate(self, exchange):
            return Reply(204)

    assert run(plan_of(Empty()), exchange()).is_complete
    with ScriptedUpstream(answers(b"not sent")) as upstream:

        def only_head(visit):
            visit.send(head(200, (b"Content-Length", b"8")))

        upstream.script = only_head
        assert run(plan_of(), exchange(b"HEAD"), upstream).is_complete


def test_an_upstream_on_a_unix_socket_is_reached_too():
    with ScriptedUpstream(answers(b"unix"), unix=True) as upstream:
        assert run(plan_of(), exchange(), upstream).body == b"unix"


def test_the_caller_leaves_when_told_to():
    def endless(visit):
        visit.read()
        visit.send(head(200, (b"Transfer-Encoding", b"chunked")) + chunk(b"ab"))
        visit.wait_gone()

    with ScriptedUpstream(endless) as upstream:
        ran = run(plan_of(), exchange(), upstream, leaves_after=1)
        upstream.connections[0].wait_gone()

    assert (ran.ending, ran.is_complete, ran.exchange.outcome) == ("left", False, "client_abort")


def test_other_limits_may_be_tried():
    config = Config(enabled=(), limits=Limits(read_bytes_max=Size(1)))
    notes = Reader()
    with ScriptedUpstream(answers()) as upstream:
        run(plan_of(notes), exchange(body=b'{"model":"m"}'), upstream, config=config)

    assert notes.order[0] == (None, None)


def test_lifespans_see_the_gateway_and_end_with_the_run():
    class Lives(Notes):
        @hookimpl
        @contextlib.asynccontextmanager
        async def lifespan(self, gateway):
            self.order.append(sorted(gateway.plans))
            yield
            self.order.append("over")

    lives = Lives()
    run(plan_of(lives), exchange(), lifespans=[lives.lifespan])

    assert lives.order == [["default"], (None, None), "provider_error", "over"]
