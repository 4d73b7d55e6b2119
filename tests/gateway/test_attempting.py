"""What a line does with its upstreams beyond one good attempt; the rest is told in test_line and
test_hooks.
"""

from __future__ import annotations

import asyncio

from gateway import Again, Attempt, Exchange, Headers, UpstreamFault, hookimpl
from gateway.testing import ScriptedUpstream, answers, exchange, plan_of, run, says, sized
from gateway.testing.exchanges import attempt_of
from tests.gateway import ends
from tests.gateway.inside import gateway, request


class Repeats:
    """Tries again until it has been asked so often."""

    def __init__(self, times: int) -> None:
        self.left = times

    @hookimpl
    def judge(self, exchange: Exchange, attempt: Attempt) -> Again | None:
        self.left -= 1
        return Again() if self.left >= 0 else None


def test_the_attempts_are_numbered_and_each_knows_its_own_answer():
    script = says(sized(b"{}", (b"X-A", b"1"), status=500))
    with ScriptedUpstream(script) as upstream:
        ran = run(plan_of(Repeats(2)), exchange(body=b"{}"), upstream)

    assert [attempt.number for attempt in ran.exchange.attempts] == [0, 1, 2]
    assert [attempt.status for attempt in ran.exchange.attempts] == [500] * 3
    assert len(upstream.requests) == 3
    for attempt in ran.exchange.attempts:
        assert attempt.response is not None
        assert attempt.response.get(b"x-a") == b"1"


def test_the_edits_of_one_attempt_are_not_the_next_ones():
    class Marks:
        @hookimpl
        async def send(self, exchange: Exchange, attempt: Attempt) -> None:
            attempt.headers.add(b"X-Try", b"%d" % attempt.number)

    with ScriptedUpstream(answers(b"{}")) as upstream:
        run(plan_of(Marks(), Repeats(1)), exchange(headers=[(b"X-A", b"1")]), upstream)

    first, second = upstream.requests
    assert [one.get(b"x-try") for one in (first, second)] == [b"0", b"1"]
    assert first.head.count(b"X-Try") == second.head.count(b"X-Try") == 1
    assert second.get(b"x-a") == b"1"


def test_a_hook_may_replace_all_fields():
    class Replaces:
        @hookimpl
        async def send(self, exchange: Exchange, attempt: Attempt) -> None:
            attempt.headers = Headers([(b"X-Only", b"1"), (b"Host", b"evil"), (b"TE", b"x")])

    with ScriptedUpstream(answers(b"{}")) as upstream:
        run(plan_of(Replaces()), exchange(headers=[(b"X-A", b"1")]), upstream)

    (asked,) = upstream.requests
    assert [name for name, _ in asked.fields] == [b"Host", b"X-Only"]
    assert asked.get(b"host") != b"evil"


def test_without_an_upstream_each_attempt_has_its_fault():
    ran = run(plan_of(Repeats(1)), exchange(body=b"{}"))

    assert ran.status == 502
    faults = [attempt.failure for attempt in ran.exchange.attempts]
    assert len(faults) == 2
    assert all(isinstance(fault, UpstreamFault) and not fault.reached for fault in faults)


def test_a_caller_that_leaves_while_a_connection_is_made_leaves_no_connection():
    async def story() -> None:
        async with gateway() as made:
            for _ in range(20):
                caller = await made.caller()
                await caller.send(request(b"POST", body=b"hello"))
                caller.close()
            await ends.until(lambda: not made.gateway.lines)
            await asyncio.sleep(ends.SOON_S)
            assert made.gateway.pool.size == 0

    ends.run(story())


def test_fields_among_some_names_are_those_of_the_headers_as_they_are_now():
    names = frozenset({b"x-a"})
    attempt = attempt_of(exchange(headers=[(b"X-A", b"1"), (b"X-B", b"2")]))

    assert attempt.among(names) == [(b"X-A", b"1")]
    assert attempt.edited is None
    attempt.headers.add(b"x-a", b"3")
    assert attempt.among(names) == [(b"X-A", b"1"), (b"x-a", b"3")]
