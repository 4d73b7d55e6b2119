from __future__ import annotations

import click
import pytest

from bench.compare import Results, Row
from bench.peers import DIRECT, PLAIN, gateway
from bench.scenarios import FIELD, USUAL
from bench.table import chosen, differences


def test_a_plugin_costs_what_the_gateway_costs_more_with_it():
    none, one = gateway("none"), gateway("timing")
    found = Results([none, one])
    for number, (base, more) in enumerate([(20.0, 23.0), (30.0, 32.0), (20.0, 24.0)]):
        found.rows.append(Row(number, none.name, "unary", "cpu_us", base))
        found.rows.append(Row(number, one.name, "unary", "cpu_us", more))
    assert differences(found, ["unary"], none.name)[1:] == [
        ["weir none", "20.00 (20.00-30.00)", "0.00"],
        ["weir timing", "24.00 (23.00-32.00)", "3.00 (2.00-4.00)"],
    ]


def test_others_of_the_field_come_behind_us_and_bring_their_questions():
    peers, scenarios = chosen((), ("envoy", "litellm"), (), base_only=False)
    names = [peer.name for peer in peers]
    assert names == ["direct", "nginx", "weir none", "weir issue", "envoy", "litellm"]
    assert tuple(scenarios) == FIELD


def test_without_others_all_is_as_before():
    peers, scenarios = chosen((), (), (), base_only=False)
    assert peers[:2] == [DIRECT, PLAIN]
    assert [peer.core for peer in peers[2:]] == ["compiled", "compiled", "python", "python"]
    assert tuple(scenarios) == USUAL
    assert chosen(("timing",), (), ("sse",), base_only=True) == ([DIRECT, PLAIN], ("sse",))


def test_an_unknown_peer_is_refused_as_a_parameter():
    with pytest.raises(click.BadParameter, match="no peer nobody; there are envoy"):
        chosen((), ("nobody",), (), base_only=False)
