"""What a request may use is held before it is sent, and what it did use is counted at its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest

import plugins.budget
import plugins.cost
import plugins.metadata
import plugins.usage
from gateway import Again, Attempt, CallerFault, Exchange, Gateway, Request, Target, hookimpl
from gateway.config import Config as CoreConfig
from gateway.testing import (
    Ran,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    Visit,
    answers,
    attempt_of,
    exchange,
    head,
    plan_of,
    run,
    running_gateway,
    sized,
    streams,
)
from plugins.budget import Config, Plugin
from plugins.budget.rules import Rule
from plugins.budget.unpriced import Tokens
from plugins.cost.own import Model
from tests.gateway.answers import CHAT, chat_chunks, sse

USD = 10**9
# A dollar for each token of output and a thousandth of one for input; half at Anthropic and Groq.
PRICES = plugins.cost.Config(
    bundled=False,
    models=(
        Model(model="m", provider="anthropic", input=500, output=500_000),
        Model(model="m", provider="groq", input=500, output=500_000),
        Model(model="m", input=1_000, output=1_000_000),
        Model(model="free", input=0, output=0),
        Model(model="painter", image=0.2),
        Model(model="speaker", characters=100_000),
        Model(model="wordy", input=0, output=1_000_000, output_max=50),
    ),
)
BODY = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = {**BODY, "stream": True}
READ = len(orjson.dumps(BODY)) // 4 + 1
STREAMED_READ = len(orjson.dumps(STREAMED)) // 4 + 1


def rule(**keys: Any) -> Rule:
    return Rule(**{"name": "r", "scope": "gateway", "limit": "100 USD/year", **keys})


def said(output: int = 3, read: int = 10, **more: Any) -> bytes:
    usage = {"prompt_tokens": read, "completion_tokens": output, "total_tokens": read + output}
    return orjson.dumps({"id": "c-1", "model": "m", "choices": [], "usage": usage, **more})


class House:
    """A plan with budgets, which lasts for several exchanges."""

    def __init__(self, *rules: Rule, more: tuple[object, ...] = ()) -> None:
        self.config = Config(rules=rules)
        self.plugin = Plugin(self.config)
        cost = plugins.cost.Plugin(PRICES)
        settings = {"budget": self.config, "cost": PRICES}
        self.plan = plan_of(
            plugins.metadata, plugins.usage, cost, self.plugin, *more, settings=settings
        )
        self.lifespans = [cost.lifespan, self.plugin.lifespan]

    def ask(
        self,
        script: Callable[[Visit], None] | None = None,
        document: Any = BODY,
        *fields: tuple[bytes, bytes],
        path: bytes = CHAT,
        method: bytes = b"POST",
        provider: str = "openai",
        leaves_after: int | None = None,
        seen: list[Any] | None = None,
    ) -> Ran:
        body = None if document is None else orjson.dumps(document)
        made = exchange(method, path, body=body, headers=fields, provider=provider)
        with ScriptedUpstream(script or answers(said())) as upstream:
            ran = run(
                self.plan, made, upstream, lifespans=self.lifespans, leaves_after=leaves_after
            )
            if seen is not None:
                seen += upstream.requests
        assert self.reserved == 0
        return ran

    @property
    def counters(self) -> list[Any]:
        entries = self.plugin.entries("default", self.config)
        return [each for _, tally in entries for each in tally.counters.values()]

    @property
    def reserved(self) -> int:
        return sum(each.reserved for each in self.counters)

    @property
    def spent(self) -> int:
        return sum(each.spent for each in self.counters)


def error_of(ran: Ran) -> dict[str, Any]:
    error: dict[str, Any] = orjson.loads(ran.body)["error"]
    return error


# -- in ordinary cases -----------------------------------------------------------------------------


def test_what_was_used_is_counted_in_the_unit_of_the_rule():
    house = House(rule(), rule(name="t", limit="1k tokens/day"))
    house.ask()
    dollars, tokens = house.counters
    assert dollars.spent == 3 * USD + 10 * USD // 1000
    assert tokens.spent == 13


def test_an_answer_says_what_is_left_of_the_tightest_budget():
    house = House(rule(limit="100 USD/year"), rule(name="tight", limit="8 USD/month"))
    ran = house.ask(None, BODY, (b"cf-aig-metadata", b"{}"))
    left = 8 * USD - 5 * USD - READ * USD // 1000
    assert ran.get(b"cf-aig-budget-limit") == b"8 USD/month; tight"
    assert ran.get(b"cf-aig-budget-remaining") == b"%d.%09d USD" % divmod(left, USD)
    reset = ran.get(b"cf-aig-budget-reset")
    assert reset is not None
    assert reset.endswith(b"-01T00:00:00Z")


def test_an_upstreams_own_fields_of_that_name_are_replaced():
    house = House(rule())
    fields = ((b"Content-Type", b"application/json"), (b"weir-budget-limit", b"theirs"))
    ran = house.ask(answers(said(), *fields))
    assert [value for name, value in ran.fields if name == b"weir-budget-limit"] == [
        b"100 USD/year; r"
    ]


@pytest.mark.parametrize("status", [429, 402])
def test_a_refusal_names_the_budget_and_its_reset_and_asks_nobody(status):
    house = House(rule(limit="7 USD/month", status=status))
    house.ask()
    seen: list[Any] = []
    ran = house.ask(seen=seen)
    assert (ran.status, ran.exchange.outcome) == (status, "refused")
    error = error_of(ran)
    assert error["code"] == "budget_exceeded"
    assert error["message"].startswith(
        'The budget r (gateway "default") has 3.99 USD of 7 USD/month left, and this request may '
    )
    assert "It resets at 2" in error["message"]
    assert int(ran.get(b"retry-after") or 0) > 0
    assert ran.get(b"weir-budget-remaining") == b"3.990000000 USD"
    assert seen == []


def test_a_refusal_has_the_shape_of_the_callers_format():
    house = House(rule(limit="1 USD/month"))
    ran = house.ask(path=b"v1/messages", provider="anthropic")
    document = orjson.loads(ran.body)
    assert document["type"] == "error"
    assert document["error"]["type"] == "rate_limit_error"
    assert "which is more than the whole budget." in document["error"]["message"]
    assert ran.get(b"retry-after") is None


def test_a_soft_rule_only_counts():
    house = House(rule(limit="1 USD/month", hard=False))
    assert house.ask().status == 200
    assert house.ask().status == 200
    assert house.spent > 6 * USD


def test_a_rule_holds_for_those_who_have_its_scope():
    house = House(rule(scope=("metadata.team", "model"), limit="7 USD/month"))
    team = (b"weir-metadata", b'{"team": "a"}')
    assert house.ask(None, BODY, team).status == 200
    assert house.ask(None, BODY, team).status == 429
    assert house.ask(None, BODY, (b"weir-metadata", b'{"team": "b"}')).status == 200
    assert house.ask().get(b"weir-budget-limit") is None


def test_all_rules_reserve_or_none():
    house = House(rule(), rule(name="tight", limit="1 USD/month"))
    assert house.ask().status == 429
    assert house.spent == 0


# -- prices ----------------------------------------------------------------------------------------


def test_a_model_without_a_price_is_refused_or_let_in_uncounted():
    unknown = {**BODY, "model": "unknown"}
    house = House(rule())
    ran = house.ask(None, unknown)
    assert (ran.status, error_of(ran)["code"]) == (429, "budget_unpriced")
    for one in (House(rule(unpriced="allow")), House(rule(hard=False))):
        assert one.ask(answers(said(model=None)), unknown).status == 200
        assert one.spent == 0


def test_a_model_without_a_price_counts_by_its_tokens():
    """A thousandth of a dollar for a token that is read, and a tenth for one that is written."""
    unknown = {**BODY, "model": "unknown"}
    house = House(
        rule(limit="1 USD/year", unpriced="tokens", token_price=Tokens(input=1_000, output=100_000))
    )
    ran = house.ask(answers(said(model=None)), unknown)
    held = 5 * USD // 10 + (len(orjson.dumps(unknown)) // 4 + 1) * USD // 1000
    assert ran.get(b"weir-budget-remaining") == b"0.%09d USD" % (USD - held)
    assert house.spent == 3 * USD // 10 + 10 * USD // 1000
    assert house.ask(answers(said(model=None)), unknown).status == 200
    ran = house.ask(answers(said(model=None)), unknown)
    assert (ran.status, error_of(ran)["code"]) == (429, "budget_exceeded")
    assert house.ask(document={**BODY, "model": "free"}).status == 200  # its price is known


def test_a_rule_that_does_not_apply_refuses_nothing_elsewhere():
    """A model has no price at the second target, and that matters to a team's rule alone."""
    house = House(rule(scope="metadata.team"), more=(Elsewhere("openai", "ollama"),))
    assert house.ask(fails_first(1), {**BODY, "model": "unknown"}).status == 200


