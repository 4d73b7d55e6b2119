"""Each hook: when it is asked, what its result means, and what happens if it raises."""

from __future__ import annotations

import gzip
import inspect
import threading
import time
from typing import Any

import pytest

from gateway import (
    KEEP,
    SKIP,
    Again,
    CallerFault,
    Event,
    Reply,
    Size,
    Skip,
    Target,
    UpstreamFault,
    hooks,
)
from gateway.config import Config, Limits
from gateway.testing import (
    Script,
    ScriptedUpstream,
    answers,
    chunk,
    exchange,
    head,
    plan_of,
    run,
    sized,
    streams,
)
from tests.gateway.made import Boom, plugin, raising

MS = 1_000_000
ONE, TWO, DONE = b'data: {"n":1}\n\n', b'data: {"n":2}\n\n', b"data: [DONE]\n\n"
CHUNKED, CLOSE = (b"Transfer-Encoding", b"chunked"), (b"Connection", b"close")
STREAM = head(200, (b"Content-Type", b"text/event-stream"), CHUNKED)
ASYNC = ("authenticate", "prepare", "lookup", "limit", "send")


@pytest.fixture(autouse=True)
def fresh(upstream, logged):
    upstream.forget()
    upstream.script = answers(b"{}")
    return logged


def blamed(lines) -> list[tuple[str, str]]:
    """Give the plugins that the log names, each with what it raised."""
    return [(line["plugin"], line["error"]) for line in lines if line["event"] == "plugin_failed"]


BLAMED = [("broken", repr(Boom()))]


# -- the list --------------------------------------------------------------------------------------


def test_every_declared_hook_is_listed_in_the_order_of_its_declaration():
    declared = [name for name, value in vars(hooks).items() if hasattr(value, "weir_spec")]
    assert tuple(declared) == hooks.NAMES


def test_only_what_may_wait_is_async():
    found = [name for name in hooks.NAMES if inspect.iscoroutinefunction(getattr(hooks, name))]
    assert tuple(found) == ASYNC


def test_every_hook_says_when_it_is_called():
    assert [name for name in hooks.NAMES if not getattr(hooks, name).__doc__] == []


# -- authenticate ----------------------------------------------------------------------------------


def test_authenticate_comes_before_the_body_is_read(upstream):
    seen = []

    async def authenticate(exchange):
        seen.append((exchange.body, exchange.provider.name, exchange.headers.get(b"x-key")))

    gate = plugin(having={"reads": "all"}, authenticate=authenticate)
    ran = run(plan_of(gate), exchange(headers=[(b"X-Key", b"k")], body=b"{}"), upstream)

    assert seen == [(None, "openai", b"k")]
    assert ran.status == 200


def test_a_reply_of_authenticate_stops_the_exchange(upstream):
    later = []

    async def authenticate(exchange):
        return Reply(401, b"who?")

    async def note(exchange):
        later.append("asked")

    gates = plan_of(
        plugin(authenticate=authenticate), plugin("late", authenticate=note, prepare=note)
    )
    ran = run(gates, exchange(body=b"{}"), upstream)

    assert (ran.status, ran.body, ran.exchange.outcome) == (401, b"who?", "refused")
    assert (later, upstream.requests) == ([], [])


def test_fields_that_authenticate_consumed_do_not_go_up(upstream):
    async def authenticate(exchange):
        exchange.known().key_id = "key-1"
        exchange.consumed = (b"authorization", b"x-key")

    fields = [(b"Authorization", b"Bearer ours"), (b"X-KEY", b"ours"), (b"X-Other", b"theirs")]
    ran = run(plan_of(plugin(authenticate=authenticate)), exchange(headers=fields), upstream)

    assert upstream.requests[0].fields == [(b"Host", upstream.requests[0].get(b"host")), fields[2]]
    assert ran.exchange.known().key_id == "key-1"


# -- prepare ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", ["json", "all"])
def test_prepare_sees_the_body_and_what_the_dialect_read_in_it(upstream, reads):
    seen = []

    async def prepare(exchange):
        seen.append((exchange.body, exchange.document["model"], exchange.model, exchange.streaming))

    reader = plugin(having={"reads": reads}, prepare=prepare)
    body = b'{"model": "m", "stream": true}'
    run(plan_of(reader), exchange(body=body), upstream)

    assert seen == [(body, "m", "m", True)]
    assert upstream.requests[0].body == body


