"""After each answer of a session the next is held, and where there is no room the session ends."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from gateway.testing import exchange
from plugins.budget import Config, Plugin
from plugins.budget.demand import demand_of
from plugins.budget.holds import Note
from plugins.budget.rules import Rule
from plugins.budget.sessions import Session
from plugins.cost import Config as CostConfig
from plugins.cost import Plugin as CostPlugin
from plugins.cost import Prices
from plugins.cost.own import Model
from tests.plugins.usage.test_session import CREATED, HEARD, OVER, turn

UPGRADE = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
# A millionth of a dollar for a token that is read, a thousandth for one that is written.
PRICES = CostConfig(bundled=False, models=(Model(model="gpt-realtime", input=1, output=1_000),))
BEGUN = {"type": "response.created", "response": {"id": "r", "usage": None}}


def done(read: int, written: int, kind: str = "response.done") -> dict[str, Any]:
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    return {"type": kind, "response": {"id": "r", "status": "completed", "usage": usage}}


class Table:
    """A session under some rules, and what it holds."""

    def __init__(self, *rules: dict[str, Any], model: bytes = b"?model=gpt-realtime") -> None:
        config = Config(
            rules=tuple(
                Rule(**{"name": f"r{n}", "scope": "gateway", "output_default": 10, **keys})
                for n, keys in enumerate(rules)
            )
        )
        self.plugin = Plugin(config)
        self.plugin._desk.prices = Prices(CostPlugin(PRICES))
        self.exchange = exchange(
            b"GET", b"v1/realtime" + model, headers=UPGRADE, settings={"budget": config}
        )
        demand = demand_of(self.exchange)
        assert demand is not None
        self.note = Note(demand, self.plugin.entries("default", config))
        self.plugin._desk.reserve(self.exchange, self.note, "openai")
        self.session = Session(self.plugin._desk, self.exchange, self.note)
        self.stops: list[str] = []
        self.exchange.line = self  # type: ignore[assignment]

    def stop(self, outcome: str, tail: bytes) -> None:
        error = orjson.loads(tail)["error"]
        assert (error["code"], error["message"][:11]) == ("budget_exceeded", "The budget ")
        self.stops.append(outcome)

    def hear(self, *documents: Any, direction: str = "down") -> list[int]:
        """Show messages; give what is held after each under the first rule."""

        async def story() -> list[int]:
            held = []
            for document in documents:
                self.session.message(direction, "text", orjson.dumps(document))
                await asyncio.sleep(0)
                held.append(self.note.holds[0].counter.reserved)
            return held

        return asyncio.run(story())


def test_each_answer_is_counted_and_the_next_is_held():
    """The next one reads what the last one did, and what it said."""
    table = Table({"limit": "1k tokens/day"})
    assert table.hear(CREATED, done(20, 5), done(40, 8)) == [10, 25 + 25 + 10, 73 + 48 + 10]
    assert not table.stops


def test_money_is_that_of_the_models_price():
    table = Table({"limit": "1 USD/day"}, model=b"")
    cent = 10**7
    assert table.hear(CREATED, done(20, 5)) == [
        cent,
        20 * 1_000 + 5 * 10**6 + 25 * 1_000 + 10 * 10**6,
    ]


def test_several_answers_at_once_are_held_for():
    table = Table({"limit": "1k tokens/day"})
    held = table.hear(BEGUN, BEGUN, BEGUN, done(0, 5), done(0, 5), done(0, 5))
    assert held == [10, 20, 30, 5 + 2 * 15, 10 + 15, 15 + 15]


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete"])
def test_the_answers_of_responses_end_as_well(kind):
    table = Table({"limit": "1k tokens/day"})
    assert table.hear(BEGUN, done(0, 5, kind), BEGUN, BEGUN)[-1] == 5 + 2 * 15


@pytest.mark.parametrize(
    "messages",
    [
        (turn(10, 1), turn(10, 5, **OVER), turn(20, 6, **OVER)),
        (turn(10, 1), turn(10, 5), OVER, turn(20, 2), turn(20, 6), OVER),
        (OVER, turn(10, 5), OVER, turn(20, 6)),
    ],
)
def test_the_turns_of_gemini_count_up(messages):
    table = Table({"limit": "1k tokens/day"})
    assert table.hear({"setupComplete": {}}, *messages)[-1] == 41 + 26 + 10


def test_a_session_ends_where_nothing_is_left_and_counts_no_further():
    table = Table({"limit": "60 tokens/day"}, {"limit": "1 USD/day"})
    assert table.hear(done(0, 20), done(0, 20), done(0, 20)) == [50, 50, 50]
    assert table.stops == ["stopped"]
    assert table.note.holds[1].amount == 20 * 10**6 + 20 * 1_000 + 10 * 10**6  # as before


def test_a_soft_rule_ends_nothing():
    table = Table({"limit": "60 tokens/day", "hard": False})
    assert table.hear(done(0, 20), done(0, 60)) == [50, 80 + 60 + 10]
    assert not table.stops


def test_a_model_without_a_price_ends_it_unless_it_is_let_in():
    named = {"type": "session.updated", "session": {"model": "unknown"}}
    for keys, stops in (({}, ["stopped"]), ({"unpriced": "allow"}, [])):
        table = Table({"limit": "1 USD/day", **keys}, model=b"")
        table.hear(named, done(1, 1))
        assert table.stops == stops


def test_what_the_caller_says_and_what_it_was_heard_to_say_do_not_count():
    table = Table({"limit": "1k tokens/day"})
    counts = {"input_tokens": 26, "output_tokens": 17, "total_tokens": 43}
    assert table.hear(done(9, 9), direction="up") == [10]
    assert table.hear({"type": HEARD, "usage": counts}, ["x"]) == [10, 10]
    table.session.message("down", "binary", None)


@pytest.mark.parametrize(
    "message",
    [
        {"setup": {"model": "models/gpt-realtime"}},
        {"type": "response.create", "model": "gpt-realtime", "input": []},
        {"type": "session.update", "session": {"model": "gpt-realtime"}},
    ],
)
def test_a_callers_message_names_the_model_and_it_stands_in_the_row(message):
    table = Table({"limit": "1 USD/day"}, model=b"")
    assert table.hear({"model": 5}, ["model"], message, direction="up") == [10**7] * 3
    assert table.exchange.model == "gpt-realtime"
    assert table.hear(done(0, 5)) == [5 * 10**6 + 5 * 1_000 + 10 * 10**6]


def test_a_session_whose_model_nobody_names_is_one_without_a_price():
    for keys, stops in (({}, ["stopped"]), ({"unpriced": "allow"}, []), ({"hard": False}, [])):
        table = Table({"limit": "1 USD/day", **keys}, model=b"")
        table.hear(done(1, 1))
        assert table.stops == stops


def test_what_is_no_json_ends_nothing_and_is_passed_over():
    table = Table({"limit": "1k tokens/day"}, model=b"")
    table.session.message("up", "text", b'{"model"')
    table.session.message("down", "text", b'{"usage"')
    assert table.hear(done(20, 5)) == [25 + 25 + 10]


@pytest.mark.parametrize(("hard", "stops"), [(True, ["stopped"]), (False, [])])
def test_a_session_that_nobody_can_read_ends_under_a_hard_rule(hard, stops):
    table = Table({"limit": "1k tokens/day", "hard": hard})

    async def story() -> None:
        table.session.failed(ValueError("a frame that is none"))
        await asyncio.sleep(0)

    asyncio.run(story())
    assert table.stops == stops