def picture(number: int) -> bytes:
    return orjson.dumps({"created": 1, "data": [{"url": "u"}] * number})


def test_pictures_are_held_and_counted_by_the_piece():
    house = House(rule(limit="1 USD/year"))
    path = b"v1/images/generations"
    ran = house.ask(answers(picture(2)), {"model": "painter", "n": 3}, path=path)
    assert ran.get(b"weir-budget-remaining") == b"0.400000000 USD"
    assert house.spent == 4 * USD // 10
    ran = house.ask(answers(picture(2)), {"model": "painter", "n": 4}, path=path)
    assert (ran.status, error_of(ran)["code"]) == (429, "budget_exceeded")


def test_speech_is_held_by_its_characters():
    house = House(rule(limit="1 USD/year"))
    document = {"model": "speaker", "input": "Hello", "voice": "alloy"}
    ran = house.ask(answers(b"ID3"), document, path=b"v1/audio/speech")
    assert ran.get(b"weir-budget-remaining") == b"0.500000000 USD"
    document["input"] = "Hello, world"
    ran = house.ask(answers(b"ID3"), document, path=b"v1/audio/speech")
    assert (ran.status, error_of(ran)["code"]) == (429, "budget_exceeded")


def test_where_no_maximum_is_stated_the_models_own_is_held():
    house = House(rule(limit="100 USD/year", output_default="model"))
    ran = house.ask(answers(said(model="wordy")), {"model": "wordy"})
    left = ran.get(b"weir-budget-remaining")
    assert left == b"%d.%09d USD" % divmod(100 * USD - 50 * USD, USD)
    ran = house.ask(answers(said(model="wordy")), {"model": "wordy", "n": 2})
    assert (ran.status, error_of(ran)["code"]) == (429, "budget_exceeded")