@pytest.mark.parametrize(("reads", "body"), [(None, None), ("json", None), ("all", b"text")])
def test_prepare_has_only_the_kind_of_body_that_is_read(upstream, reads, body):
    seen = []

    async def prepare(exchange):
        seen.append(exchange.body)

    reader = plugin(having={"reads": reads}, prepare=prepare)
    made = exchange(headers=[(b"Content-Type", b"text/plain")], body=b"text")
    run(plan_of(reader), made, upstream)

    assert (seen, upstream.requests[0].body) == ([body], b"text")


def test_a_reply_of_prepare_stops_the_exchange(upstream):
    async def prepare(exchange):
        return Reply(200, b"a page", outcome="complete")

    ran = run(plan_of(plugin(prepare=prepare)), exchange(), upstream)

    assert (ran.body, ran.exchange.outcome, upstream.requests) == (b"a page", "complete", [])


def test_a_fault_that_prepare_raises_on_purpose_is_the_answer(upstream, logged):
    async def prepare(exchange):
        raise CallerFault("Too long.", status=422, code="too_long", headers=((b"X-A", b"1"),))

    made = exchange(path=b"v1/messages", provider="anthropic")
    ran = run(plan_of(plugin(prepare=prepare)), made, upstream)

    assert (ran.status, ran.get(b"x-a"), ran.exchange.outcome) == (422, b"1", "refused")
    assert b'"type":"error"' in ran.body  # in the shape that Anthropic's SDK expects
    assert b"Too long." in ran.body
    assert blamed(logged) == []


# -- lookup ----------------------------------------------------------------------------------------


async def cached(exchange):
    return Reply(200, ONE, content_type=b"text/event-stream", outcome="cached")


def test_a_reply_of_lookup_skips_limits_and_attempts_but_no_later_hook(upstream):
    order = []

    async def limit(exchange):
        order.append("limit")

    async def send(exchange, attempt):
        order.append("send")

    others = plugin(
        "others",
        limit=limit,
        send=send,
        answer=lambda exchange, head: order.append("answer"),
        settle=lambda exchange: order.append("settle"),
        account=lambda exchange: order.append("account"),
    )
    ran = run(plan_of(plugin(lookup=cached), others), exchange(), upstream)

    assert (ran.body, ran.exchange.outcome, upstream.requests) == (ONE, "cached", [])
    assert order == ["answer", "settle", "account"]


def test_the_first_lookup_that_has_an_answer_gives_it():
    asked = []

    async def nothing(exchange):
        asked.append("nothing")

    async def late(exchange):
        asked.append("late")

    plugins = (plugin("a", lookup=nothing), plugin("b", lookup=cached), plugin("c", lookup=late))
    ran = run(plan_of(*plugins), exchange())

    assert (ran.body, asked) == (ONE, ["nothing"])


def test_lookup_fails_open(upstream, logged):
    ran = run(plan_of(raising("lookup"), plugin(lookup=cached)), exchange(), upstream)
    assert (ran.body, blamed(logged)) == (ONE, BLAMED)

    ran = run(plan_of(raising("lookup")), exchange(), upstream)
    assert (ran.status, len(upstream.requests)) == (200, 1)


# -- limit -----------------------------------------------------------------------------------------


def test_a_reply_of_limit_refuses(upstream):
    later = []

    async def full(exchange):
        return Reply(429, b"slow down", headers=[(b"Retry-After", b"7")])

    async def late(exchange):
        later.append("asked")

    ran = run(plan_of(plugin("a", limit=full), plugin("b", limit=late)), exchange(), upstream)

    assert (ran.status, ran.get(b"retry-after"), ran.exchange.outcome) == (429, b"7", "refused")
    assert (later, upstream.requests) == ([], [])


@pytest.mark.parametrize(
    ("policy", "status", "requests"),
    [({"fails": "open"}, 200, 1), ({"fails": "closed"}, 500, 0), ({}, 500, 0)],
)
def test_a_limit_that_fails_does_what_its_plugin_says(upstream, logged, policy, status, requests):
    ran = run(plan_of(raising("limit", **policy)), exchange(), upstream)

    assert (ran.status, len(upstream.requests), blamed(logged)) == (status, requests, BLAMED)


def test_a_limit_that_is_open_does_not_open_its_neighbour(upstream):
    plan = plan_of(raising("limit", "a", fails="open"), raising("limit", "b", fails="closed"))

    assert run(plan, exchange(), upstream).status == 500


