"""What each attempt used has its price when it is settled, and the row says whose."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson
import pytest

import plugins.cost
import plugins.usage
from gateway import Usage
from gateway.convert import convert_table
from gateway.testing import (
    Ran,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    answers,
    attempt_of,
    exchange,
    plan_of,
    run,
    running_gateway,
)
from plugins.cost import Config, Plugin
from plugins.cost.own import Model

CHAT = b"v1/chat/completions"
REQUEST = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}]}
OPENAI_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5-2025-08-07",
    "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
}
JSON = (b"Content-Type", b"application/json")
OWN = Model(model="gpt-5*", input="1.25", output=10)
COST = 100 * 1_250 + 10 * 10_000
CUSTOM = b'{"per_token_in": 0.000001, "per_token_out": 0.000002}'


def through(
    config: Config,
    *fields: tuple[bytes, bytes],
    answer: dict | None = None,
    plugin: Plugin | None = None,
    status: int = 200,
) -> Ran:
    """Send a request to a provider that answers so."""
    modules = [plugins.usage, plugins.cost] if plugin is None else [plugins.usage, plugin]
    plan = plan_of(*modules, settings={"cost": config})
    made = exchange(path=CHAT, headers=fields, body=orjson.dumps(REQUEST))
    body = orjson.dumps(OPENAI_ANSWER if answer is None else answer)
    with ScriptedUpstream(answers(body, JSON, status=status)) as upstream:
        lifespans = [] if plugin is None else [plugin.lifespan]
        return run(plan, made, upstream, lifespans=lifespans)


def priced(ran: Ran) -> tuple[int | None, str | None]:
    usage = ran.exchange.usage
    assert usage is not None
    return usage.cost_nanousd, usage.prices


def test_what_an_answer_used_is_priced_and_the_table_named():
    assert priced(through(Config(models=(OWN,)))) == (COST, "config")


def test_an_unknown_model_costs_null_and_is_counted():
    plugin = Plugin(Config(bundled=False))
    assert priced(through(plugin.config, plugin=plugin)) == (None, None)
    assert plugin._gateway is not None
    assert plugin._gateway.counts == {"unpriced": 1}


@pytest.mark.parametrize("field", [b"weir-custom-cost", b"cf-aig-custom-cost"])
def test_a_callers_own_prices_count_where_they_are_allowed(field):
    allowed = Config(models=(OWN,), allow_custom=True)
    assert priced(through(allowed, (field, CUSTOM))) == (100 * 1_000 + 10 * 2_000, "caller")
    assert priced(through(Config(models=(OWN,)), (field, CUSTOM))) == (COST, "config")
    assert priced(through(allowed)) == (COST, "config")


def test_a_callers_prices_that_cannot_be_used_are_a_400_and_nothing_is_sent():
    ran = through(Config(allow_custom=True), (b"weir-custom-cost", b"cheap"))
    assert ran.status == 400
    assert b"not JSON" in ran.body
    assert ran.exchange.attempts == []
    assert through(Config(), (b"weir-custom-cost", b"cheap")).status == 200


def test_a_callers_total_is_counted_once_whatever_was_tried():
    plugin = Plugin(Config(allow_custom=True))
    made = exchange(
        path=CHAT,
        headers=[(b"weir-custom-cost", b'{"total_cost": 0.5}')],
        body=orjson.dumps(REQUEST),
        settings={"cost": plugin.config},
    )
    plugin.prepare(made)
    for count in (10, 20):
        attempt_of(made).usage = usage = Usage()
        usage.fresh_input = count
    plugin.settle(made)
    assert made.usage is not None
    assert made.usage.cost_nanousd == 500_000_000


def test_each_attempt_is_priced_and_the_sum_is_the_exchanges():
    plugin = Plugin(Config(models=(OWN,)))
    made = exchange(path=CHAT, body=orjson.dumps(REQUEST), settings={"cost": plugin.config})
    for count in (10, 20, None):
        attempt = attempt_of(made)
        if count is not None:
            attempt.usage = Usage()
            attempt.usage.fresh_input, attempt.usage.estimated = count, count == 10
    plugin.settle(made)

    costs = [attempt.usage and attempt.usage.cost_nanousd for attempt in made.attempts]
    assert costs == [12_500, 25_000, None]
    assert made.attempts[0].usage is not None
    assert made.attempts[0].usage.estimated
    assert made.usage is not None
    assert made.usage.cost_nanousd == 37_500


def line(model: str, read: int, written: int) -> bytes:
    usage = {"input_tokens": read, "output_tokens": written}
    message = {"id": "msg", "type": "message", "model": model, "usage": usage}
    return orjson.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": message}})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # Two short answers are no long one, though their sum is beyond the tier's start.
        ((line("a", 90, 10), line("a", 60, 5)), 150 * 500 + 15 * 4_000),
        ((line("a", 90, 10), line("a", 101, 5)), 90 * 500 + 101 * 3_000 + 15 * 4_000),
        ((line("a", 90, 10), line("b", 60, 5)), 90 * 500 + 10 * 4_000 + 60 * 70 + 5 * 700),
        ((line("a", 90, 10), line("c", 60, 5)), None),
        ((line("c", 90, 10), line("c", 60, 5)), None),
    ],
)
def test_the_results_of_a_batch_cost_what_each_of_their_lines_does(lines, expected):
    half = {"input": "0.5", "output": 4, "tiers": [{"above": 100, "input": 3}]}
    first = msgspec.convert({"model": "a", "input": 1, "output": 8, "batch": half}, Model)
    second = Model(model="b", input="0.07", output="0.7")
    config = Config(models=(first, second), bundled=False)
    usage_plugin, plugin = plugins.usage.Plugin(plugins.usage.Config()), Plugin(config)
    plan = plan_of(usage_plugin, plugin, settings={"cost": config, "usage": usage_plugin.config})
    made = exchange(b"GET", b"v1/messages/batches/b/results", provider="anthropic")
    with ScriptedUpstream(answers(b"\n".join(lines), (b"Content-Type", b"text/x"))) as upstream:
        lifespans = [usage_plugin.lifespan, plugin.lifespan]
        ran = run(plan, made, upstream, lifespans=lifespans)
    assert priced(ran) == (expected, None if expected is None else "config")
    assert plugin._gateway is not None
    assert plugin._gateway.counts == ({"unpriced": 1} if expected is None else {})


def test_what_is_not_known_stays_null():
    config = Config(models=(OWN,))
    for answer in ({"object": "list"}, {**OPENAI_ANSWER, "usage": None}):
        usage = through(config, answer=answer).exchange.usage
        assert usage is None or usage.is_known == (usage.cost_nanousd is not None)

    plugin = Plugin(config)
    made = exchange(path=CHAT, body=orjson.dumps(REQUEST), settings={"cost": config})
    attempt_of(made).usage = usage = Usage()
    usage.problem = "not read"
    plugin.settle(made)
    assert (usage.cost_nanousd, usage.prices) == (None, None)


def test_what_happens_to_the_file_changes_nothing_before_a_reload(tmp_path):
    file = tmp_path / "prices.json"
    row = {"litellm_provider": "openai", "input_cost_per_token": 1e-06, "output_cost_per_token": 0}
    file.write_bytes(orjson.dumps({"gpt-5": row}))
    config = Config(file=str(file), bundled=False)
    file.unlink()
    assert priced(through(config))[0] == 100_000


def test_a_gateways_own_prices_are_its_own_and_new_settings_hold_at_once():
    plugin = Plugin(Config(bundled=False))
    costs = []
    for gateway, price in (("default", 1), ("staging", 2), ("default", 3), ("staging", 2)):
        config = Config(models=(Model(model="*", input=price),), bundled=False)
        made = exchange(path=CHAT, body=orjson.dumps(REQUEST), settings={"cost": config})
        made.gateway = gateway
        attempt_of(made).usage = usage = Usage()
        usage.fresh_input = 1
        plugin.settle(made)
        costs.append(usage.cost_nanousd)
    assert costs == [1_000, 2_000, 3_000, 2_000]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"models": [{"model": "m", "input": -1}]},
            "[plugins.cost] models[0].input: wanted dollars",
        ),
        ({"models": [{"model": "m"}]}, "[plugins.cost] models[0].model: there is no price"),
        ({"models": [{"input": 1}]}, "model"),
        ({"models": [{"model": "m", "inputs": 1}]}, "did you mean input?"),
        ({"models": [{"model": "m", "input": True}]}, "models[0].input: wanted a whole number"),
        (
            {"file": "/no/such/file.json"},
            "file: /no/such/file.json: it cannot be read",
        ),
        ({"prices": []}, "no such"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(table, said):
    value, problems = convert_table(Config, table, where="plugins.cost")
    assert value is None
    assert said in "\n".join(map(str, problems))


def test_it_has_to_stand_behind_usage():
    assert Plugin.after == ("usage",)
    with (
        pytest.raises(StartFailed, match=r'the right order is \[\\?"usage\\?", \\?"cost\\?"\]'),
        running_gateway(plugins=["cost", "usage"]),
    ):
        pass


# -- in a process of its own -----------------------------------------------------------------------

SPY = """
from gateway import get_logger, hookimpl