@pytest.mark.parametrize(
    "path", [b"model/m/converse-stream", b"model/m/invoke-with-response-stream"]
)
def test_a_stream_that_nobody_can_end_states_its_most(path):
    stops = rule(stop_in_flight=True, scope="metadata.team", output_default=2)
    house = House(stops)
    team = (b"weir-metadata", b'{"team": "a"}')
    seen: list[Any] = []
    document: dict[str, Any] = {"messages": []}
    ran = house.ask(None, document, team, path=path, provider="aws-bedrock", seen=seen)
    assert (ran.status, seen) == (400, [])
    assert b"inferenceConfig.maxTokens" in ran.body
    assert b"budget_unstoppable" in ran.body
    assert house.ask(None, document, path=path, provider="aws-bedrock").status == 200
    document["inferenceConfig"] = {"maxTokens": 5}
    assert house.ask(None, document, team, path=path, provider="aws-bedrock").status == 200


@pytest.mark.parametrize("keys", [{"unpriced": "allow"}, {"hard": False}])
def test_what_has_a_price_only_under_the_name_that_answers_is_counted(keys):
    house = House(rule(**keys))
    house.ask(document={**BODY, "model": "a-deployment"})
    assert house.spent == 3 * USD + 10 * USD // 1000


def test_a_free_model_passes_when_all_is_spent():
    house = House(rule(limit="0 USD/year"))
    assert house.ask(answers(said(model="free")), {**BODY, "model": "free"}).status == 200
    assert house.ask().status == 429


def test_what_names_no_model_passes_while_anything_is_left():
    house = House(rule(limit="5.1 USD/year"))
    nameless = {"input": "x"}
    assert house.ask(answers(b"{}"), nameless).status == 200
    house.ask(answers(said(output=6)))
    assert house.ask(answers(b"{}"), nameless).status == 429


def test_where_no_maximum_is_stated_a_default_is_held():
    open_ended = {"model": "m"}
    assert House(rule(output_default=99)).ask(None, open_ended).status == 200
    assert House(rule(output_default=100)).ask(None, open_ended).status == 429


# -- ends of all kinds -----------------------------------------------------------------------------


def cut(visit: Visit) -> None:
    visit.read()
    visit.send(head(200, (b"Content-Type", b"application/json"), (b"Content-Length", b"999")))
    visit.reset()


