"""One request, one way: what joins it where, what goes up, and every ending it can have."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import orjson
import pytest

from gateway import (
    KEEP,
    Again,
    Attempt,
    CallerFault,
    Exchange,
    Head,
    OwnFault,
    Reply,
    Target,
    UpstreamFault,
    hookimpl,
)
from gateway.config import Config, Limits
from gateway.relay import COPY_BYTES_MAX
from gateway.testing import (
    Ran,
    ScriptedUpstream,
    Visit,
    answers,
    chunk,
    chunked,
    exchange,
    plan_of,
    says,
    streams,
)
from gateway.testing import head as head_of
from gateway.testing import run as ran_on
from gateway.units import parse_size
from tests.gateway.ends import End, run, until
from tests.gateway.inside import Inside, gateway, request
from tests.gateway.made import plugin

pytestmark = pytest.mark.usefixtures("logged")
OK = b"HTTP/1.1 200 OK\r\nDate: 1\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"Transfer-Encoding: chunked"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + CHUNKED + b"\r\n\r\n"


class Follows:
    """Notes every phase, and stops or fails in one of them if told to."""

    def __init__(self, at: str = "", does: Callable[[], Any] = lambda: None) -> None:
        self.at = at
        self.does = does
        self.order: list[str] = []
        self.exchange: Exchange | None = None

    def _note(self, phase: str, made: Exchange) -> Any:
        self.order.append(phase)
        self.exchange = made
        return self.does() if phase == self.at else None

    async def _wait(self, phase: str, made: Exchange) -> Any:
        view = self._note(phase, made)
        return await view if asyncio.iscoroutine(view) else view

    @hookimpl
    async def authenticate(self, exchange: Exchange) -> Any:
        return await self._wait("authenticate", exchange)

    @hookimpl
    async def prepare(self, exchange: Exchange) -> Any:
        return await self._wait("prepare", exchange)

    @hookimpl
    async def lookup(self, exchange: Exchange) -> Any:
        return await self._wait("lookup", exchange)

    @hookimpl
    async def limit(self, exchange: Exchange) -> Any:
        return await self._wait("limit", exchange)

    @hookimpl
    def pick(self, exchange: Exchange) -> Any:
        return self._note("pick", exchange)

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> Any:
        return await self._wait("send", exchange)

    @hookimpl
    def judge(self, exchange: Exchange, attempt: Attempt) -> Any:
        return self._note("judge", exchange)

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        self._note("answer", exchange)

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Any:
        return self._note("rewrite", exchange)

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Any:
        return self._note(f"tap {side}", exchange)

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        self._note("settle", exchange)

    @hookimpl
    def account(self, exchange: Exchange) -> None:
        self._note("account", exchange)


class Ends:
    """Notes how each exchange ended: settle and account, each with the outcome."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []
        self.exchange: Exchange | None = None

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        self.told.append(("settle", exchange.outcome))

    @hookimpl
    def account(self, exchange: Exchange) -> None:
        self.told.append(("account", exchange.outcome))
        self.exchange = exchange


def sent(
    *plugins: object,
    script: Any = None,
    made: Exchange | None = None,
    limits: Limits | None = None,
    **rest: Any,
) -> Ran:
    """Send an exchange down the line, to an upstream with that script, or to none."""
    config = Config(enabled=(), state_dir="/dev/null", limits=limits or Limits())
    plan, made = plan_of(*plugins), made or exchange(body=b"{}")
    if script is None:
        return ran_on(plan, made, config=config, **rest)
    with ScriptedUpstream(script) as upstream:
        return ran_on(plan, made, upstream, config=config, **rest)


# -- the way ---------------------------------------------------------------------------------------

TO_LIMIT = ["authenticate", "prepare", "lookup", "limit"]
TO_JUDGE = [*TO_LIMIT, "pick", "send", "judge"]
BODY = ["rewrite", "tap upstream", "tap caller"]
END = ["settle", "account"]


def test_an_exchange_goes_through_the_phases_in_their_order():
    follows = Follows()
    ran = sent(follows, script=answers(b"ok"))

    assert follows.order == [*TO_JUDGE, "answer", *BODY, *END]
    assert (ran.status, ran.exchange.outcome) == (200, "complete")


@pytest.mark.parametrize("at", ["authenticate", "prepare", "lookup", "limit", "send"])
def test_a_reply_joins_at_answer(at):
    follows = Follows(at, lambda: Reply(418, b"tea", outcome="complete"))
    ran = sent(follows, script=answers(b"ok"))

    before = TO_JUDGE[: TO_JUDGE.index(at) + 1]
    assert follows.order == [*before, "answer", *BODY, *END]
    assert (ran.status, ran.body) == (418, b"tea")


def fails(error: Exception) -> Callable[[], Any]:
    def does() -> None:
        raise error

    return does


@pytest.mark.parametrize("at", [*TO_LIMIT[:2], "limit", "pick", "send", "judge"])
@pytest.mark.parametrize(
    ("error", "status", "code", "outcome"),
    [
        (CallerFault("No.", status=402, code="no_money"), 402, "no_money", "refused"),
        (OwnFault("Later.", status=503, code="busy"), 503, "busy", "refused"),
        (OwnFault("Broken."), 500, "internal_error", "failed"),
        (UpstreamFault("There is nobody."), 502, "upstream_error", "provider_error"),
        (LookupError("on purpose"), 500, "plugin_failed", "failed"),
    ],
)
def test_an_error_joins_at_answer_and_is_not_rewritten(at, error, status, code, outcome):
    follows = Follows(at, fails(error))
    ran = sent(follows, script=answers(b"ok"))

    before = TO_JUDGE[: TO_JUDGE.index(at) + 1]
    assert follows.order == [*before, "answer", "tap upstream", "tap caller", *END]
    assert (ran.status, ran.is_complete, ran.exchange.outcome) == (status, True, outcome)
    assert orjson.loads(ran.body)["error"]["code"] == code
    assert b"purpose" not in ran.raw
    assert ran.exchange.error is not None


def test_an_upstream_that_cannot_be_reached_is_judged_and_then_told():
    follows = Follows()
    ran = sent(follows)

    assert follows.order == [*TO_JUDGE, "answer", "tap upstream", "tap caller", *END]
    assert (ran.status, ran.exchange.outcome) == (502, "provider_error")
    assert ran.exchange.attempts[0].failure is ran.exchange.error