# -- pick ------------------------------------------------------------------------------------------


def elsewhere(path: bytes):
    """Make a `pick` that goes to another path of the same provider."""

    def pick(exchange):
        origin, _ = exchange.provider.locate(path, None)
        return Target(exchange.provider, origin, path)

    return pick


def test_the_first_view_of_pick_counts(upstream):
    plugins = (
        plugin("a", pick=lambda exchange: None),
        plugin("b", pick=elsewhere(b"/b")),
        plugin("c", pick=elsewhere(b"/c")),
    )
    run(plan_of(*plugins), exchange(), upstream)

    assert [request.target for request in upstream.requests] == [b"/b"]


def test_without_a_view_of_pick_the_callers_own_provider_is_asked(upstream):
    run(plan_of(plugin(pick=lambda exchange: None)), exchange(path=b"v1/x?y=%20"), upstream)

    assert upstream.requests[0].target == b"/v1/x?y=%20"


def test_pick_is_asked_before_each_attempt(upstream):
    seen = []

    def pick(exchange):
        seen.append(len(exchange.attempts))

    run(
        plan_of(
            plugin(pick=pick, judge=lambda exchange, attempt: Again() if len(seen) < 3 else None)
        ),
        exchange(body=b"{}"),
        upstream,
    )

    assert seen == [0, 1, 2]


# -- send ------------------------------------------------------------------------------------------


def test_send_edits_what_goes_up_and_not_what_came_in(upstream):
    async def send(exchange, attempt):
        attempt.headers.set(b"Authorization", b"Bearer theirs")
        attempt.headers.add(b"Host", b"evil")
        attempt.headers.add(b"Content-Length", b"1")
        attempt.body = b'{"longer": 1}'

    made = exchange(headers=[(b"authorization", b"mine")], body=b"{}")
    run(plan_of(plugin(send=send)), made, upstream)

    request = upstream.requests[0]
    assert request.body == b'{"longer": 1}'
    assert [pair for pair in request.fields if pair[0].lower() in (b"authorization", b"host")] == [
        (b"Host", upstream.url.removeprefix("http://").encode()),
        (b"Authorization", b"Bearer theirs"),
    ]
    assert request.get(b"content-length") == b"13"
    assert made.headers.get(b"authorization") == b"mine"


def test_send_comes_before_any_byte_goes_out(upstream):
    seen = []

    async def send(exchange, attempt):
        seen.append((len(upstream.requests), attempt.number, attempt.sent_ns))

    run(plan_of(plugin(send=send)), exchange(), upstream)

    assert seen == [(0, 0, None)]


def test_a_reply_of_send_stops_the_exchange(upstream):
    async def send(exchange, attempt):
        return Reply(402, b"no money")

    ran = run(plan_of(plugin(send=send)), exchange(), upstream)

    assert (ran.status, ran.exchange.outcome, upstream.requests) == (402, "refused", [])


def test_a_skip_of_send_takes_the_next_target(upstream):
    async def send(exchange, attempt):
        return SKIP if attempt.target.path == b"/0" else None

    def pick(exchange):
        return elsewhere(b"/%d" % len(exchange.attempts))(exchange)

    late = []

    async def note(exchange, attempt):
        late.append(attempt.number)

    plan = plan_of(plugin("a", pick=pick, send=send), plugin("b", send=note))
    ran = run(plan, exchange(), upstream)

    assert ([request.target for request in upstream.requests], late) == ([b"/1"], [1])
    assert [attempt.status for attempt in ran.exchange.attempts] == [None, 200]


def test_a_skip_of_send_without_another_target_is_a_503(upstream):
    async def send(exchange, attempt):
        return SKIP

    ran = run(plan_of(plugin(send=send)), exchange(), upstream)

    assert (ran.status, len(ran.exchange.attempts), upstream.requests) == (503, 1, [])


def test_a_skips_reason_is_what_the_caller_is_told_where_no_target_is_left(upstream):
    async def send(exchange, attempt):
        return Skip(CallerFault(f"no money for {attempt.number}", status=402, code="no_money"))

    def pick(exchange):
        return elsewhere(b"/x")(exchange) if len(exchange.attempts) < 2 else None

    for plan in (plan_of(plugin(pick=pick, send=send)), plan_of(plugin(send=send))):
        ran = run(plan, exchange(), upstream)
        last = len(ran.exchange.attempts) - 1
        assert (ran.status, upstream.requests) == (402, [])
        assert b"no money for %d" % last in ran.body


