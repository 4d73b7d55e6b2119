"""A stream that nobody can end is refused where a rule would have to end it."""

from __future__ import annotations

import pytest

from gateway import CallerFault
from gateway.testing import exchange
from plugins.budget import Config, Plugin
from plugins.budget.checking import check_stream
from plugins.budget.demand import demand_of
from plugins.budget.holds import Note
from plugins.budget.rules import Rule

STREAM = b"model/m/converse-stream"


def check(path: bytes, *rules: Rule, document: bytes = b"{}") -> None:
    config = Config(rules=rules)
    made = exchange(path=path, body=document)
    demand = demand_of(made)
    assert demand is not None
    note = Note(demand, Plugin(config).entries("default", config))
    check_stream(made, note, "aws-bedrock", path)


def rule(**keys: object) -> Rule:
    return Rule(**{"name": "r", "scope": "gateway", "limit": "1 USD/day", **keys})  # type: ignore[arg-type]


def test_it_names_the_rule_and_the_ways_out():
    with pytest.raises(CallerFault) as fault:
        check(STREAM, rule(name="soft"), rule(stop_in_flight=True))
    assert (fault.value.status, fault.value.code) == (400, "budget_unstoppable")
    assert "The budget r ends streams" in str(fault.value)
    assert "inferenceConfig.maxTokens" in str(fault.value)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (STREAM, {}),
        (STREAM, {"stop_in_flight": True, "scope": "team"}),
        (b"model/m/converse", {"stop_in_flight": True}),
        (b"v1/chat/completions", {"stop_in_flight": True}),
    ],
)
def test_others_pass(path, keys):
    check(path, rule(**keys))


def test_one_that_states_its_most_passes():
    most = b'{"inferenceConfig": {"maxTokens": 5}}'
    check(STREAM, rule(stop_in_flight=True), document=most)