def test_the_fields_of_an_error_go_along():
    error = CallerFault("Slow down.", status=429, headers=((b"Retry-After", b"3"),))
    ran = sent(Follows("limit", fails(error)))

    assert (ran.status, ran.get(b"retry-after")) == (429, b"3")
    assert ran.get(b"content-type") == b"application/json"


@pytest.mark.parametrize(
    ("target", "controls", "surface"),
    [
        (b"/nobody/v1/x", [], "plain"),
        (b"/openai/v1/chat/completions", [(b"weir-gateway", b"none")], "openai"),
        (b"/anthropic/v1/messages", [(b"weir-gateway", b"none")], "anthropic"),
        (b"/v1/account/none/openai/chat/completions", [], "cloudflare"),
    ],
)
def test_a_target_that_leads_nowhere_is_a_404_in_the_shape_its_caller_expects(
    target, controls, surface
):
    ends = Ends()
    made = exchange(headers=controls)
    made.target = target
    ran = sent(ends, made=made)

    assert (ran.status, ran.is_complete) == (404, True)
    assert ran.exchange.surface == surface
    assert ends.told == [("settle", "refused"), ("account", "refused")]


def test_each_border_has_its_time():
    ran = sent(script=streams([b"data: 1\n\n"], pause_s=0.01))
    made, attempt = ran.exchange, ran.exchange.attempts[0]
    times = [
        made.started_ns,
        attempt.started_ns,
        attempt.connected_ns,
        attempt.sent_ns,
        attempt.first_byte_ns,
        made.answered_ns,
        made.ended_ns,
    ]

    assert None not in times
    assert times == sorted(times, key=lambda time_ns: time_ns or 0)
    assert (made.bytes_sent, made.status, attempt.status) == (9, 200, 200)


# -- what goes up ----------------------------------------------------------------------------------


def said(request: bytes, raw: bytes, *plugins: object) -> bytes:
    """Send a request; give what the upstream got, up to these last bytes."""

    async def story() -> bytes:
        async with gateway(*plugins) as made:
            caller = await made.caller()
            await caller.send(request)
            up = await made.upstream.accept()
            got = await up.until(raw)
            assert await up.soon() == b""
            return got

    return run(story())


class Reads:
    reads = "all"


class ReadsJson:
    reads = "json"


class Changes:
    """Sends another body up."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> None:
        attempt.body = self.body


LENGTH = b"Content-Length: "


@pytest.mark.parametrize(
    ("asked", "plugins", "framing", "body"),
    [
        (request(), [], b"", b""),
        (request(b"POST"), [], b"", b""),
        (request(b"POST", body=b""), [], LENGTH + b"0\r\n", b""),
        (request(b"POST", body=b"hello"), [], LENGTH + b"5\r\n", b"hello"),
        (request(b"POST", body=b"hello"), [Reads()], LENGTH + b"5\r\n", b"hello"),
        (request(b"POST", CHUNKED) + chunked(b"hel", b"lo"), [], CHUNKED + b"\r\n", None),
        (
            request(b"POST", CHUNKED) + chunked(b"hel", b"lo"),
            [Reads()],
            LENGTH + b"5\r\n",
            b"hello",
        ),
        (request(b"POST", CHUNKED) + chunked(), [], CHUNKED + b"\r\n", None),
        (request(b"POST", CHUNKED) + chunked(), [Reads()], LENGTH + b"0\r\n", b""),
        (request(b"POST", body=b"hello"), [Changes(b"bye")], LENGTH + b"3\r\n", b"bye"),
        (request(b"POST", body=b"hello"), [Changes(b"")], LENGTH + b"0\r\n", b""),
        (request(), [Changes(b"bye")], LENGTH + b"3\r\n", b"bye"),
    ],
)
def test_a_body_goes_up_as_long_as_it_is_said_to_be(asked, plugins, framing, body):
    end = b"0\r\n\r\n" if body is None else b"\r\n\r\n" + body
    got = said(asked, end, *plugins)

    top, _, rest = got.partition(b"\r\n\r\n")
    fields = [line + b"\r\n" for line in top.split(b"\r\n")[2:]]
    assert b"".join(fields) == framing
    if body is None:
        assert rest in (chunked(b"hello"), chunked(b"hel", b"lo"), chunked())
    else:
        assert rest == body


def test_a_body_that_is_on_its_way_streams_up():
    async def story() -> None:
        async with gateway() as made:
            caller, up = await made.asked(request(b"POST", b"Content-Length: 6") + b"abc")
            assert await up.exactly(3) == b"abc"
            await caller.send(b"def")
            assert await up.exactly(3) == b"def"
            await up.send(OK)
            assert await caller.until(b"ok") == OK

    run(story())


@pytest.mark.parametrize(("plugin", "status"), [(Reads, 413), (ReadsJson, 200)])
def test_a_body_too_large_to_be_read_is_refused_or_streams(plugin, status):
    bounds = Limits(read_bytes_max=parse_size("10B"))
    made = exchange(body=b'{"a": "long enough"}')
    ran = sent(plugin(), made=made, script=answers(b"ok"), limits=bounds)

    assert ran.status == status
    assert ran.exchange.body is None


# -- attempts --------------------------------------------------------------------------------------


class TriesAgain:
    """Asks for another attempt each time."""

    def __init__(self) -> None:
        self.heard: list[tuple[int | None, UpstreamFault | None]] = []

    @hookimpl
    def judge(self, exchange: Exchange, attempt: Attempt) -> Again:
        assert attempt.failure is None or isinstance(attempt.failure, UpstreamFault)
        self.heard.append((attempt.status, attempt.failure))
        return Again()


def test_a_body_that_streams_has_one_attempt():
    async def story() -> TriesAgain:
        tries = TriesAgain()
        async with gateway(tries) as made:
            caller, up = await made.asked(request(b"POST", b"Content-Length: 6") + b"abc")
            await up.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno")
            assert (await caller.rest()).startswith(b"HTTP/1.1 503 Busy")
        return tries

    assert [status for status, _ in run(story()).heard] == [503]


def test_an_answer_that_is_given_up_is_dropped_before_the_next_attempt():
    async def story() -> None:
        tries = TriesAgain()
        async with gateway(tries, limits={"attempts_max": 2}) as made:
            caller, first = await made.asked(request())
            await first.send(STREAM + chunk(b"data: 1\n\n"))
            second = await made.upstream.accept()
            assert await first.ending() == "reset"
            await second.head()
            await second.send(OK)
            assert await caller.until(b"ok") == OK

    run(story())


def test_a_kept_connection_that_had_died_is_replaced_unseen():
    async def story() -> None:
        follows = Follows()
        async with gateway(follows) as made:
            caller, up = await made.asked(request())
            await up.send(OK)
            assert await caller.until(b"ok") == OK
            assert follows.exchange is not None
            assert follows.exchange.attempts[0].reused is False
            up.close()
            time.sleep(0.01)  # noqa: ASYNC251  # the loop is not to hear of it before it asks
            await caller.send(request(b"POST", body=b"hello"))
            fresh = await made.upstream.accept()
            assert (await fresh.until(b"hello")).endswith(b"\r\n\r\nhello")
            await fresh.send(OK)
            assert await caller.until(b"ok") == OK
            assert follows.order.count("judge") == 2  # it was one attempt
            assert len(follows.exchange.attempts) == 1

    run(story())


def test_a_request_that_may_have_been_seen_is_not_sent_again():
    async def story() -> None:
        async with gateway() as made:
            caller, up = await made.asked(request(b"POST", body=b"hello"))
            up.close()
            assert (await caller.until(b"}}")).startswith(b"HTTP/1.1 502 ")
            accepting = asyncio.ensure_future(made.upstream.accept())
            await asyncio.sleep(0.02)
            assert not accepting.done()
            accepting.cancel()

    run(story())


class Picks:
    """Sends everything to one path of the exchange's own provider."""

    def __init__(self, path: bytes) -> None:
        self.path = path

    @hookimpl
    def pick(self, exchange: Exchange) -> Target:
        assert exchange.provider is not None
        origin, _ = exchange.provider.locate(exchange.path, None)
        return Target(exchange.provider, origin, self.path)


