"""What can be known of an answer from its head: its framing, and who looks at its body."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from gateway import Event, Exchange, Head, hookimpl
from gateway.testing import (
    Ran,
    ScriptedUpstream,
    Visit,
    answers,
    chunked,
    exchange,
    head,
    plan_of,
    says,
)
from gateway.testing import run as ran_on
from tests.gateway.ends import run
from tests.gateway.inside import gateway, request

pytestmark = pytest.mark.usefixtures("logged")
EVENTS = (b"Content-Type", b"text/event-stream")
DONE = b"data: [DONE]\n\n"
STREAM = b"data: {}\n\n" + DONE


# -- framing ---------------------------------------------------------------------------------------

SIZED = b"HTTP/1.1 200 OK\r\nDate: 1\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello")
UNFRAMED = b"HTTP/1.1 200 OK\r\nDate: 1\r\n\r\nhello"
HEAD_SIZED = b"HTTP/1.1 200 OK\r\nDate: 1\r\nContent-Length: 5\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nDate: 1\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nDate: 1\r\nContent-Length: 5\r\n\r\n"
CLOSE = b"Connection: close"
KEEP = b"Connection: keep-alive"

# What was asked, what the upstream says, the framing fields of our answer, its body, and whether
# the connection goes on.
FRAMING = {
    "sized": (request(), SIZED, [b"Content-Length: 5"], b"hello", True),
    "chunked": (request(), CHUNKED, [b"Transfer-Encoding: chunked"], chunked(b"hello"), True),
    "unframed": (request(), UNFRAMED, [b"Transfer-Encoding: chunked"], chunked(b"hello"), True),
    "no_content": (request(), NO_CONTENT, [], b"", True),
    "not_modified": (request(), NOT_MODIFIED, [b"Content-Length: 5"], b"", True),
    "head": (request(b"HEAD"), HEAD_SIZED, [b"Content-Length: 5"], b"", True),
    "head_unknown": (request(b"HEAD"), b"HTTP/1.1 200 OK\r\nDate: 1\r\n\r\n", [], b"", True),
    "head_chunked": (
        request(b"HEAD"),
        b"HTTP/1.1 200 OK\r\nDate: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        [],
        b"",
        True,
    ),
    "closing": (request(b"GET", CLOSE), SIZED, [b"Content-Length: 5", CLOSE], b"hello", False),
    "closing_chunked": (
        request(b"GET", CLOSE),
        CHUNKED,
        [b"Transfer-Encoding: chunked", CLOSE],
        chunked(b"hello"),
        False,
    ),
    "old": (request(version=b"1.0"), SIZED, [b"Content-Length: 5", CLOSE], b"hello", False),
    "old_chunked": (request(version=b"1.0"), CHUNKED, [CLOSE], b"hello", False),
    "old_unframed": (request(version=b"1.0"), UNFRAMED, [CLOSE], b"hello", False),
    "old_kept": (
        request(b"GET", KEEP, version=b"1.0"),
        SIZED,
        [b"Content-Length: 5", KEEP],
        b"hello",
        True,
    ),
    "old_kept_chunked": (request(b"GET", KEEP, version=b"1.0"), CHUNKED, [CLOSE], b"hello", False),
    "old_kept_no_content": (request(b"GET", KEEP, version=b"1.0"), NO_CONTENT, [KEEP], b"", True),
}


# Sent ahead: refused if the connection goes on, so that one need not wait to see that it does.
BAD = b"BAD\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\n"


async def told(asked: bytes, says: bytes, *plugins: object, **tables: Any) -> tuple[bytes, bool]:
    """Give what a caller gets for a request, and whether its connection goes on."""
    async with gateway(*plugins, **tables) as made:
        caller, up = await made.asked(asked + BAD)
        await up.send(says)
        up.close()
        raw, refused, _ = (await caller.rest()).partition(REFUSED)
        return raw, bool(refused)


def parts(raw: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Take an answer apart: status line, framing fields, body. All others must be there."""
    top, _, body = raw.partition(b"\r\n\r\n")
    start, *fields = top.split(b"\r\n")
    assert [field for field in fields if field == b"Date: 1"]
    assert fields[0] == b"Date: 1"
    return start, fields[1:], body


@pytest.mark.parametrize("is_edited", [False, True])
@pytest.mark.parametrize("name", FRAMING)
def test_an_answer_is_framed_for_its_caller(name, is_edited):
    asked, says, framing, body, goes_on = FRAMING[name]
    plugins = [Edits(lambda head: None)] if is_edited else []
    raw, kept = run(told(asked, says, *plugins))

    assert parts(raw)[1:] == (framing, body)
    assert kept is goes_on