def test_skips_of_send_are_bounded_too(upstream):
    async def send(exchange, attempt):
        return SKIP

    config = Config(enabled=(), limits=Limits(attempts_max=4))
    plan = plan_of(plugin(pick=elsewhere(b"/x"), send=send))
    ran = run(plan, exchange(), upstream, config=config)

    assert (ran.status, len(ran.exchange.attempts)) == (503, 4)


# -- judge -----------------------------------------------------------------------------------------


def failing(times: int, status: int = 500):
    """Answer with that status for so many requests, then well."""
    left = [times]

    def script(visit):
        visit.read()
        left[0] -= 1
        visit.send(sized(b"{}", status=status if left[0] >= 0 else 200))

    return script


def test_again_of_judge_tries_again_and_the_caller_sees_only_the_last(upstream):
    upstream.script = failing(2)

    def judge(exchange, attempt):
        return Again() if attempt.status == 500 else None

    ran = run(plan_of(plugin(judge=judge)), exchange(body=b"{}"), upstream)

    assert (ran.status, ran.is_complete) == (200, True)
    assert [attempt.status for attempt in ran.exchange.attempts] == [500, 500, 200]
    assert [request.body for request in upstream.requests] == [b"{}"] * 3


def test_again_of_judge_waits_as_long_as_it_says(upstream):
    upstream.script = failing(1)
    plan = plan_of(plugin(judge=lambda exchange, attempt: Again(50 * MS)))
    config = Config(enabled=(), limits=Limits(attempts_max=2))
    started = time.monotonic_ns()
    run(plan, exchange(), upstream, config=config)

    assert 50 * MS <= time.monotonic_ns() - started < 1000 * MS


def test_attempts_that_judge_asks_for_are_bounded(upstream):
    upstream.script = failing(99)
    config = Config(enabled=(), limits=Limits(attempts_max=3))
    plan = plan_of(plugin(judge=lambda exchange, attempt: Again()))
    ran = run(plan, exchange(), upstream, config=config)

    assert (ran.status, len(upstream.requests)) == (500, 3)


def test_every_judge_is_heard_and_the_first_view_counts(upstream):
    upstream.script = failing(9)
    heard = []

    def of(name, view):
        def judge(exchange, attempt):
            heard.append(name)
            return view

        return plugin(name, judge=judge)

    ran = run(plan_of(of("a", None), of("b", KEEP), of("c", Again())), exchange(), upstream)

    assert (ran.status, heard, len(upstream.requests)) == (500, ["a", "b", "c"], 1)


def test_judge_hears_of_a_failure_and_may_go_on(upstream):
    seen = []

    def dies_once(visit):
        visit.read()
        if visit.connection.number:
            visit.send(sized(b"{}"))
        else:
            visit.reset()

    def judge(exchange, attempt):
        seen.append((attempt.status, type(attempt.failure)))
        return Again() if attempt.failure else None

    with ScriptedUpstream(dies_once) as dying:
        ran = run(plan_of(plugin(judge=judge)), exchange(body=b"{}"), dying)

    assert seen == [(None, UpstreamFault), (200, type(None))]
    assert ran.status == 200


def test_judge_hears_of_a_failure_after_the_head_when_nothing_can_be_tried_again(upstream):
    seen = []

    def dies(visit):
        visit.read()
        visit.send(sized(b"x" * 9)[:-4])
        visit.fin()

    def judge(exchange, attempt):
        seen.append((attempt.status, attempt.failure and attempt.failure.code))
        return Again()

    config = Config(enabled=(), limits=Limits(attempts_max=1))
    with ScriptedUpstream(dies) as dying:
        ran = run(plan_of(plugin(judge=judge)), exchange(), dying, config=config)

    assert seen == [(200, None), (200, "upstream_cut")]
    assert (ran.ending, ran.body, ran.exchange.outcome) == ("cut", b"xxxxx", "truncated")