@pytest.mark.parametrize(
    "path",
    [b"/x HTTP/1.1\r\nX-Evil: 1", b"/x y", b"/x\r", b"/x\n", b"/\x00", b"/\x7f", b"", b"x"],
)
def test_a_path_that_a_plugin_picks_cannot_break_the_request(path):
    with ScriptedUpstream(answers()) as upstream:
        ran = ran_on(plan_of(Picks(path)), exchange(), upstream)
        requests = list(upstream.requests)

    assert (ran.status, ran.is_complete) == (500, True)
    assert requests == []


def test_a_path_that_a_plugin_picks_goes_up():
    with ScriptedUpstream(answers()) as upstream:
        ran_on(plan_of(Picks("/\u00e4?a=%20".encode())), exchange(), upstream)
        assert upstream.requests[0].target == "/\u00e4?a=%20".encode()


# -- answers ---------------------------------------------------------------------------------------


class Edits:
    """Has its way with every head."""

    def __init__(self, edit: Callable[[Head], None]) -> None:
        self.edit = edit

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        self.edit(head)


class Marks:
    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        head.headers.set(b"X-Mark", b"1")


def bad_edit(name: str) -> Callable[[Head], None]:
    """Give an edit of a head that cannot be sent, or that fails."""

    def edit(head: Head) -> None:
        values: dict[str, Any] = {
            "break": (b"X-A", b"1\r\nX-Evil: 1"),
            "nul": (b"X-A", b"\0"),
            "text_name": ("X-A", b"1"),
            "text_value": (b"X-A", "1"),
            "none_value": (b"X-A", None),
            "number": (b"X-A", 5),
        }
        if name in values:
            head.headers.add(*values[name])
        elif name == "reason":
            head.reason = b"OK\r\nX-Evil: 1"
        elif name == "text_reason":
            head.reason = "OK"  # type: ignore[assignment]
        elif name == "text_status":
            head.status = "200"  # type: ignore[assignment]
        elif name == "headers":
            head.headers = None  # type: ignore[assignment]
        elif name == "raises":
            raise LookupError("on purpose")
        elif name == "raises_on_purpose":
            raise CallerFault("No.", status=403)

    return edit


BAD_EDITS = [
    "break", "nul", "text_name", "text_value", "none_value", "number", "reason", "text_reason",
    "text_status", "headers", "raises", "raises_on_purpose",
]  # fmt: skip


@pytest.mark.parametrize("is_error", [False, True])
@pytest.mark.parametrize("name", BAD_EDITS)
def test_an_answer_that_a_plugin_spoils_is_a_bare_500(name, is_error):
    ends = Ends()
    script = None if is_error else answers(b"ok")
    ran = sent(Marks(), Edits(bad_edit(name)), ends, script=script)

    assert (ran.status, ran.ending, ran.is_complete) == (500, "complete", True)
    assert ran.get(b"x-mark") is None
    assert b"Evil" not in ran.raw
    assert b"purpose" not in ran.raw
    assert orjson.loads(ran.body)["error"]["message"]
    assert ends.told == [("settle", "failed"), ("account", "failed")]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, "text"),  # type: ignore[arg-type]
        Reply(200, None),  # type: ignore[arg-type]
        Reply("200", b"text"),  # type: ignore[arg-type]
        Reply(200, b"", headers=[("X-A", b"1")]),  # type: ignore[list-item]
    ],
)
def test_a_reply_that_cannot_be_sent_is_a_500(reply):
    ends = Ends()
    ran = sent(Follows("prepare", lambda: reply), ends)

    assert (ran.status, ran.ending, ran.is_complete) == (500, "complete", True)
    assert ends.told == [("settle", "failed"), ("account", "failed")]


def test_a_plugin_that_spoils_only_upstreams_answers_sees_its_own_500():
    def edit(head: Head) -> None:
        if head.status == 200:
            raise LookupError("on purpose")

    ran = sent(Marks(), Edits(edit), script=answers(b"ok"))

    assert (ran.status, ran.get(b"x-mark"), ran.exchange.status) == (500, b"1", 500)