def test_while_the_gateway_drains_every_answer_closes():
    async def story() -> tuple[bytes, str]:
        async with gateway() as made:
            caller, up = await made.asked(request())
            made.callers.is_draining = True
            await up.send(SIZED)
            return await caller.rest(), await caller.ending()

    raw, ending = run(story())
    assert parts(raw)[1:] == ([b"Content-Length: 5", CLOSE], b"hello")
    assert ending == "fin"


def test_an_answer_before_the_upload_is_over_closes():
    async def story() -> bytes:
        async with gateway() as made:
            caller, up = await made.asked(request(b"POST", b"Content-Length: 100"))
            await up.send(SIZED)
            return await caller.rest()

    assert parts(run(story()))[1:] == ([b"Content-Length: 5", CLOSE], b"hello")


class Edits:
    """Has its way with a head."""

    def __init__(self, edit: Callable[[Head], None]) -> None:
        self.edit = edit

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        self.edit(head)


def test_framing_that_a_plugin_sets_is_not_heeded():
    def edit(head: Head) -> None:
        head.headers.set(b"Content-Length", b"1")
        head.headers.add(b"Transfer-Encoding", b"gzip")
        head.headers.add(b"Connection", b"upgrade")

    raw, _ = run(told(request(), SIZED, Edits(edit)))
    assert parts(raw)[1:] == ([b"Content-Length: 5"], b"hello")


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("says", [SIZED, CHUNKED, UNFRAMED], ids=["sized", "chunked", "unframed"])
def test_an_answer_whose_status_a_plugin_changes_to_one_without_a_body_has_none(status, says):
    """What would follow the head were taken for the next answer."""

    def edit(head: Head) -> None:
        head.status = status

    raw, _ = run(told(request(), says, Edits(edit)))
    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert raw.endswith(b"\r\n\r\n")
    assert b"hello" not in raw


