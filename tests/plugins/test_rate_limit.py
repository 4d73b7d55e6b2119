"""Limits hold on the line: a refusal asks nobody, and what is held comes back however it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

import plugins.metadata
import plugins.rate_limit
import plugins.usage
from gateway import CallerFault, Exchange, Gateway, Reply, Request, Target, hookimpl
from gateway.testing import (
    Ran,
    ScriptedUpstream,
    Visit,
    answers,
    exchange,
    head,
    plan_of,
    run,
    sized,
    streams,
)
from plugins.rate_limit import Config, Plugin
from plugins.rate_limit.rules import Rule
from tests.gateway.answers import CHAT, chat_chunks, sse
from tests.redis_server import RedisServer

BODY = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
READ = len(orjson.dumps(BODY)) // 4 + 1


def rule(**keys: Any) -> Rule:
    return Rule(**{"name": "r", "scope": "gateway", "limit": "3/hour", **keys})


def said(output: int = 3, read: int = 10) -> bytes:
    usage = {"prompt_tokens": read, "completion_tokens": output, "total_tokens": read + output}
    return orjson.dumps({"id": "c-1", "model": "m", "choices": [], "usage": usage})


class Knows:
    """Says who calls, by a field."""

    def __init__(self, *rates: tuple[str, str]) -> None:
        self.rates = rates

    @hookimpl
    def authenticate(self, exchange: Exchange) -> None:
        identity = exchange.known()
        identity.key_id = (exchange.headers.get(b"x-who") or b"k").decode()
        identity.team = "t"
        identity.rates = self.rates


class Caches:
    """Answers all but the first."""

    def __init__(self) -> None:
        self.count = 0

    @hookimpl
    def lookup(self, exchange: Exchange) -> Reply | None:
        self.count += 1
        return None if self.count == 1 else Reply(200, b"{}", outcome="cached")


class Breaks:
    """Raises in one hook."""

    def __init__(self, where: str) -> None:
        self.where = where

    @hookimpl
    def send(self, exchange: Exchange, attempt: Any) -> None:
        if self.where == "send":
            raise RuntimeError

    @hookimpl
    def answer(self, exchange: Exchange, head: Any) -> None:
        if self.where == "answer":
            raise RuntimeError

    @hookimpl
    def limit(self, exchange: Exchange) -> None:
        if self.where == "limit":
            raise CallerFault("no", status=429, code="no")


class House:
    """A plan with limits, which lasts for several exchanges."""

    def __init__(
        self, store: str, *rules: Rule, more: tuple[object, ...] = (), knows: Knows | None = None
    ) -> None:
        self.config = Config(rules=rules, store=store)
        self.plan = plan_of(
            knows or Knows(),
            plugins.metadata,
            plugins.usage,
            plugins.rate_limit,
            *more,
            settings={"rate_limit": self.config},
        )
        self.plugin: Plugin = self.plan.limit[0].call.__self__  # type: ignore[attr-defined]
        self.more = more
        self.seen: list[Any] = []

    def ask(
        self,
        script: Callable[[Visit], None] | None = None,
        document: Any = BODY,
        *fields: tuple[bytes, bytes],
        path: bytes = CHAT,
        provider: str = "openai",
        leaves_after: int | None = None,
    ) -> Ran:
        made = exchange(
            b"POST", path, body=orjson.dumps(document), headers=fields, provider=provider
        )
        with ScriptedUpstream(script or answers(said())) as upstream:
            ran = run(
                self.plan, made, upstream, lifespans=[self.lifespan], leaves_after=leaves_after
            )
            self.seen = list(upstream.requests)
        return ran

    def lifespan(self, gateway: Gateway) -> Any:
        for each in self.more:
            if hasattr(each, "gateway"):
                each.gateway = gateway
        return self.plugin.lifespan(gateway)

    def passed(self, count: int, **keys: Any) -> list[int]:
        return [self.ask(**keys).status for _ in range(count)]


@pytest.fixture(params=["memory", "redis"])
def house(request: pytest.FixtureRequest, redis_store: RedisServer) -> type[House]:
    """Give what makes a house whose counters are in either store."""
    if request.param == "redis":
        redis_store.ask("FLUSHDB")
    store = "memory" if request.param == "memory" else redis_store.url

    class Of(House):
        def __init__(self, *rules: Rule, **keys: Any) -> None:
            super().__init__(store, *rules, **keys)

    return Of


def error_of(ran: Ran) -> dict[str, Any]:
    error: dict[str, Any] = orjson.loads(ran.body)["error"]
    return error


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["bucket", "fixed", "sliding"])
def test_so_many_pass_and_no_more(house, shape):
    one = house(rule(shape=shape))
    assert one.passed(5) == [200, 200, 200, 429, 429]
    assert one.seen == []


def test_a_refusal_speaks_the_callers_format(house):
    one = house(rule(limit="1/hour"))
    one.ask()
    ran = one.ask()
    assert error_of(ran)["type"] == "rate_limit_error"
    assert error_of(ran)["code"] == "rate_limit_exceeded"
    assert ran.get(b"weir-ratelimit-rule") == b"r"
    assert ran.get(b"x-ratelimit-remaining-requests") == b"0"
    assert ran.get(b"retry-after") is not None
    assert ran.exchange.outcome == "refused"


def test_an_answer_says_what_is_left_beside_what_the_provider_says(house):
    one = house(rule(), rule(name="s", limit="1k tokens/hour"))
    fields = ((b"Content-Type", b"application/json"), (b"x-ratelimit-limit-requests", b"500"))
    ran = one.ask(answers(said(), *fields), BODY, (b"cf-aig-metadata", b"{}"))
    assert ran.get(b"x-ratelimit-limit-requests") == b"500"
    assert ran.get(b"cf-aig-ratelimit-limit-requests") == b"3"
    assert ran.get(b"cf-aig-ratelimit-remaining-requests") == b"2"
    assert ran.get(b"cf-aig-ratelimit-reset-requests") == b"20m0s"
    assert ran.get(b"cf-aig-ratelimit-remaining-tokens") == b"%d" % (1000 - READ - 5)


def test_rules_count_by_their_scope(house):
    one = house(rule(scope="key", limit="1/hour"))
    statuses = [one.ask(None, BODY, (b"x-who", who)).status for who in (b"a", b"a", b"b")]
    assert statuses == [200, 429, 200]


def test_what_comes_with_an_identity_is_a_rule(house):
    one = house(knows=Knows(("key", "9/hour"), ("team", "2/hour")))
    statuses = [one.ask(None, BODY, (b"x-who", who)).status for who in (b"a", b"b", b"c")]
    assert statuses == [200, 200, 429]


def test_without_rules_nothing_is_counted(house):
    one = house()
    ran = one.ask()
    assert ran.status == 200
    assert "rate_limit" not in ran.exchange.notes


def test_a_rule_in_shadow_mode_refuses_nothing(house):
    one = house(rule(mode="shadow", limit="1/hour"))
    assert one.passed(3) == [200, 200, 200]


@pytest.mark.parametrize(("counts", "third"), [("upstream", 200), ("calls", 429)])
def test_what_a_cache_answers_is_a_call(house, counts, third):
    one = house(rule(limit="2/hour", counts=counts), more=(Caches(),))
    assert one.passed(3) == [200, 200, third]


def test_calls_of_plugins_count_too(house):
    class Calls:
        def __init__(self) -> None:
            self.gateway: Any = None
            self.statuses: list[int] = []

        @hookimpl
        async def send(self, exchange: Exchange, attempt: Any) -> None:
            if not exchange.depth:
                request = Request(b"/openai/v1/chat/completions", orjson.dumps(BODY))
                try:
                    answered = await self.gateway.call(exchange, request)
                    self.statuses.append(answered.status)
                except CallerFault as error:
                    self.statuses.append(error.status)

    calls = Calls()
    one = house(rule(limit="3/hour"), rule(name="c", limit="1 concurrent"), more=(calls,))

    assert one.passed(2) == [200, 200]
    assert calls.statuses == [200, 429]


# -- tokens ----------------------------------------------------------------------------------------


def test_tokens_are_settled_by_what_was_used(house):
    one = house(rule(limit=f"{2 * (READ + 5)} tokens/hour"))
    assert one.ask(answers(said(1, 1))).status == 200
    assert one.ask(answers(said(1, 1))).status == 200
    assert one.ask(answers(said(500, 10))).status == 200
    assert one.ask().status == 429
    ran = one.ask()
    assert "may use" in error_of(ran)["message"]


def test_a_stream_that_is_cut_is_settled_too(house):
    chunks = chat_chunks({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11})

    def cut(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Type", b"text/event-stream")))
        for each in chunks[:2]:
            visit.send(sse(each))
        visit.reset()

    one = house(rule(limit="10k tokens/hour"))
    streamed = {**BODY, "max_tokens": 9000, "stream": True}
    for _ in range(4):  # each would not fit beside what another reserves
        one.ask(cut, streamed)
        assert one.seen != []
    assert one.ask(streams([sse(each) for each in chunks]), streamed).status == 200


def test_more_than_a_whole_limit_is_said_to_be_so(house):
    one = house(rule(limit="100 tokens/hour"))
    ran = one.ask(None, {**BODY, "max_tokens": 500})
    assert ran.status == 429
    assert "is smaller than this request" in error_of(ran)["message"]
    assert ran.get(b"x-should-retry") == b"false"
    assert one.ask(None, {"model": "m"}).status == 200


# -- slots, and what comes back --------------------------------------------------------------------


def fails(visit: Visit) -> None:
    visit.read()
    visit.send(sized(b'{"error": {"message": "no"}}', status=500))


def dies(visit: Visit) -> None:
    visit.read()
    visit.reset()


def stalls(visit: Visit) -> None:
    visit.read()
    visit.send(head(200, (b"Content-Type", b"text/event-stream")))
    visit.send(sse(chat_chunks()[0]))
    visit.wait_gone()


ENDS: list[dict[str, Any]] = [
    {"script": fails},
    {"script": dies},
    {"script": stalls, "leaves_after": 0},
    {"script": stalls, "leaves_after": 120},
    {"script": answers(said())},
]


@pytest.mark.parametrize("how", ENDS)
def test_a_slot_is_given_back_however_it_ends(house, how):
    one = house(rule(limit="1 concurrent"), rule(name="t", limit="140 tokens/hour"))
    for _ in range(4):  # two reservations would not fit
        one.ask(**{"document": {**BODY, "max_tokens": 50}, **how})
        assert one.seen != []


@pytest.mark.parametrize("where", ["send", "answer", "limit"])
def test_a_slot_is_given_back_where_a_plugin_raises(house, where):
    breaks = Breaks(where)
    one = house(rule(limit="1 concurrent"), rule(name="n", limit="2/hour"), more=(breaks,))
    for _ in range(2):
        assert one.ask().status in (500, 429)
    breaks.where = ""
    # What was not sent on is not counted, either.
    assert one.passed(3) == ([429] * 3 if where == "answer" else [200, 200, 429])


# -- by provider -----------------------------------------------------------------------------------


class Picks:
    """Sends attempts to these providers in turn."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.gateway: Gateway | None = None

    @hookimpl
    def pick(self, exchange: Exchange) -> Target | None:
        place = len(exchange.attempts)
        if place >= len(self.names) or self.gateway is None:
            return None
        provider = self.gateway.providers[self.names[place]]
        return Target(provider, *provider.locate(exchange.path, None))


def test_a_rule_by_provider_counts_each_for_itself(house):
    one = house(rule(scope="provider", limit="1/hour"))
    statuses = [one.ask(provider=name).status for name in ("openai", "openai", "groq")]
    assert statuses == [200, 429, 200]


def test_where_a_provider_has_no_room_the_next_is_tried(house):
    picks = Picks("openai", "groq")
    one = house(rule(scope="provider", limit="1/hour"), more=(picks,))
    ran = one.ask()
    assert ran.exchange.attempts[0].target.provider.name == "openai"
    ran = one.ask()
    assert [each.sent_ns is not None for each in ran.exchange.attempts] == [False, True]
    ran = one.ask()
    assert ran.status == 429
    assert error_of(ran)["code"] == "rate_limit_exceeded"