# As no gateway would write it: an odd case, a field twice, one that is empty, a Date that is none,
# the length amidst.
ODD = (
    b"HTTP/1.1 200 Fine\r\nx-ONE:  1\r\nSet-Cookie: a\r\nContent-Length: 2\r\nX-100%: 50%b\r\n"
    b"set-cookie: b\r\nX-Empty:\r\nDATE: today\r\nConnection: keep-alive\r\n\r\nok"
)
ODD_TOP = b"HTTP/1.1 200 Fine\r\n"
ODD_FIELDS = (
    b"x-ONE: 1\r\nSet-Cookie: a\r\nX-100%: 50%b\r\nset-cookie: b\r\nX-Empty: \r\nDATE: today\r\n"
)
ODD_END = b"Content-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("watchers", [(), (Ends,)])
def test_a_head_goes_on_as_it_came(watchers):
    assert sent(*(kind() for kind in watchers), script=says(ODD)).raw == (
        ODD_TOP + ODD_FIELDS + ODD_END
    )


@pytest.mark.parametrize("watchers", [(), (Ends,)])
def test_a_hook_that_only_adds_fields_leaves_those_that_came_as_they_came(watchers):
    def edit(head: Head) -> None:
        head.headers.add(b"X-New", b"1")
        head.headers.set(b"x-newer", b"2")

    ran = sent(Edits(edit), *(kind() for kind in watchers), script=says(ODD))

    assert ran.raw == ODD_TOP + ODD_FIELDS + b"X-New: 1\r\nx-newer: 2\r\n" + ODD_END


@pytest.mark.parametrize("watchers", [(), (Ends,)])
def test_a_hook_edits_a_field_in_its_place(watchers):
    def edit(head: Head) -> None:
        assert head.headers.get(b"x-100%") == b"50%b"
        head.headers.set(b"X-100%", b"%d")
        head.headers.drop(b"x-empty")

    ran = sent(Edits(edit), *(kind() for kind in watchers), script=says(ODD))

    fields = ODD_FIELDS.replace(b"50%b", b"%d").replace(b"X-Empty: \r\n", b"")
    assert ran.raw == ODD_TOP + fields + ODD_END


def test_an_edit_of_the_head_is_for_this_answer_only():
    marks: list[bool] = []

    def edit(head: Head) -> None:
        marks.append(b"x-mark" in head.headers)
        head.headers.items.insert(1, (b"X-Mark", b"1"))
        head.headers.items.append((b"X-Mark", b"2"))

    async def story() -> None:
        ends = Ends()
        async with gateway(Edits(edit), ends) as made:
            caller, up = await made.asked(request())
            for number in range(2):
                if number:
                    await caller.send(request())
                    await up.head()
                await up.send(ODD)
                assert (await caller.until(b"\r\n\r\nok")).count(b"X-Mark") == 2
                assert ends.exchange is not None
                came = ends.exchange.attempts[0].response
                assert came is not None
                assert b"x-mark" not in came

    run(story())
    assert marks == [False, False]


ODD_STREAM = ODD.removesuffix(b"ok").replace(b"Content-Length: 2", CHUNKED) + chunked(b"ok")


@pytest.mark.parametrize("raw", [ODD, ODD_STREAM])
@pytest.mark.parametrize("place", [0, 2, 6])
@pytest.mark.parametrize(
    "field",
    [(b"X-A", b"1\r\nX-Evil: 1"), (b"X-A\r\nX-Evil", b"1"), (b"X-A", b"1\n"), (b"X-\r", b"")],
)
def test_a_hook_that_puts_a_line_break_into_the_head_makes_it_a_500(field, place, raw):
    def edit(head: Head) -> None:
        if head.status == 200:
            assert len(head.headers.items) == 6
            head.headers.items.insert(place, field)

    ends = Ends()
    ran = sent(Edits(edit), ends, script=says(raw))

    assert (ran.status, ran.ending, ran.is_complete) == (500, "complete", True)
    assert b"Evil" not in ran.raw
    assert orjson.loads(ran.body)["error"]["code"] == "bad_field"
    assert ends.told == [("settle", "failed"), ("account", "failed")]


def test_a_hook_that_puts_a_line_break_where_it_only_changes_a_value_makes_it_a_500():
    def edit(head: Head) -> None:
        if head.status == 200:
            head.headers.set(b"x-one", b"1\r\nX-Evil: 1")

    ran = sent(Edits(edit), script=says(ODD))

    assert (ran.status, ran.is_complete) == (500, True)
    assert b"Evil" not in ran.raw


@pytest.mark.parametrize("raw", [ODD, ODD_STREAM])
def test_framing_stays_the_cores_whatever_a_hook_sets(raw):
    def edit(head: Head) -> None:
        head.headers.items.insert(1, (b"Content-Length", b"5"))
        head.headers.add(b"transfer-encoding", b"gzip")
        head.headers.set(b"Connection", b"x-one")

    ran = sent(Edits(edit), script=says(raw))

    framing = ODD_END if raw is ODD else CHUNKED + b"\r\n\r\n" + chunked(b"ok")
    assert ran.raw == ODD_TOP + ODD_FIELDS + framing


# -- whole answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("plugins", [(), (Marks,), (Ends,), (Follows,)])
def test_a_whole_small_answer_leaves_in_one_write(plugins):
    ran = sent(*(kind() for kind in plugins), script=answers(b"ok"))

    assert (ran.body, ran.is_complete, len(ran.writes)) == (b"ok", True, 1)
    assert (ran.exchange.bytes_sent, ran.exchange.outcome) == (2, "complete")


