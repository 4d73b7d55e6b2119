"""Answers of our own: whole or streamed, and their head."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway import Head, Headers, Reply, hookimpl
from gateway.testing import exchange, plan_of, run

pytestmark = pytest.mark.usefixtures("logged")


class Answers:
    """Gives one reply to everything."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    @hookimpl
    async def prepare(self, exchange):
        return self.reply


def answered(reply: Reply, method: bytes = b"POST"):
    return run(plan_of(Answers(reply)), exchange(method))


async def pieces(*given: bytes | Exception):
    for piece in given:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def test_a_head_is_what_it_was_made_of():
    headers = Headers()
    head = Head(200, b"OK", headers)
    assert (head.status, head.reason, head.headers) == (200, b"OK", headers)


def test_a_reply_is_a_refusal_unless_it_says_otherwise():
    reply = Reply(429)
    assert (reply.status, reply.body, reply.stream, reply.outcome) == (429, b"", None, "refused")
    assert list(reply.headers) == []


def test_a_replys_content_type_is_a_field():
    reply = Reply(200, b"{}", headers=[(b"X-A", b"1")], content_type=b"application/json")
    assert list(reply.headers) == [(b"X-A", b"1"), (b"Content-Type", b"application/json")]


def test_a_whole_reply_has_its_length_and_date():
    ran = answered(Reply(403, b"no", headers=[(b"X-A", b"1")]))

    assert (ran.status, ran.body, ran.is_complete) == (403, b"no", True)
    assert ran.get(b"x-a") == b"1"
    assert ran.get(b"content-length") == b"2"
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", ran.get(b"date") or b"")
    assert ran.raw.startswith(b"HTTP/1.1 403 Forbidden\r\n")


def test_a_streamed_reply_is_chunked_and_ends():
    ran = answered(Reply(200, stream=pieces(b"data: 1\n\n", b"", b"data: 2\n\n"), outcome="cached"))

    assert (ran.status, ran.body, ran.is_complete) == (200, b"data: 1\n\ndata: 2\n\n", True)
    assert ran.get(b"transfer-encoding") == b"chunked"
    assert ran.exchange.outcome == "cached"


def test_a_streamed_reply_that_raises_is_cut_and_never_completed(logged):
    ran = answered(Reply(200, stream=pieces(b"data: 1\n\n", LookupError("its own fault"))))

    assert (ran.status, ran.body, ran.ending, ran.is_complete) == (
        200,
        b"data: 1\n\n",
        "cut",
        False,
    )
    assert b"its own fault" not in ran.raw
    assert [line["plugin"] for line in logged if line["event"] == "plugin_failed"] == ["answers"]


def test_a_streamed_reply_that_lets_a_cancel_of_others_through_is_cut():
    async def stream():
        yield b"one"
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        await future
        yield b"two"

    ran = answered(Reply(200, stream=stream(), outcome="complete"))

    assert (ran.body, ran.ending) == (b"one", "cut")
    assert ran.exchange.outcome in ("truncated", "failed")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(429, b"slow"), "refused"),
        (Reply(200, b"kept", outcome="cached"), "cached"),
        (Reply(200, b"page", outcome="complete"), "complete"),
        (Reply(500, b"page", outcome="complete"), "provider_error"),
    ],
)
def test_an_exchange_counts_as_its_reply_says(reply, outcome):
    assert answered(reply).exchange.outcome == outcome


@pytest.mark.parametrize(("status", "length"), [(200, b"4"), (304, b"4"), (204, None)])
def test_a_reply_without_a_body_sends_none(status, length):
    ran = answered(Reply(status, b"body"), b"HEAD" if status == 200 else b"GET")

    assert (ran.body, ran.get(b"content-length"), ran.is_complete) == (b"", length, True)


def test_a_replys_own_framing_is_ignored():
    lies = [(b"Content-Length", b"99"), (b"Transfer-Encoding", b"chunked"), (b"Date", b"today")]
    ran = answered(Reply(200, b"four", headers=lies))

    assert [name for name, _ in ran.fields] == [b"Date", b"Content-Length"]
    assert (ran.body, ran.get(b"date"), ran.is_complete) == (b"four", b"today", True)


def test_the_same_reply_may_be_given_twice():
    reply = Reply(200, b"x")
    answered(reply)
    assert (list(reply.headers), answered(reply).body) == ([], b"x")


@pytest.mark.parametrize("value", [b"a\r\nX-Evil: 1", b"a\nb", b"a\0b"])
def test_a_field_that_would_break_the_head_is_not_sent(value):
    ran = answered(Reply(200, b"x", headers=[(b"X-A", value)]))

    assert (ran.status, ran.get(b"x-evil")) == (500, None)