def test_a_first_event_that_send_asked_for_is_there_for_judge(upstream):
    seen = []

    async def send(exchange, attempt):
        attempt.hold_first_event = True

    def judge(exchange, attempt):
        seen.append(attempt.preview)
        return Again() if len(seen) == 1 else None

    upstream.script = streams([ONE, TWO], pause_s=0.2)
    ran = run(plan_of(plugin(send=send, judge=judge)), exchange(body=b"{}"), upstream)

    assert seen == [ONE, ONE]
    assert (ran.body, len(upstream.requests)) == (ONE + TWO, 2)


@pytest.mark.parametrize(
    ("pieces", "preview"),
    [
        ([b"no event at all"], b"no event at all"),
        ([b"data: 1\r\n\r\nrest"], b"data: 1\r\n\r\nrest"),
        ([b"x" * 30, b"y" * 30, b"z" * 30], b"x" * 30 + b"y" * 30),
    ],
    ids=["a_whole_body", "an_event_with_crlf", "as_much_as_may_be_held"],
)
def test_what_is_held_for_judge_is_bounded_and_goes_on_afterwards(upstream, pieces, preview):
    seen = []

    async def send(exchange, attempt):
        attempt.hold_first_event = True

    upstream.script = streams(pieces, pause_s=0.3)
    holds = plugin(send=send, judge=lambda exchange, attempt: seen.append(attempt.preview))
    config = Config(enabled=(), limits=Limits(preview_bytes_max=Size(40)))
    ran = run(plan_of(holds), exchange(), upstream, config=config)

    assert (seen, ran.body, ran.is_complete) == ([preview], b"".join(pieces), True)


# -- answer ----------------------------------------------------------------------------------------


def noting(order: list[str], name: str):
    """Make a hook of answer's arguments that notes its name."""

    def answer(exchange, head):
        order.append(name)

    return answer


def test_answer_unwinds_the_order_of_the_plugins(upstream):
    order: list[str] = []
    run(
        plan_of(*(plugin(name, answer=noting(order, name)) for name in "abc")),
        exchange(),
        upstream,
    )

    assert order == ["c", "b", "a"]


def test_answer_edits_the_head_of_an_upstreams_answer(upstream):
    def answer(exchange, head):
        assert (head.status, head.reason) == (200, b"OK")
        head.status, head.reason = 203, b"Changed"
        head.headers.drop(b"content-type")
        head.headers.set(b"date", b"1")
        head.headers.add(b"X-A", b"1")
        head.headers.add(b"Content-Length", b"99")

    ran = run(plan_of(plugin(answer=answer)), exchange(), upstream)

    assert ran.raw == b"HTTP/1.1 203 Changed\r\ndate: 1\r\nX-A: 1\r\nContent-Length: 2\r\n\r\n{}"
    assert ran.exchange.status == 203
    response = ran.exchange.attempts[0].response
    assert response is not None
    assert response.get(b"content-type") == b"application/json"


def test_answer_edits_answers_of_our_own_too():
    def answer(exchange, head):
        head.headers.add(b"X-Status", b"%d" % head.status)

    edits = plan_of(plugin(answer=answer))
    made = exchange()
    made.target = b"/nobody/x"

    assert run(edits, made).get(b"x-status") == b"404"
    assert run(edits, exchange()).get(b"x-status") == b"502"


# -- rewrite ---------------------------------------------------------------------------------------


class Wraps:
    """Puts a mark round each slice, and one at the end."""

    def __init__(self, mark: bytes) -> None:
        self.mark = mark

    def feed(self, data: bytes) -> bytes:
        return self.mark + data + self.mark

    def end(self) -> bytes:
        return self.mark.upper()


class Doubles:
    """Gives each event twice, and one more at the end."""

    def event(self, event: Event):
        return (event, event)

    def end(self) -> bytes:
        return DONE


def test_rewrite_unwinds_the_order_of_the_plugins_and_so_do_its_ends(upstream):
    plugins = (
        plugin("a", rewrite=lambda exchange: Wraps(b"a")),
        plugin("b", rewrite=lambda exchange: None),
        plugin("c", rewrite=lambda exchange: Wraps(b"c")),
    )
    ran = run(plan_of(*plugins), exchange(), upstream)

    assert (ran.body, ran.is_complete) == (b"ac{}cCaA", True)


def test_rewrite_changes_events_one_by_one(upstream):
    upstream.script = streams([ONE[:5], ONE[5:] + TWO])
    ran = run(plan_of(plugin(rewrite=lambda exchange: Doubles())), exchange(), upstream)

    assert (ran.body, ran.is_complete) == (ONE + ONE + TWO + TWO + DONE, True)