@pytest.mark.parametrize("size", [0, 1, COPY_BYTES_MAX, COPY_BYTES_MAX + 1, 200_000])
@pytest.mark.parametrize("plugins", [(), (Ends,)])
def test_an_answer_is_whole_however_large_it_is(size, plugins):
    body = bytes(range(256)) * (size // 256 + 1)
    ran = sent(*(kind() for kind in plugins), script=answers(body[:size]))

    assert ran.body == body[:size]
    assert ran.is_complete
    assert (ran.exchange.bytes_sent, ran.exchange.outcome) == (size, "complete")


@pytest.mark.parametrize(("status", "outcome"), [(200, "complete"), (404, "provider_error")])
@pytest.mark.parametrize("plugins", [(), (Marks,), (Ends,)])
def test_a_whole_answer_counts_as_its_status_says(status, outcome, plugins):
    ran = sent(*(kind() for kind in plugins), script=answers(b"ok", status=status))

    assert (ran.status, ran.exchange.status, ran.exchange.outcome) == (status, status, outcome)


@pytest.mark.parametrize(
    ("status", "outcome", "body"),
    [
        (404, "provider_error", b"ok"),
        (201, "complete", b"ok"),
        (204, "complete", b""),
        (304, "complete", b""),
    ],
)
@pytest.mark.parametrize("watchers", [(), (Ends,)])
def test_a_whole_answer_counts_as_the_status_that_a_hook_gave_it(status, outcome, body, watchers):
    def edit(head: Head) -> None:
        head.status = status

    ran = sent(Edits(edit), *(kind() for kind in watchers), script=answers(b"ok"))

    assert (ran.status, ran.body, ran.is_complete) == (status, body, True)
    assert (ran.exchange.status, ran.exchange.outcome) == (status, outcome)
    assert ran.exchange.attempts[0].status == 200


class Settles:
    """Notes how much the caller had when the end was known."""

    def __init__(self) -> None:
        self.told: list[tuple[str | None, int]] = []

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        line: Any = exchange.line
        self.told.append((exchange.outcome, len(line.outlet.writes)))


def test_a_whole_answer_is_settled_before_its_caller_has_any_of_it():
    settles = Settles()
    ran = sent(settles, script=answers(b"ok"))

    assert settles.told == [("complete", 0)]
    assert ran.body == b"ok"


class Taps:
    """Keeps what it sees on either side."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []

    @hookimpl
    def tap(self, exchange: Exchange, side: str) -> Callable[[bytes], None]:
        return lambda data: self.seen.append((side, data))


class Shouts:
    """Rewrites what is small into what is large."""

    @hookimpl
    def rewrite(self, exchange: Exchange) -> Any:
        class Rewriter:
            def feed(self, data: bytes) -> bytes:
                return data.upper()

            def end(self) -> bytes:
                return b"!"

        return Rewriter()


@pytest.mark.parametrize("others", [(), (Marks,), (Ends,)])
def test_a_whole_small_answer_is_shown_to_those_who_watch(others):
    taps = Taps()
    ran = sent(taps, *(kind() for kind in others), script=answers(b"ok"))

    assert taps.seen == [("upstream", b"ok"), ("caller", b"ok")]
    assert (ran.body, ran.is_complete) == (b"ok", True)


def test_a_whole_small_answer_is_rewritten():
    taps = Taps()
    ran = sent(taps, Shouts(), script=answers(b"ok"))

    assert taps.seen == [("upstream", b"ok"), ("caller", b"OK!")]
    assert (ran.body, ran.is_complete) == (b"OK!", True)
    assert ran.get(b"content-length") is None


@pytest.mark.parametrize(
    ("said", "has_end"), [(b"data: [DONE]\n\n", True), (b"data: 1\n\n", False)]
)
def test_the_events_of_a_whole_small_answer_are_looked_at_where_somebody_settles(said, has_end):
    events = (b"Content-Type", b"text/event-stream")
    ran = sent(Ends(), script=answers(said, events))
    assert (ran.body, ran.exchange.end_marker_seen, ran.exchange.streaming) == (said, has_end, True)

    ran = sent(Marks(), script=answers(said, events))
    assert (ran.body, ran.exchange.end_marker_seen, ran.exchange.streaming) == (said, None, True)


@pytest.mark.parametrize("plugins", [(), (Marks,), (Ends,)])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("keep", [b"keep-alive", b"close"])
def test_a_whole_answer_says_whether_the_connection_goes_on(version, keep, plugins):
    async def story() -> None:
        async with gateway(*(kind() for kind in plugins)) as made:
            caller, up = await made.asked(request(b"GET", b"Connection: " + keep, version=version))
            await up.send(OK)
            head = (await caller.until(b"ok")).lower()
            assert head.startswith(b"http/1.1 200 ok\r\n")
            if keep == b"close":
                assert b"\r\nconnection: close\r\n" in head
                assert await caller.ending() == "fin"
                return
            assert (b"\r\nconnection: keep-alive\r\n" in head) == (version == b"1.0")
            assert b"close" not in head
            await caller.send(request())
            await up.head()
            await up.send(OK)
            assert await caller.until(b"ok")

    run(story())


@pytest.mark.parametrize("plugins", [(), (Marks,), (Ends,)])
def test_an_answer_to_head_has_no_body(plugins):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    made = exchange(b"HEAD")
    ran = sent(*(kind() for kind in plugins), script=says(raw), made=made)

    assert ran.is_complete
    assert (ran.get(b"content-length"), ran.body) == (b"2", b"")
    assert ran.exchange.outcome == "complete"


# -- streams ---------------------------------------------------------------------------------------


def test_after_the_head_an_error_is_a_cut():
    class Breaks:
        @hookimpl
        def rewrite(self, exchange: Exchange) -> Any:
            class Rewriter:
                def feed(self, data: bytes) -> bytes:
                    raise LookupError("on purpose")

                def end(self) -> bytes:
                    return b""

            return Rewriter()

    ends = Ends()
    ran = sent(Breaks(), ends, script=streams([b"data: 1\n\n"], pause_s=0.02))

    assert (ran.status, ran.ending, ran.body) == (200, "cut", b"")
    assert ends.told == [("settle", "truncated"), ("account", "truncated")]


def test_a_failure_after_the_head_is_judged_and_nothing_is_sent_again():
    def dies(visit: Visit) -> None:
        visit.read()
        visit.send(head_of(200, (b"Transfer-Encoding", b"chunked")) + chunk(b"half"))
        visit.reset()

    tries = TriesAgain()
    tries_once: list[Attempt] = []

    class Keeps:
        @hookimpl
        def judge(self, exchange: Exchange, attempt: Attempt) -> Any:
            tries_once.append(attempt)
            return KEEP

    with ScriptedUpstream(dies) as upstream:
        ran = ran_on(plan_of(Keeps(), tries), exchange(), upstream)
        assert len(upstream.requests) == 1

    assert (ran.body, ran.ending, ran.exchange.outcome) == (b"half", "cut", "truncated")
    assert tries_once[0] is tries_once[1]
    assert [failure is None for _, failure in tries.heard] == [True, False]


class Bytes:
    """A stream of a reply, which notes how far it was read."""

    def __init__(self, count: int, size: int = 100_000) -> None:
        self.count = count
        self.size = size
        self.given = 0
        self.is_closed = False

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            while self.given < self.count:
                self.given += 1
                yield bytes(self.size)
        finally:
            self.is_closed = True


def test_a_reply_that_streams_rests_while_its_caller_does_not_read():
    made_bytes = Bytes(300)
    follows = Follows("prepare", lambda: Reply(200, stream=made_bytes.stream(), outcome="complete"))

    async def story() -> None:
        async with gateway(follows) as made:
            caller = await made.caller(receive_bytes=4096)
            await caller.send(request())
            await caller.head()
            await asyncio.sleep(0.05)
            rested = made_bytes.given
            await asyncio.sleep(0.02)
            assert rested == made_bytes.given < made_bytes.count
            size = 0
            while size < 30_000_000:
                size += int(await caller.until(b"\r\n"), 16)
                await caller.exactly(100_002)
            assert await caller.exactly(5) == b"0\r\n\r\n"

    run(story())
    assert made_bytes.is_closed


def test_a_reply_that_streams_ends_when_its_caller_leaves():
    made_bytes = Bytes(10**9, size=1000)
    ends = Ends()
    follows = Follows("prepare", lambda: Reply(200, stream=made_bytes.stream()))

    async def story() -> None:
        async with gateway(follows, ends) as made:
            caller = await made.caller(receive_bytes=4096)
            await caller.send(request())
            await caller.head()
            await asyncio.sleep(0.02)
            caller.close()
            await until(lambda: len(ends.told) == 2)

            await until(lambda: made_bytes.is_closed)

    run(story())
    assert ends.told == [("settle", "client_abort"), ("account", "client_abort")]


@pytest.mark.parametrize("how", ["stop", "rewriter"])
def test_a_reply_that_streams_is_closed_however_it_ends(how):
    made_bytes = Bytes(10**9, size=1000)

    class Ends:
        @hookimpl
        async def prepare(self, exchange: Exchange) -> Reply:
            return Reply(200, stream=made_bytes.stream())

        @hookimpl
        def tap(self, exchange: Exchange, side: str) -> Any:
            def tap(data: bytes) -> None:
                if exchange.bytes_sent > 5000 and how == "stop":
                    exchange.stop("stopped", b"bye")

            return tap

        @hookimpl
        def rewrite(self, exchange: Exchange) -> Any:
            class Rewriter:
                def feed(self, data: bytes) -> bytes:
                    if exchange.bytes_sent > 5000 and how == "rewriter":
                        raise LookupError("on purpose")
                    return data

                def end(self) -> bytes:
                    return b""

            return Rewriter()

    ran = sent(Ends())

    assert ran.ending == ("complete" if how == "stop" else "cut")
    assert made_bytes.is_closed


# -- leaving ---------------------------------------------------------------------------------------


class Waits:
    """Waits in one phase until the test says so; without end if it does not."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.is_there = asyncio.Event()
        self.was_cancelled = False

    async def _wait(self, phase: str) -> None:
        if phase == self.at:
            self.is_there.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise

    @hookimpl
    async def authenticate(self, exchange: Exchange) -> None:
        await self._wait("authenticate")

    @hookimpl
    async def limit(self, exchange: Exchange) -> None:
        await self._wait("limit")

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> None:
        await self._wait("send")


@pytest.mark.parametrize("at", ["authenticate", "limit", "send"])
def test_a_caller_that_leaves_a_waiting_plugin_ends_it(at):
    async def story() -> None:
        waits, ends = Waits(at), Ends()
        async with gateway(waits, ends) as made:
            caller = await made.caller()
            await caller.send(request())
            await waits.is_there.wait()
            caller.close()
            await until(lambda: len(ends.told) == 2)
            assert waits.was_cancelled
            assert ends.told == [("settle", "client_abort"), ("account", "client_abort")]
            assert made.gateway.lines == set()

    run(story())


@pytest.mark.parametrize("leave", [End.close, End.reset, End.half_close])
@pytest.mark.parametrize("said", [b"", STREAM + chunk(b"data: 1\n\n"), OK[:-1]])
def test_a_caller_that_leaves_takes_the_upstream_along(said, leave):
    async def story() -> None:
        ends = Ends()
        async with gateway(ends) as made:
            caller, up = await made.asked(request())
            if said:
                await up.send(said)
                await caller.head()
            leave(caller)
            assert await up.ending() == "reset"
            await until(lambda: len(ends.told) == 2)
            assert ends.told == [("settle", "client_abort"), ("account", "client_abort")]
            assert ends.exchange is not None
            assert ends.exchange.line is None
            assert made.gateway.pool.size == 0

    run(story())


def test_a_caller_that_leaves_behind_a_whole_answer_ends_nothing():
    async def story() -> None:
        ends = Ends()
        async with gateway(ends) as made:
            caller, up = await made.asked(request())
            await up.send(OK)
            assert await caller.until(b"ok") == OK
            caller.close()
            await asyncio.sleep(0.01)
            assert ends.told == [("settle", "complete"), ("account", "complete")]
            assert made.gateway.pool.size == 1

    run(story())


def test_a_caller_that_leaves_its_upload_takes_the_upstream_along():
    async def story() -> None:
        ends = Ends()
        async with gateway(ends) as made:
            caller, up = await made.asked(request(b"POST", b"Content-Length: 6") + b"abc")
            assert await up.exactly(3) == b"abc"
            caller.close()
            assert await up.ending() == "reset"
            await until(lambda: len(ends.told) == 2)
            assert ends.exchange is not None
            assert (ends.exchange.bytes_received, ends.told[0]) == (3, ("settle", "client_abort"))

    run(story())


# -- in one turn of the loop -----------------------------------------------------------------------


class Turn:
    """A line that waits for its head, with both ends in hand: what happens here, happens in one
    turn.
    """

    def __init__(self, made: Inside, caller: End, up: End) -> None:
        self.made = made
        self.caller = caller
        self.up = up
        (self.line,) = made.gateway.lines
        (self.asker,) = made.callers.connections
        (self.connection,) = made.gateway.pool._all

    def does(self, what: str) -> None:
        if what == "leaves":
            self.asker.eof_received()
        elif what == "stops":
            self.made.callers.cut()
        else:
            self.connection.data_received(OK if what == "answers" else STREAM + chunk(b"one"))

    async def told(self) -> bytes:
        """Give what the caller got in the end; the upstream got no second request."""
        await until(lambda: not self.made.gateway.lines)
        with contextlib.suppress(ConnectionResetError):
            assert await self.up.soon() == b""
        with pytest.raises(BlockingIOError):
            self.made.upstream.sock.accept()
        return await self.caller.soon()


@contextlib.asynccontextmanager
async def waiting(*plugins: object) -> AsyncIterator[Turn]:
    async with gateway(*plugins) as made:
        turn = Turn(made, *await made.asked(request()))
        yield turn
        await until(lambda: not made.gateway.lines)
        assert turn.line.done()


@pytest.mark.parametrize("plugins", [(), (Follows,)])
def test_a_whole_answer_has_left_before_the_call_that_brought_it_returns(plugins):
    async def story() -> None:
        async with waiting(*(kind() for kind in plugins)) as turn:
            turn.does("answers")
            assert turn.line.done()
            assert turn.made.gateway.lines == set()
            assert turn.caller.sock.recv(100) == OK

    run(story())


@pytest.mark.parametrize("plugins", [(), (Follows,)])
def test_an_answer_waits_until_its_caller_has_taken_what_was_there(plugins):
    async def story() -> None:
        async with waiting(*(kind() for kind in plugins)) as turn:
            turn.asker.pause_writing()  # a former answer fills its buffer
            turn.does("answers")
            await asyncio.sleep(0.002)
            assert not turn.line.done()
            turn.asker.resume_writing()
            await turn.line
            assert await turn.caller.until(b"ok") == OK
            await turn.caller.send(request())
            await turn.up.head()
            await turn.up.send(OK)
            assert await turn.caller.until(b"ok") == OK

    run(story())


def stopping(*, waits: bool) -> Any:
    """Make a plugin that stops all but HEAD in `prepare`, which waits or does not."""

    def stops(exchange: Exchange) -> None:
        if exchange.method != b"HEAD":
            exchange.stop()

    async def stops_and_waits(exchange: Exchange) -> None:
        stops(exchange)
        await asyncio.sleep(0)

    return plugin(prepare=stops_and_waits if waits else stops)


@pytest.mark.parametrize("waits", [True, False])
def test_a_stop_is_told_once_its_caller_has_taken_what_was_there(waits):
    async def story() -> None:
        async with gateway(stopping(waits=waits)) as made:
            caller = await made.caller()
            await until(lambda: made.callers.connections)
            (asker,) = made.callers.connections
            asker.pause_writing()  # a former answer fills its buffer
            await caller.send(request())
            await until(lambda: made.gateway.lines)
            (line,) = made.gateway.lines
            await asyncio.sleep(0.002)
            assert not line.done()
            asker.resume_writing()
            await line
            assert (await caller.until(b"}}")).startswith(b"HTTP/1.1 403 ")
            await caller.send(request(b"HEAD"))
            up = await made.upstream.accept()
            await up.head()
            await up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            assert (await caller.head()).startswith(b"HTTP/1.1 200 ")

    run(story())


TO_SEND = TO_JUDGE[:-1]
PAGE = ["answer", *BODY[1:]]
# What happens, how the exchange ends, what hooks hear before that, what its caller gets to see.
TURNS: dict[tuple[str, ...], tuple[str, list[str], bytes]] = {
    ("leaves", "answers"): ("client_abort", TO_SEND, b""),
    ("leaves", "begins"): ("client_abort", TO_SEND, b""),
    ("leaves", "leaves"): ("client_abort", TO_SEND, b""),
    ("answers", "leaves"): ("complete", [*TO_JUDGE, "answer", *BODY], OK),
    ("begins", "leaves"): ("client_abort", [*TO_JUDGE, "answer", *BODY], b"HTTP/1.1 200 OK\r\n"),
    ("stops", "answers"): ("stopped", [*TO_SEND, *PAGE], b"HTTP/1.1 403 "),
    ("stops", "begins"): ("stopped", [*TO_SEND, *PAGE], b"HTTP/1.1 403 "),
    ("stops", "stops"): ("stopped", [*TO_SEND, *PAGE], b"HTTP/1.1 403 "),
    ("answers", "stops"): ("complete", [*TO_JUDGE, "answer", *BODY], OK),
    # It is told that it was stopped as long as its end of the connection is open.
    ("stops", "leaves", "answers"): ("client_abort", TO_SEND, b"HTTP/1.1 403 "),
    ("leaves", "stops", "answers"): ("client_abort", TO_SEND, b"HTTP/1.1 403 "),
}


@pytest.mark.parametrize("happens", TURNS)
def test_what_comes_together_in_one_turn_does_nothing_twice(happens, logged):
    outcome, order, seen = TURNS[happens]

    async def story() -> tuple[Follows, Ends, bytes]:
        follows, ends = Follows(), Ends()
        async with waiting(follows, ends) as turn:
            for what in happens:
                turn.does(what)
            got = await turn.told()
        return follows, ends, got

    follows, ends, got = run(story())
    assert ends.told == [("settle", outcome), ("account", outcome)]
    assert len(follows.order) == len(set(follows.order))
    assert follows.order[: follows.order.index("settle")] == order
    assert got.startswith(seen)
    assert got.count(b"HTTP/1.1 ") == bool(seen)
    assert [line for line in logged if line["event"] in ("line_failed", "plugin_failed")] == []


@pytest.mark.parametrize("happens", TURNS)
def test_what_comes_together_in_one_turn_is_borne_without_plugins_too(happens, logged):
    _, _, seen = TURNS[happens]

    async def story() -> bytes:
        async with waiting() as turn:
            for what in happens:
                turn.does(what)
            return await turn.told()

    got = run(story())
    assert got.startswith(seen)
    assert got.count(b"HTTP/1.1 ") == bool(seen)
    assert [line for line in logged if line["event"] == "line_failed"] == []


# -- what hooks run in -----------------------------------------------------------------------------

mine: ContextVar[str] = ContextVar("mine", default="none")


class Remembers:
    """Binds a context variable in the first hook, and notes it and the current task in later ones,
    by exchange.
    """

    def __init__(self) -> None:
        self.words: dict[str, list[str]] = {}
        self.tasks: dict[str, set[object]] = {}

    def _note(self, made: Exchange) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.words.setdefault(made.id, []).append(mine.get())
        self.tasks.setdefault(made.id, set()).add(task)

    @hookimpl
    async def authenticate(self, exchange: Exchange) -> None:
        self._note(exchange)
        mine.set(exchange.id)
        await asyncio.sleep(0.001)

    @hookimpl
    async def limit(self, exchange: Exchange) -> None:
        self._note(exchange)

    @hookimpl
    def pick(self, exchange: Exchange) -> None:
        self._note(exchange)

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> None:
        self._note(exchange)

    @hookimpl
    def judge(self, exchange: Exchange, attempt: Attempt) -> None:
        self._note(exchange)

    @hookimpl
    def answer(self, exchange: Exchange, head: Head) -> None:
        self._note(exchange)


def test_each_exchange_has_a_current_task_and_context_variables_of_its_own():
    async def story() -> Remembers:
        remembers = Remembers()
        async with gateway(remembers) as made:
            here = asyncio.current_task()
            callers, ups = zip(*[await made.asked(request()) for _ in range(3)], strict=True)
            for number in range(2):
                if number:
                    await asyncio.gather(*(caller.send(request()) for caller in callers))
                    await asyncio.gather(*(up.head() for up in ups))
                for up in ups:
                    await up.send(OK)
                for caller in callers:
                    assert await caller.until(b"ok") == OK
            assert asyncio.current_task() is here
        return remembers

    remembers = run(story())
    assert len(remembers.words) == 6
    for name, words in remembers.words.items():
        assert words == ["none", *[name] * 5]
    assert [len(tasks) for tasks in remembers.tasks.values()] == [1] * 6
    assert len(set().union(*remembers.tasks.values())) == 6
    assert mine.get() == "none"


class Bounds:
    """Waits in one hook in the ways that plugins do, each with its bound."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.done: list[str] = []

    async def _wait(self, phase: str) -> None:
        if phase != self.at:
            return
        try:
            async with asyncio.timeout(0.002):
                await asyncio.Event().wait()
        except TimeoutError:
            self.done.append("timeout")
        with anyio.move_on_after(0.002):
            while True:
                await anyio.lowlevel.checkpoint()
        self.done.append("scope")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0.001, "group"))
        self.done.append(task.result())
        self.done.append(await asyncio.to_thread(str, "thread"))

    @hookimpl
    async def authenticate(self, exchange: Exchange) -> None:
        await self._wait("authenticate")

    @hookimpl
    async def prepare(self, exchange: Exchange) -> None:
        await self._wait("prepare")

    @hookimpl
    async def lookup(self, exchange: Exchange) -> None:
        await self._wait("lookup")

    @hookimpl
    async def limit(self, exchange: Exchange) -> None:
        await self._wait("limit")

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> None:
        await self._wait("send")


@pytest.mark.parametrize("at", [*TO_LIMIT, "send"])
def test_a_hook_may_wait_in_any_way_that_a_task_may(at):
    bounds, ends = Bounds(at), Ends()
    ran = sent(bounds, ends, script=answers(b"ok"))

    assert bounds.done == ["timeout", "scope", "group", "thread"]
    assert (ran.status, ran.body) == (200, b"ok")
    assert ends.told == [("settle", "complete"), ("account", "complete")]


@pytest.mark.parametrize("at", ["authenticate", "prepare", "limit", "send"])
def test_a_hook_that_lets_a_cancel_of_others_through_is_a_500(at):
    """What it waits for was cancelled, not the line: its caller is there and waits."""

    async def cancelled() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        await future

    ends = Ends()
    ran = sent(Follows(at, cancelled), ends, script=answers(b"ok"))

    assert ran.ending == "complete"
    assert (ran.status, ran.is_complete) == (500, True)
    assert ends.told == [("settle", "failed"), ("account", "failed")]


# -- endings ---------------------------------------------------------------------------------------


class Raises:
    """Fails when it is told of the end."""

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        raise LookupError("on purpose")

    @hookimpl
    def account(self, exchange: Exchange) -> None:
        raise LookupError("on purpose")


OUTCOMES: dict[str, tuple[Any, str]] = {
    "whole": (answers(b"ok"), "complete"),
    "stream": (streams([b"data: 1\n\n"]), "complete"),
    "not_modified": (says(head_of(304)), "complete"),
    "refused_by_the_provider": (answers(b"no", status=400), "provider_error"),
    "broken_provider": (answers(b"no", status=503), "provider_error"),
    "nobody": (None, "provider_error"),
    "no_http": (says(b"SSH-2.0\r\n\r\n"), "provider_error"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_settle_and_account_come_once_each_with_the_outcome(name):
    script, outcome = OUTCOMES[name]
    ends = Ends()
    ran = sent(Raises(), ends, script=script)

    assert ran.is_complete
    assert ends.told == [("settle", outcome), ("account", outcome)]
    assert ran.exchange.ended_ns is not None


def test_the_end_of_the_drain_is_told_to_who_waits_and_cuts_who_reads():
    async def story() -> tuple[bytes, str, list[tuple[str, str | None]]]:
        ends = Ends()
        async with gateway(ends) as made:
            waiting, _ = await made.asked(request())
            reading, up = await made.asked(request())
            await up.send(STREAM + chunk(b"data: 1\n\n"))
            await reading.until(b"data: 1\n\n")
            made.callers.drain()
            made.callers.cut()
            told = await waiting.rest()
            rest = await reading.rest()
            assert b"0\r\n\r\n" not in rest
            await until(lambda: len(ends.told) == 4)
            return told, await up.ending(), ends.told

    told, ending, ends = run(story())
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"shutting_down" in told
    assert ending == "reset"
    assert {outcome for _, outcome in ends} <= {"stopped", "refused"}


def test_an_exchange_leaves_nothing_running():
    async def story() -> set[str]:
        async with gateway() as made:
            caller, up = await made.asked(request())
            await up.send(OK)
            assert await caller.until(b"ok") == OK
            await asyncio.sleep(0.005)
            assert made.gateway.lines == set()
            here = asyncio.current_task()
            return {task.get_name() for task in asyncio.all_tasks() if task is not here}

    assert run(story()) == set()