log = get_logger("spy")


class Plugin:
    after = ("cost",)

    def __init__(self, config): pass

    @hookimpl
    def account(self, exchange):
        usage = exchange.usage
        log.info("priced", cost=usage and usage.cost_nanousd, prices=usage and usage.prices)
"""
BUDGET = """
from contextlib import asynccontextmanager
from gateway import get_logger, hookimpl

log = get_logger("asker")


class Plugin:
    after = ("cost",)

    def __init__(self, config): pass

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway):
        prices = gateway.require("prices")
        price = prices.price("openai", "gpt-5")
        unknown = prices.price("openai", "gpt-99")
        log.info("asked", worst=price.worst(1000, 100), source=price.source, unknown=unknown)
        yield
"""


@pytest.fixture
def spy(tmp_path) -> Path:
    file = tmp_path / "spy.py"
    file.write_text(SPY)
    return file


def ask(gateway: RunningGateway, count: int, model: str = "gpt-5") -> tuple[int | None, str | None]:
    """Send a request and give its cost, which is the log's latest word."""
    body = orjson.dumps({**REQUEST, "model": model})
    request = urllib.request.Request(f"{gateway.url}/openai/{CHAT.decode()}", body)
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=5).read()
    line = gateway.wait_for_log("priced", count)
    return line["cost"], line["prices"]


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(answers(orjson.dumps(OPENAI_ANSWER), JSON)) as made:
        yield made