def test_rewrite_of_events_and_of_bytes_go_together(upstream):
    upstream.script = answers(ONE, (b"Content-Type", b"text/event-stream"))
    plugins = (
        plugin("a", rewrite=lambda exchange: Wraps(b"a")),
        plugin("b", rewrite=lambda exchange: Doubles()),
    )
    ran = run(plan_of(*plugins), exchange(), upstream)

    assert ran.body == b"a" + ONE + ONE + DONE + b"aA"


def test_rewrite_asks_for_a_plain_answer_and_reads_a_compressed_one(upstream):
    upstream.script = answers(gzip.compress(b"plain"), (b"Content-Encoding", b"gzip"))
    made = exchange(headers=[(b"Accept-Encoding", b"gzip, br")])
    ran = run(plan_of(plugin(rewrite=lambda exchange: Wraps(b"a"))), made, upstream)

    assert upstream.requests[0].get(b"accept-encoding") == b"identity"
    assert (ran.body, ran.get(b"content-encoding")) == (b"aplainaA", None)


def test_rewrite_does_not_see_our_own_error_pages(upstream):
    ran = run(plan_of(plugin(rewrite=lambda exchange: Wraps(b"a"))), exchange())

    assert (ran.status, ran.body[:1], ran.is_complete) == (502, b"{", True)


def test_rewrite_sees_a_plugins_reply():
    rewriter = plugin("a", rewrite=lambda exchange: Wraps(b"a"))

    assert run(plan_of(rewriter, plugin(lookup=cached)), exchange()).body == b"a" + ONE + b"aA"


@pytest.mark.parametrize("method", ["feed", "end"])
def test_a_rewrite_that_raises_aborts_the_stream(upstream, logged, method):
    class Breaks(Wraps):
        pass

    def breaks(self, *data):
        raise Boom

    setattr(Breaks, method, breaks)
    upstream.script = streams([ONE, TWO], pause_s=0.2)
    broken = plugin("broken", rewrite=lambda exchange: Breaks(b"a"))
    ran = run(plan_of(broken), exchange(), upstream)

    assert (ran.status, ran.ending, ran.is_complete) == (200, "cut", False)
    assert (ran.exchange.outcome, blamed(logged)) == ("truncated", BLAMED)
    assert b"own words" not in ran.raw


# -- tap -------------------------------------------------------------------------------------------


def tapping(seen: dict[str, list], make):
    def tap(exchange, side):
        return make(seen.setdefault(side, []))

    return tap


class Events:
    def __init__(self, seen: list) -> None:
        self.seen = seen

    def event(self, event: Event) -> None:
        self.seen.append(event.data)


def test_a_tap_sees_the_upstreams_bytes_and_those_that_the_caller_gets(upstream):
    seen: dict[str, list] = {}
    taps = plugin("taps", tap=tapping(seen, lambda side: side.append))
    ran = run(plan_of(plugin(rewrite=lambda exchange: Wraps(b"a")), taps), exchange(), upstream)

    assert {side: b"".join(found) for side, found in seen.items()} == {
        "upstream": b"{}",
        "caller": b"a{}aA",
    }
    assert ran.body == b"a{}aA"


def test_a_tap_may_want_events(upstream):
    upstream.script = streams([ONE[:7], ONE[7:] + TWO, DONE])
    seen: dict[str, list] = {}
    ran = run(plan_of(plugin(tap=tapping(seen, Events))), exchange(), upstream)

    assert seen["upstream"] == seen["caller"] == [b'{"n":1}', b'{"n":2}', b"[DONE]"]
    assert (ran.body, ran.exchange.end_marker_seen) == (ONE + TWO + DONE, True)


def test_a_tap_of_a_compressed_answer_reads_it_and_changes_nothing(upstream):
    packed = gzip.compress(b"plain")
    upstream.script = answers(packed, (b"Content-Encoding", b"gzip"))
    seen: dict[str, list] = {}
    taps = plan_of(plugin(tap=tapping(seen, lambda side: side.append)))
    ran = run(taps, exchange(), upstream)

    assert (b"".join(seen["upstream"]), ran.body) == (b"plain", packed)
    assert ran.get(b"content-encoding") == b"gzip"


