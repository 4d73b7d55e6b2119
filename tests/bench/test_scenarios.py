from __future__ import annotations

import msgspec
import pytest

from bench.options import STREAM_BODY, body_of
from bench.peers import DIRECT, Cores, Running, mock_upstream
from bench.scenarios import EVERY, FIELD, USUAL, Settings, few, single, warm
from bench.script import Script

SHORT = Settings(seconds=0.3)


def test_every_list_names_scenarios_that_there_are():
    assert set(USUAL) | set(FIELD) <= set(EVERY)


@pytest.mark.parametrize(("exact", "wrong"), [(True, True), (False, False)])
def test_the_fields_of_a_target_are_sent_and_an_answer_that_is_not_exact_is_right(exact, wrong):
    with mock_upstream(Cores()) as (address, _):
        target = Running(DIRECT, address, None, 0.0, {"x-bench": "json=700"}, exact=exact)
        assert (single(target, SHORT)["errors"] > 0) is wrong


def test_warming_asks_for_whole_answers_and_for_streams():
    asked: list[bool] = []

    def body(script: Script) -> bytes:
        asked.append(script.sse > 0)
        return body_of(script)

    with mock_upstream(Cores()) as (address, _):
        warm(Running(DIRECT, address, None, 0.0, body=body), SHORT)
    assert asked == [False, True]


def test_the_body_of_a_target_is_made_for_the_script_and_a_few_streams_flow():
    asked: list[Script] = []

    def body(script: Script) -> bytes:
        asked.append(script)
        return body_of(script)

    with mock_upstream(Cores()) as (address, _):
        target = Running(DIRECT, address, None, 0.0, body=body)
        values = few(target, msgspec.structs.replace(SHORT, seconds=0.5))
    assert [script.sse > 0 for script in asked] == [True]
    assert body_of(asked[0]) == STREAM_BODY
    assert values["chunk_rate"] > 0
    assert values["errors"] == 0
