from __future__ import annotations

import io
import os

import click
import pytest

from bench.compare import Results, Row, parse_cores, turned, write_rows
from bench.peers import DIRECT, PLAIN, Cores, gateway
from bench.spread import Middle


def test_each_round_begins_with_another_peer():
    peers = [DIRECT, PLAIN, gateway("none")]
    firsts = [turned(peers, number)[0].name for number in range(1, 4)]
    assert sorted(firsts) == sorted(peer.name for peer in peers)


def test_a_difference_is_taken_inside_each_round():
    found = Results([PLAIN, DIRECT])
    for number, (ours, base) in enumerate([(12.0, 10.0), (25.0, 20.0), (8.0, 7.0)]):
        found.rows.append(Row(number, "nginx", "unary", "cpu_us", ours))
        found.rows.append(Row(number, "direct", "unary", "cpu_us", base))
    more = found.difference("nginx", "unary.cpu_us", "direct")
    assert more == Middle(2.0, 1.0, 5.0)


def test_the_csv_has_a_line_for_each_peer_and_figure():
    found = Results([PLAIN])
    found.rows = [Row(1, "nginx", "unary", "rate", 5.0), Row(2, "nginx", "unary", "rate", 7.0)]
    out = io.StringIO()
    write_rows(found, out)
    assert out.getvalue().splitlines()[1] == "nginx,unary.rate,6,5,7,1"


def test_cores_may_be_left_to_the_system():
    assert parse_cores("none") == Cores()


@pytest.mark.parametrize("text", ["0", "a,b,c", f"0,0,{os.cpu_count()}"])
def test_cores_that_are_not_there_are_refused(text):
    with pytest.raises(click.BadParameter):
        parse_cores(text)