def test_a_tap_that_raises_is_dropped_and_the_others_go_on(upstream, logged):
    calls = []

    def breaks(data):
        calls.append(data)
        raise Boom

    upstream.script = streams([ONE, TWO], pause_s=0.2)
    seen: dict[str, list] = {}
    broken = plugin("broken", tap=lambda exchange, side: breaks if side == "caller" else None)
    other = plugin("other", tap=tapping(seen, lambda side: side.append))
    ran = run(plan_of(broken, other), exchange(), upstream)

    assert (ran.body, ran.is_complete, calls) == (ONE + TWO, True, [ONE])
    assert b"".join(seen["caller"]) == ONE + TWO
    assert blamed(logged) == BLAMED


# -- settle ----------------------------------------------------------------------------------------


def test_settle_comes_before_the_event_with_the_end_marker(upstream):
    settled = threading.Event()
    seen = []

    def holds_the_end(visit):
        visit.read()
        visit.send(STREAM, chunk(ONE))
        visit.pause(0.02)
        visit.send(chunk(TWO + DONE))
        visit.wait(settled)  # the last chunk is not sent before
        visit.send(chunk(b""))

    def settle(exchange):
        seen.append((exchange.outcome, exchange.bytes_sent, exchange.end_marker_seen))
        settled.set()

    upstream.script = holds_the_end
    ran = run(plan_of(plugin(settle=settle)), exchange(), upstream)

    # The slice that is about to go out counts.
    assert seen == [("complete", len(ONE + TWO + DONE), True)]
    assert (ran.body, ran.is_complete) == (ONE + TWO + DONE, True)
    assert ran.exchange.bytes_sent == len(ran.body)


def test_settle_knows_every_byte_of_a_sized_body(upstream):
    seen = []

    def in_two(visit):
        visit.read()
        whole = sized(b"x" * 10)
        visit.send(whole[:-4])
        visit.pause(0.02)
        visit.send(whole[-4:])

    upstream.script = in_two
    settle = lambda exchange: seen.append(exchange.bytes_sent)
    ran = run(plan_of(plugin(settle=settle)), exchange(), upstream)

    assert (seen, ran.body) == ([10], b"x" * 10)


@pytest.mark.parametrize("fields", [(CHUNKED,), (CLOSE,)])
def test_settle_comes_before_an_end_that_has_no_bytes(upstream, fields):
    raw = []

    def script(visit):
        visit.read()
        visit.send(head(200, *fields), chunk(b"abc") if fields == (CHUNKED,) else b"abc")
        visit.pause(0.02)
        if fields == (CHUNKED,):
            visit.send(chunk(b""))
        else:
            visit.fin()

    upstream.script = script

    def settle(exchange):
        raw.append(exchange.line.outlet.raw)  # what the caller has by now

    ran = run(plan_of(plugin(settle=settle)), exchange(), upstream)

    assert ran.raw == raw[0] + b"0\r\n\r\n"
    assert ran.is_complete


def test_settle_that_raises_changes_nothing_for_the_caller_and_is_loud(upstream, logged):
    later = []
    plan = plan_of(raising("settle"), plugin(settle=lambda exchange: later.append(exchange.id)))
    ran = run(plan, exchange(), upstream)

    assert (ran.status, ran.is_complete, ran.exchange.outcome) == (200, True, "complete")
    assert (later, blamed(logged)) == ([ran.exchange.id], BLAMED)


# -- account ---------------------------------------------------------------------------------------


def dies_before_the_head(visit):
    visit.read()
    visit.reset()


def dies_after_the_head(visit):
    visit.read()
    visit.send(STREAM, chunk(ONE))
    visit.pause(0.02)
    visit.reset()


def stays(visit):
    visit.read()
    visit.send(STREAM, chunk(ONE))
    visit.wait_gone()


async def refuse(exchange):
    return Reply(403)


async def stop(exchange):
    exchange.stop()


async def stream(*pieces):
    for piece in pieces:
        yield piece


async def broken_reply(exchange):
    async def breaks():
        yield ONE
        raise Boom

    return Reply(200, stream=breaks())