@pytest.mark.parametrize("says", [NO_CONTENT, NOT_MODIFIED], ids=["no_content", "not_modified"])
def test_an_answer_without_a_body_whose_status_a_plugin_changes_is_an_empty_one(says):
    def edit(head: Head) -> None:
        head.status = 200

    raw, kept = run(told(request(), says, Edits(edit)))
    framing, body = parts(raw)[1:]
    assert (framing, body) in (
        ([b"Content-Length: 0"], b""),
        ([b"Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    )
    assert kept


# -- who looks -------------------------------------------------------------------------------------


class Upper:
    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def end(self) -> bytes:
        return b"."


class EachTwice:
    def event(self, event: Event) -> list[Event]:
        return [event, event]

    def end(self) -> bytes:
        return b""


class Rewrites:
    """Gives a rewriter for every answer."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Any:
        return self.make()


class Sees:
    """Watches both sides."""

    def __init__(self, *sides: str, events: bool = False) -> None:
        self.sides = sides
        self.events = events
        self.asked: list[str] = []
        self.seen: dict[str, list[bytes]] = {}

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Any:
        self.asked.append(side)
        if side not in self.sides:
            return None
        seen = self.seen.setdefault(side, [])
        if not self.events:
            return seen.append

        class Tap:
            def event(self, event: Event) -> None:
                seen.append(event.raw)

        return Tap()

    def all(self, side: str) -> bytes:
        return b"".join(self.seen[side])


class Settles:
    """Notes what had been sent when the end was known."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        self.sent.append(exchange.bytes_sent)


def sent(script: Any, *plugins: object, method: bytes = b"POST", path: bytes = b"v1/x") -> Ran:
    with ScriptedUpstream(script) as upstream:
        return ran_on(plan_of(*plugins), exchange(method, path), upstream)


def test_a_rewritten_body_has_no_length_that_was_promised():
    ran = sent(answers(b"hello"), Rewrites(Upper))

    assert (ran.body, ran.is_complete) == (b"HELLO.", True)
    assert ran.get(b"content-length") is None


def test_a_body_that_is_only_watched_keeps_its_length():
    sees = Sees("upstream", "caller")
    ran = sent(answers(b"hello"), sees)

    assert (ran.body, ran.get(b"content-length")) == (b"hello", b"5")
    assert (sees.all("upstream"), sees.all("caller")) == (b"hello", b"hello")
    assert sees.asked == ["upstream", "caller"]


@pytest.mark.parametrize("side", ["upstream", "caller"])
def test_a_plugin_that_watches_one_side_is_not_asked_for_the_other(side):
    class One(Sees):
        watches = side

    one = One("upstream", "caller")
    sent(answers(b"hello"), one)

    assert (one.asked, one.seen) == ([side], {side: [b"hello"]})


def test_rewriters_unwind_the_order_and_taps_stand_around_them():
    sees = Sees("upstream", "caller")

    class First:
        def feed(self, data: bytes) -> bytes:
            return data + b"1"

        def end(self) -> bytes:
            return b""

    class Second(First):
        def feed(self, data: bytes) -> bytes:
            return data + b"2"

    class Outer(Rewrites): ...

    ran = sent(answers(b"a"), Outer(First), sees, Rewrites(Second))

    assert ran.body == b"a21"
    assert (sees.all("upstream"), sees.all("caller")) == (b"a", b"a21")


def test_who_gives_no_rewriter_and_no_tap_changes_nothing():
    sees = Sees()
    ran = sent(answers(b"hello"), Rewrites(lambda: None), sees)

    assert (ran.body, ran.get(b"content-length")) == (b"hello", b"5")
    assert len(sees.asked) == 2


@pytest.mark.parametrize(
    ("method", "script"), [(b"HEAD", answers(b"hello")), (b"GET", says(head(204)))]
)
def test_nobody_is_asked_to_look_at_a_body_that_is_not_there(method, script):
    sees, settles = Sees("upstream"), Settles()
    made: list[object] = []
    ran = sent(script, sees, Rewrites(lambda: made.append(1)), settles, method=method)

    assert (ran.is_complete, sees.asked, made, settles.sent) == (True, [], [], [0])


def test_events_are_split_where_somebody_wants_events():
    sees = Sees("upstream", "caller", events=True)
    ran = sent(answers(STREAM, EVENTS), sees, Rewrites(EachTwice), path=b"v1/chat/completions")

    assert sees.seen["upstream"] == [b"data: {}\n\n", DONE]
    assert sees.seen["caller"] == [b"data: {}\n\n"] * 2 + [DONE] * 2
    assert ran.exchange.end_marker_seen is True


def test_a_body_that_is_no_event_stream_is_not_split():
    sees = Sees("upstream", events=True)
    ran = sent(answers(STREAM), sees)

    assert sees.seen["upstream"] == []
    assert ran.body == STREAM


@pytest.mark.parametrize("kind", [b"text/event-stream; charset=utf-8", b"Text/Event-Stream"])
def test_an_event_stream_is_known_by_its_type_however_it_is_written(kind):
    """RFC 9110 section 8.3.1: types do not heed case."""
    sees = Sees("upstream", events=True)
    ran = sent(answers(STREAM, (b"Content-Type", kind)), sees)

    assert len(sees.seen["upstream"]) == 2
    assert ran.exchange.streaming is True


def test_with_a_settle_the_end_marker_is_looked_for():
    settles = Settles()
    ran = sent(answers(STREAM, EVENTS), settles, path=b"v1/chat/completions")

    assert ran.exchange.end_marker_seen is True
    assert settles.sent == [len(ran.body)]  # with the slice that is about to go out


def test_with_nobody_looking_it_is_not():
    ran = sent(answers(STREAM, EVENTS), path=b"v1/chat/completions")

    assert (ran.body, ran.exchange.end_marker_seen) == (STREAM, None)


def closes(*raw: bytes) -> Callable[[Visit], None]:
    """Give an answer that only the close ends."""

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(*raw)
        visit.fin()

    return script


@pytest.mark.parametrize(
    ("body", "ending"), [(STREAM, "complete"), (STREAM[:-4], "cut"), (b"data: {}\n\n", "cut")]
)
def test_a_stream_that_only_the_close_ends_must_bring_its_end_marker(body, ending):
    ran = sent(closes(head(200, EVENTS), body), path=b"v1/chat/completions")

    assert (ran.body, ran.ending) == (body, ending)
    assert ran.exchange.outcome == ("complete" if ending == "complete" else "truncated")


@pytest.mark.parametrize(
    ("kind", "path"),
    [(b"application/json", b"v1/chat/completions"), (b"text/event-stream", b"none")],
)
def test_any_other_body_that_only_the_close_ends_is_whole_with_it(kind, path):
    """Nothing more can be known of it, without a dialect."""
    config = {"provider": {"dialect": "none"}} if path == b"none" else {}
    raw, _ = run(
        told(
            request(), head(200, (b"A", b"1"), (b"Content-Type", kind)) + b"data: {}\n\n", **config
        )
    )

    assert raw.endswith(chunked(b"data: {}\n\n"))


# -- compressed answers ----------------------------------------------------------------------------

PACKED = {
    b"gzip": gzip.compress(STREAM),
    b"x-gzip": gzip.compress(STREAM),
    b"GZIP": gzip.compress(STREAM),
    b"deflate": zlib.compress(STREAM),
}


def packed(coding: bytes, body: bytes | None = None) -> Any:
    return answers(PACKED[coding] if body is None else body, EVENTS, (b"Content-Encoding", coding))


@pytest.mark.parametrize("coding", PACKED)
def test_a_rewriter_gets_a_packed_answer_plain_and_so_does_the_caller(coding):
    ran = sent(packed(coding), Rewrites(EachTwice))

    assert ran.body == b"data: {}\n\n" * 2 + DONE * 2
    assert ran.get(b"content-encoding") is None


@pytest.mark.parametrize("coding", PACKED)
def test_a_tap_gets_a_packed_answer_plain_and_the_caller_as_it_came(coding):
    sees = Sees("upstream", events=True)
    ran = sent(packed(coding), sees)

    assert sees.seen["upstream"] == [b"data: {}\n\n", DONE]
    assert (ran.body, ran.get(b"content-encoding")) == (PACKED[coding], coding)


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b""])
def test_an_answer_that_says_it_is_not_packed_is_not(coding):
    sees = Sees("upstream", events=True)
    ran = sent(packed(coding, STREAM), sees, Rewrites(EachTwice))

    assert len(sees.seen["upstream"]) == 2
    assert ran.body == b"data: {}\n\n" * 2 + DONE * 2


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, br", b"unheard-of"])
def test_an_answer_that_cannot_be_read_is_not_rewritten_but_refused(coding, logged):
    ran = sent(packed(coding, b"?"), Rewrites(Upper))

    assert (ran.status, ran.is_complete, ran.exchange.outcome) == (502, True, "provider_error")
    assert b"upstream_coding" in ran.body
    assert any(coding.decode() in str(line.get("detail")) for line in logged)


@pytest.mark.parametrize("first", [b"gzip", b"br"])
def test_an_answer_packed_twice_is_not_read_as_if_it_were_packed_once(first):
    twice = ((b"Content-Encoding", first), (b"Content-Encoding", b"gzip"))
    ran = sent(answers(gzip.compress(gzip.compress(STREAM)), EVENTS, *twice), Rewrites(Upper))

    assert (ran.status, ran.is_complete) == (502, True)
    assert b"upstream_coding" in ran.body


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, br", b"unheard-of"])
def test_an_answer_that_cannot_be_read_passes_unwatched(coding, logged):
    sees, settles = Sees("upstream", "caller", events=True), Settles()
    ran = sent(packed(coding, b"\x00\xff"), sees, settles)

    assert (ran.body, ran.get(b"content-encoding"), ran.is_complete) == (b"\x00\xff", coding, True)
    assert sees.seen == {"upstream": [], "caller": []}
    assert ran.exchange.outcome == "complete"
    assert [line["hook"] for line in logged if line["event"] == "plugin_failed"] == ["tap"] * 2


def test_somebody_who_reads_asks_for_an_answer_that_is_not_packed():
    for plugins, expected in (
        ([Sees("upstream")], b"identity"),
        ([Rewrites(Upper)], b"identity"),
        ([Settles()], b"br"),
        ([], b"br"),
    ):
        with ScriptedUpstream(answers()) as upstream:
            made = exchange(headers=[(b"Accept-Encoding", b"br")])
            ran_on(plan_of(*plugins), made, upstream)
            assert upstream.requests[0].get(b"accept-encoding") == expected


# -- plugins that fail here ------------------------------------------------------------------------


class FailsToRewrite:
    @hookimpl
    def rewrite(self, exchange: Exchange) -> None:
        raise LookupError("on purpose")


class FailsToTap:
    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> None:
        raise LookupError("on purpose")


def test_a_rewriter_that_cannot_be_made_is_a_500_and_the_upstream_is_left(logged):
    ran = sent(answers(b"hello"), FailsToRewrite())

    assert (ran.status, ran.is_complete) == (500, True)
    assert b"hello" not in ran.raw
    assert [line["plugin"] for line in logged if line["event"] == "plugin_failed"] == [
        "fails_to_rewrite"
    ]


def test_a_tap_that_cannot_be_made_is_done_without(logged):
    sees = Sees("upstream")
    ran = sent(answers(b"hello"), FailsToTap(), sees)

    assert (ran.body, sees.all("upstream")) == (b"hello", b"hello")
    assert {line["plugin"] for line in logged if line["event"] == "plugin_failed"} == {
        "fails_to_tap"
    }