@pytest.mark.parametrize(
    ("script", "spent"),
    [
        (answers(b'{"error": {"message": "no"}}', status=400), 0),
        (answers(b"oops", status=500), 0),
        (cut, STREAMED_READ * USD // 1000),  # it may have been charged for what it read
        (lambda visit: visit.reset(), STREAMED_READ * USD // 1000),
        (streams([sse(*chat_chunks({"prompt_tokens": 5, "completion_tokens": 2}), done=True)]),
         2 * USD + 5 * USD // 1000),
    ],
    ids=["refused", "failed", "cut", "reset", "streamed"],
)  # fmt: skip
def test_whatever_the_end_nothing_stays_reserved(script, spent):
    house = House(rule())
    house.ask(script, STREAMED)
    assert house.spent == spent


def test_a_caller_who_leaves_takes_no_reservation_along():
    house = House(rule())

    def waits(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Type", b"text/event-stream")) + b": there\n\n")
        visit.wait_gone()

    ran = house.ask(waits, STREAMED, leaves_after=1)
    assert ran.exchange.outcome == "client_abort"


class Refuses:
    @hookimpl
    def limit(self, exchange: Exchange) -> None:
        raise CallerFault("No.", status=403)


class Crashes:
    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        raise RuntimeError("a bug")


class Stays:
    @hookimpl
    def prepare(self, exchange: Exchange) -> None:
        exchange.detach(1_000_000, 5.0)


@pytest.mark.parametrize(("plugin", "status"), [(Refuses(), 403), (Crashes(), 500)])
def test_a_later_plugins_refusal_or_crash_releases(plugin, status):
    house = House(rule(), more=(plugin,))
    assert house.ask().status == status
    assert house.spent == 0


def test_an_exchange_that_goes_on_without_its_caller_is_counted():
    house = House(rule(), more=(Stays(),))
    events = [b": there\n\n", sse(*chat_chunks({"prompt_tokens": 5, "completion_tokens": 2}))]
    script = streams([*events, b"data: [DONE]\n\n"], pause_s=0.05)
    ran = house.ask(script, STREAMED, leaves_after=1)
    assert ran.exchange.outcome == "complete"
    assert house.spent == 2 * USD + 5 * USD // 1000


# -- attempts --------------------------------------------------------------------------------------


class Elsewhere:
    """Tries OpenAI, and then Anthropic as often as is left."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.gateway: Gateway | None = None
        self.held: list[int] = []

    @hookimpl
    def pick(self, exchange: Exchange) -> Target | None:
        place = len(exchange.attempts)
        assert exchange.line is not None
        providers = exchange.line.gateway.providers  # type: ignore[attr-defined]
        provider = providers[self.names[min(place, len(self.names) - 1)]]
        return Target(provider, *provider.locate(CHAT, None))

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        holds = exchange.notes["budget"].holds
        self.held.append(sum(hold.counter.reserved for hold in holds))

    @hookimpl
    def judge(self, exchange: Exchange, attempt: Attempt) -> Again | None:
        is_last = len(exchange.attempts) == len(self.names)
        return None if is_last or attempt.status == 200 else Again()


def fails_first(count: int, status: int = 500) -> Callable[[Visit], None]:
    asked = 0

    def script(visit: Visit) -> None:
        nonlocal asked
        asked += 1
        visit.read()
        if asked > count:
            visit.send(sized(said(), (b"Content-Type", b"application/json")))
        elif status:
            visit.send(sized(b"{}", (b"Content-Type", b"application/json"), status=status))
        else:
            visit.reset()

    return script


def test_another_target_is_held_for_at_its_own_price():
    elsewhere = Elsewhere("openai", "anthropic")
    house = House(rule(), more=(elsewhere,))
    assert house.ask(fails_first(1)).status == 200
    one = 5 * USD + READ * USD // 1000
    assert elsewhere.held == [one, one // 2]
    assert house.spent == (3 * USD + 10 * USD // 1000) // 2


def test_what_an_earlier_attempt_may_have_read_stays_held():
    elsewhere = Elsewhere("openai", "openai")
    house = House(rule(), more=(elsewhere,))
    assert house.ask(fails_first(1, status=0)).status == 200
    one = 5 * USD + READ * USD // 1000
    assert elsewhere.held == [one, one + READ * USD // 1000]
    assert house.spent == 3 * USD + 10 * USD // 1000 + READ * USD // 1000


def test_a_provider_whose_budget_is_spent_is_left_out():
    elsewhere = Elsewhere("anthropic", "openai", "groq")
    house = House(rule(scope="provider", limit="4 USD/year"), more=(elsewhere,))
    ran = house.ask(fails_first(1))
    assert ran.status == 200
    assert [each.target.provider.name for each in ran.exchange.attempts] == [
        "anthropic", "openai", "groq",
    ]  # fmt: skip
    by_provider = {each.subject[0]: each.spent for each in house.counters if each.spent}
    assert by_provider == {"groq": (3 * USD + 10 * USD // 1000) // 2}
    assert ran.get(b"weir-budget-remaining") is not None


def test_where_every_provider_is_left_out_the_caller_is_told_of_the_budget():
    house = House(rule(scope="provider", limit="1 USD/year"), more=(Elsewhere("openai", "groq"),))
    ran = house.ask(fails_first(0))
    error = ran.exchange.error
    assert error is not None
    assert (ran.status, error.code) == (429, "budget_exceeded")
    assert ran.get(b"weir-budget-remaining") == b"1.000000000 USD"
    assert house.spent == 0


class Twice:
    """Makes a request of its own for each of its caller's."""

    def __init__(self) -> None:
        self.gateway: Any = None

    @hookimpl
    async def prepare(self, exchange: Exchange) -> None:
        if exchange.parent_id is None:
            assert exchange.line is not None
            gateway = exchange.line.gateway  # type: ignore[attr-defined]
            fields = ((b"Content-Type", b"application/json"),)
            target = b"/openai/" + CHAT
            await gateway.call(exchange, Request(target, orjson.dumps(BODY), headers=fields))


def test_a_plugins_own_calls_are_counted_too():
    house = House(rule(), more=(Twice(),))
    house.ask()
    assert house.spent == 2 * (3 * USD + 10 * USD // 1000)


def test_an_answer_that_is_asked_for_again_counts_once():
    house = House(rule())
    usage = {"input_tokens": 10, "output_tokens": 3}
    whole = {"id": "resp_1", "object": "response", "status": "completed", "model": "m"}
    body = answers(orjson.dumps({**whole, "usage": usage, "output": []}))
    for method in (b"GET", b"GET", b"POST"):
        path = b"v1/responses" if method == b"POST" else b"v1/responses/resp_1"
        house.ask(body, BODY if method == b"POST" else None, path=path, method=method)
        assert house.spent == 3 * USD + 10 * USD // 1000


def test_a_response_whose_caller_left_counts_what_is_told_of_it_later():
    house = House(rule(), rule(name="t", limit="1k tokens/day"))
    whole = {"id": "resp_1", "object": "response", "model": "m", "output": []}
    created = {"type": "response.created", "response": {**whole, "status": "in_progress"}}
    delta = {"type": "response.output_text.delta", "item_id": "i", "delta": "word " * 20}
    events = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in (created, delta))

    def waits(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Type", b"text/event-stream")) + events)
        visit.wait_gone()

    house.ask(waits, STREAMED, path=b"v1/responses", leaves_after=len(events))
    dollars, tokens = house.counters
    assert tokens.spent == STREAMED_READ + 25
    usage = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
    for _ in range(2):
        told = answers(orjson.dumps({**whole, "status": "completed", "usage": usage}))
        house.ask(told, None, path=b"v1/responses/resp_1", method=b"GET")
        assert (dollars.spent, tokens.spent) == (3 * USD + 10 * USD // 1000, 13)


def test_a_response_in_the_background_counts_once_it_is_told():
    house = House(rule())
    whole = {"id": "resp_1", "object": "response", "model": "m", "output": []}
    usage = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
    polls = ({"status": "in_progress"}, *2 * ({"status": "completed", "usage": usage},))
    queued = answers(orjson.dumps({**whole, "status": "queued"}))
    house.ask(queued, {**BODY, "background": True}, path=b"v1/responses")
    spent = []
    for said in polls:
        body = answers(orjson.dumps({**whole, **said}))
        house.ask(body, None, path=b"v1/responses/resp_1", method=b"GET")
        spent.append(house.spent)
    whole_price = 3 * USD + 10 * USD // 1000
    assert spent == [0, whole_price, whole_price]


def test_a_guess_at_an_answer_is_corrected_by_a_poll():
    house = House(rule())
    whole = {"id": "resp_1", "object": "response", "model": "m", "output": []}
    events = [
        {"type": "response.created", "response": {**whole, "status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": "Hello there, you"},
    ]

    def cut(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Type", b"text/event-stream")))
        visit.send(b"".join(sse(each, named=True) for each in events))
        visit.reset()

    house.ask(cut, STREAMED, path=b"v1/responses")
    assert house.spent == 4 * USD + STREAMED_READ * USD // 1000
    usage = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}
    told = answers(orjson.dumps({**whole, "status": "completed", "usage": usage}))
    for _ in range(2):
        house.ask(told, None, path=b"v1/responses/resp_1", method=b"GET")
        assert house.spent == 3 * USD + 10 * USD // 1000


# -- the process -----------------------------------------------------------------------------------

RULE = {"name": "r", "scope": "metadata.team", "limit": "100 tokens/year"}
TOKENS = {**RULE, "limit": "1 USD/year", "unpriced": "tokens"}


@contextmanager
def served(*rules: dict[str, Any], **tables: Any) -> Iterator[RunningGateway]:
    with ScriptedUpstream(answers(said(output=5, read=5))) as upstream:
        config = {
            "providers": {"openai": upstream.provider()},
            "enabled": ["metadata", "usage", "cost", "budget"],
            "plugins": {"budget": {"rules": list(rules)}, "cost": {"bundled": False}},
            **tables,
        }
        with running_gateway(config) as gateway:
            gateway.told = config  # type: ignore[attr-defined]
            yield gateway
            assert not gateway.crashes


def ask(gateway: RunningGateway, **more: Any) -> httpx.Response:
    fields = {"weir-metadata": '{"team": "a"}'}
    url = f"{gateway.url}/openai/v1/chat/completions"
    return httpx.post(url, json={**BODY, **more}, headers=fields)


def test_a_reload_keeps_what_was_spent_under_a_rule_of_the_same_name():
    with served(RULE) as gateway:
        assert ask(gateway).headers["weir-budget-limit"] == "100 tokens/year; r"
        config = gateway.told  # type: ignore[attr-defined]
        rules = [{**RULE, "limit": "12 tokens/year"}, {**RULE, "name": "new"}]
        config["plugins"] = {"budget": {"rules": rules}, "cost": {"bundled": False}}
        gateway.write_config(config)
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_log("reloaded")
        refused = ask(gateway)
        assert refused.status_code == 429
        assert "2 tokens of 12 tokens/year left" in refused.json()["error"]["message"]


def test_a_request_that_began_before_a_reload_does_not_bring_its_rules_back():
    house = House(rule())
    house.ask()
    gateway: Any = type("Gateway", (), {"plans": {"default": house.plan}})()
    house.plugin._gateway = gateway
    old = Config(rules=(rule(name="old"),))
    assert [limit.name for limit, _ in house.plugin.entries("default", old)] == ["old"]
    assert [limit.name for limit, _ in house.plugin._standing.every()] == ["r"]
    assert house.spent > 3 * USD


def test_the_admin_api_lists_rules_and_counters():
    with served(RULE, {**RULE, "name": "s", "hard": False, "scope": "gateway"}) as gateway:
        ask(gateway)
        url = f"{gateway.admin_url}/api/budgets"
        assert httpx.get(url).status_code == 401
        token = {"Authorization": f"Bearer {gateway.admin_token}"}
        first, second = httpx.get(url, headers=token).json()["rules"]
    (subject,) = first.pop("subjects")
    assert first == {
        "name": "r", "scope": ["metadata.team"], "limit": "100 tokens/year", "unit": "tokens",
        "amount": 100, "window": "calendar", "zone": "UTC", "hard": True, "counters": 1,
    }  # fmt: skip
    assert subject.pop("resets_at").endswith("-01-01T00:00:00Z")
    assert subject == {
        "subject": {"metadata.team": "a"}, "spent": 10, "reserved": 0, "remaining": 90,
        "share": 0.1,
    }  # fmt: skip
    assert second["subjects"][0]["subject"] == {"gateway": "default"}


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"enabled": ["budget", "usage", "cost"]}, '["usage", "cost", "budget"]'),
        ({"enabled": ["cost", "budget"]}, "enable usage there, before"),
        ({"plugins": {"budget": {"rules": [{**RULE, "limit": "1 USD/day"}]}},
          "enabled": ["usage", "budget"]}, "enable cost there, before"),
        ({"plugins": {"budget": {"rules": [{**RULE, "output_default": "model"}]}},
          "enabled": ["usage", "budget"]}, "enable cost there, before"),
        ({"plugins": {"budget": {"rules": [{**TOKENS, "token_price": {"input": 1}}]}}},
         "[plugins.budget] rules[0].token_price"),
        ({"plugins": {"budget": {"rules": [
            {**TOKENS, "token_price": {"input": 0.0001, "output": 1}}]}}},
         "input: wanted whole thousandths of a dollar for a million"),
        ({"plugins": {"budget": {"rules": [TOKENS]}}}, 'goes with unpriced = "tokens"; set both'),
        ({"plugins": {"budget": {"rules": [RULE, RULE]}}}, "two are named r"),
        ({"plugins": {"budget": {"webhook": "http://x", "webhook_secret": "env:NOBODY_SET_IT"}}},
         "webhook_secret: env:NOBODY_SET_IT is not set; set it, or leave"),
        ({"plugins": {"budget": {"webhook": "x"}}}, "webhook: wanted an address"),
        ({"plugins": {"budget": {"rules": [{**RULE, "limit": "much"}]}}},
         "rules[0].limit: of the rule r:"),
    ],
)  # fmt: skip
def test_a_start_that_cannot_keep_budgets_says_what_to_do(tables, words):
    with pytest.raises(StartFailed) as failed, served(RULE, **tables):
        pass
    assert failed.value.code == 78
    assert words in failed.value.stderr


def test_more_than_one_worker_is_refused_with_the_ways_out():
    with pytest.raises(StartFailed) as failed, served(RULE, server={"workers": 2}):
        pass
    ways = 'set server.workers = 1, or plugins.budget.store = "redis://..."'
    assert ways in failed.value.stderr


def test_a_stream_is_rewritten_only_where_a_rule_may_end_it():
    for rules, count in (((), 0), ((rule(),), 0), ((rule(stop_in_flight=True),), 1)):
        plan = House(*rules).plan
        assert len([hook for hook in plan.rewrite if hook.plugin == "budget"]) == count


def test_an_exchange_alone_is_settled_once():
    house = House(rule(limit="1k tokens/day"))
    made = exchange(body=orjson.dumps(BODY), plan=house.plan)
    house.plugin.limit(made)
    attempt_of(made)
    assert house.reserved == READ + 5
    house.plugin.settle(made)
    house.plugin.settle(made)
    assert (house.reserved, house.spent) == (0, 0)


def test_the_core_waits_for_what_plugins_want_done_first():
    order = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        pool: Any = type("Pool", (), {"loop": loop})()
        gateway = Gateway(CoreConfig(), {}, None, {}, pool, None)  # type: ignore[arg-type]

        async def work() -> None:
            await asyncio.sleep(0.01)
            order.append("work")

        gateway.first(work(), "work")
        await gateway.first_done()
        order.append("callers")

    asyncio.run(story())
    assert order == ["work", "callers"]


# -- budgets that identities bring -----------------------------------------------------------------


class Known:
    """Says who calls, and what they may spend."""

    def __init__(self) -> None:
        self.key, self.team = "a", "red"
        self.budgets: tuple[tuple[str, str], ...] = ()

    @hookimpl
    def authenticate(self, exchange: Exchange) -> None:
        identity = exchange.known()
        identity.key_id, identity.team, identity.budgets = self.key, self.team, self.budgets


def test_a_keys_own_budget_holds_for_that_key_alone() -> None:
    known = Known()
    house = House(more=(known,))
    known.budgets = (("key", "30 tokens/day"),)
    asked = {**BODY, "max_tokens": 3}

    assert house.ask(document=asked).status == 200
    refused = house.ask(document=asked)
    assert (refused.status, error_of(refused)["code"]) == (429, "budget_exceeded")
    assert b"key:30_tokens/day" in refused.body
    known.key = "b"
    assert house.ask(document=asked).status == 200  # has as much, and spent nothing yet
    known.budgets = ()
    known.key = "a"
    assert house.ask(document=asked).status == 200


def test_a_teams_budget_is_shared_by_its_keys_and_counts_beside_the_rules() -> None:
    known = Known()
    house = House(rule(limit="1k tokens/day"), more=(known,))
    known.budgets = (("team", "30 tokens/day"), ("key", "1k tokens/day"))
    asked = {**BODY, "max_tokens": 3}

    assert house.ask(document=asked).status == 200
    assert house.spent == 13
    known.key = "b"
    assert house.ask(document=asked).status == 429
    known.team = "blue"
    assert house.ask(document=asked).status == 200
    assert house.spent == 26