def test_the_bundled_prices_are_there_from_the_first_request_on(spy, upstream, tmp_path):
    (tmp_path / "asker.py").write_text(BUDGET)
    config = {"providers": {"openai": upstream.provider()}}
    listed = ["usage", "cost", spy, tmp_path / "asker.py"]
    with running_gateway(config, plugins=listed) as gateway:
        cost, prices = ask(gateway, 1)
        asked = gateway.wait_for_log("asked")
        files = [path.name for path in (gateway.folder / "state").glob("prices-*")]

    assert (cost, prices) == (COST, asked["source"])
    assert (
        asked["source"] == f"genai-prices {files[0].removeprefix('prices-').removesuffix('.json')}"
    )
    assert asked["worst"] == 1000 * 1_250 + 100 * 10_000
    assert asked["unknown"] is None


def test_a_reload_reads_the_file_again_and_keeps_the_old_one_if_it_is_broken(
    spy, upstream, tmp_path
):
    def write(dollars: float) -> None:
        row = {"litellm_provider": "openai", "input_cost_per_token": dollars}
        row["output_cost_per_token"] = 0
        (tmp_path / "new").write_bytes(orjson.dumps({"gpt-5": row}))
        (tmp_path / "new").replace(tmp_path / "prices.json")

    write(1e-06)
    config = {
        "providers": {"openai": upstream.provider()},
        "plugins": {"cost": {"file": str(tmp_path / "prices.json"), "bundled": False}},
    }
    with running_gateway(config, plugins=["usage", "cost", spy]) as gateway:
        first = ask(gateway, 1)
        write(2e-06)
        unread = ask(gateway, 2)
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_log("reloaded")
        second = ask(gateway, 3)
        (tmp_path / "prices.json").write_text("{")
        gateway.signal(signal.SIGHUP)
        refused = gateway.wait_for_log("reload_failed")
        third = ask(gateway, 4)

    assert [cost for cost, _ in (first, unread, second, third)] == [
        100_000,
        100_000,
        200_000,
        200_000,
    ]
    assert first[1] != second[1] == third[1]
    assert "no JSON object of models" in str(refused)


def test_an_unknown_model_is_named_once(spy):
    answer = {**OPENAI_ANSWER, "model": "gpt-99"}
    with ScriptedUpstream(answers(orjson.dumps(answer), JSON)) as upstream:
        config = {"providers": {"openai": upstream.provider()}}
        with running_gateway(config, plugins=["usage", "cost", spy]) as gateway:
            costs = [ask(gateway, number, "gpt-99") for number in (1, 2, 3)]
            log = [line for line in gateway.log if line["event"] == "model_unpriced"]

    assert costs == [(None, None)] * 3
    assert [(line["provider"], line["model"]) for line in log] == [("openai", "gpt-99")]