# How an exchange goes: what the upstream does, what a plugin does, what it counts as.
ENDINGS: dict[str, tuple[Script, dict[str, Any], str]] = {
    "whole": (streams([ONE, DONE]), {}, "complete"),
    "error_of_the_provider": (answers(b"{}", status=429), {}, "provider_error"),
    "death_before_the_head": (dies_before_the_head, {}, "provider_error"),
    "death_after_the_head": (dies_after_the_head, {}, "truncated"),
    "refusal_by_authenticate": (answers(), {"authenticate": refuse}, "refused"),
    "refusal_by_limit": (answers(), {"limit": refuse}, "refused"),
    "answer_of_lookup": (answers(), {"lookup": cached}, "cached"),
    "stopped_before_the_head": (answers(), {"limit": stop}, "stopped"),
    "broken_reply": (answers(), {"prepare": broken_reply}, "truncated"),
    "departure": (stays, {}, "client_abort"),
    **{f"fault_in_{name}": (answers(), {name: None}, "failed") for name in
       ("authenticate", "prepare", "limit", "pick", "send", "judge", "answer", "rewrite")},
    **{f"fault_in_{name}": (answers(), {name: None}, "complete") for name in ("tap", "settle")},
    "fault_in_lookup": (answers(), {"lookup": None}, "complete"),
    "fault_in_account": (answers(), {"account": None}, "complete"),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_settle_and_account_come_once_each_in_that_order_whatever_the_ending(upstream, ending):
    upstream.script, bodies, outcome = ENDINGS[ending]
    order = []
    watcher = plugin(
        "watcher",
        settle=lambda exchange: order.append(("settle", exchange.outcome)),
        account=lambda exchange: order.append(("account", exchange.outcome)),
    )
    plugins = [raising(hook) if body is None else plugin(**bodies) for hook, body in bodies.items()]
    leaves_after = 1 if ending == "departure" else None
    run(plan_of(*plugins, watcher), exchange(), upstream, leaves_after=leaves_after)

    assert order == [("settle", outcome), ("account", outcome)]


def test_account_knows_how_it_went(upstream):
    seen = []

    def account(exchange):
        seen.append((exchange.status, exchange.bytes_received, exchange.bytes_sent))
        assert exchange.started_ns < exchange.answered_ns <= exchange.ended_ns
        attempt = exchange.attempt
        assert attempt.started_ns < attempt.connected_ns < attempt.sent_ns < attempt.first_byte_ns

    run(plan_of(plugin(account=account)), exchange(body=b"12345"), upstream)

    assert seen == [(200, 5, 2)]


def test_account_hears_of_a_target_that_leads_nowhere():
    seen = []
    made = exchange()
    made.target = b"/nobody/x"
    run(plan_of(plugin(account=lambda exchange: seen.append(exchange.status))), made)

    assert seen == [404]


# -- what fails closed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "requests"),
    [
        ("authenticate", 0),
        ("prepare", 0),
        ("pick", 0),
        ("send", 0),
        ("judge", 1),
        ("answer", 1),
        ("rewrite", 1),
    ],
)
def test_a_fault_in_what_can_change_the_answer_is_a_500(upstream, logged, hook, requests):
    ran = run(plan_of(raising(hook)), exchange(), upstream)

    assert (ran.status, ran.is_complete, len(upstream.requests)) == (500, True, requests)
    assert b"own words" not in ran.raw
    assert set(blamed(logged)) == set(BLAMED)  # `answer` is asked again, for the error's page


@pytest.mark.parametrize("hook", ["authenticate", "prepare", "lookup", "limit", "send"])
def test_what_is_no_reply_is_a_fault_of_its_plugin(upstream, logged, hook):
    async def wrong(exchange):
        return True

    async def wrong_send(exchange, attempt):
        return True

    bodies: dict[str, Any] = {hook: wrong_send if hook == "send" else wrong}
    odd = plugin("odd", **bodies)
    ran = run(plan_of(odd), exchange(), upstream)

    assert (ran.status, upstream.requests) == (500, [])
    assert [name for name, _ in blamed(logged)] == ["odd"]


def test_what_pick_gives_that_is_no_target_is_a_fault_of_its_plugin(upstream, logged):
    ran = run(plan_of(plugin("odd", pick=lambda exchange: "openai")), exchange(), upstream)

    assert (ran.status, upstream.requests) == (500, [])
    assert [name for name, _ in blamed(logged)] == ["odd"]


@pytest.mark.parametrize("view", [Again, True, "again"])
def test_a_view_of_judge_that_is_none_is_a_fault_of_its_plugin(upstream, logged, view):
    ran = run(plan_of(plugin("odd", judge=lambda exchange, attempt: view)), exchange(), upstream)

    assert ran.status == 500
    assert [name for name, _ in blamed(logged)] == ["odd"]
