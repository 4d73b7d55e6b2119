from __future__ import annotations

from pathlib import Path

import click
import pytest

from bench.compare import Results, Row
from bench.peers import DIRECT, PLAIN, Peer, gateway
from bench.scenarios import FIELD, USUAL
from bench.table import PICTURES, by_worker, chosen, differences, into_readme, scaled
from bench.workers import pair


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


def paired() -> tuple[Results, tuple[Peer, Peer]]:
    """One worker takes 100 us of CPU for a request, and two take 110."""
    both = one, two = pair("none")
    found = Results(both)
    for number, rate in enumerate((1_000.0, 2_000.0, 3_000.0)):
        found.rows += [
            Row(number, one.name, "workers", "rate", rate),
            Row(number, two.name, "workers", "rate", rate * (1.6 + number / 10)),
            Row(number, one.name, "workers", "cpu_us", 100.0),
            Row(number, two.name, "workers", "cpu_us", 110.0),
        ]
    return found, both


def test_two_workers_are_compared_inside_each_round_as_served_and_by_cpu():
    found, both = paired()
    (said,) = scaled(found, [both])
    assert said == (
        "weir none x2: 1.70 (1.60-1.80) times the requests/s of weir none x1 as served, "
        "1.82 by CPU per request."
    )


def test_what_was_not_measured_is_not_compared():
    _, both = paired()
    assert list(scaled(Results(both), [both])) == []


def test_the_table_of_workers_has_a_column_for_each():
    lines = {line[0]: line[1:] for line in by_worker(paired()[0])}
    assert lines[""] == ["weir none x1", "weir none x2"]
    assert lines["CPU us per request"] == ["100.0", "110.0"]
    assert lines["CPU of who worked least, %"] == ["-", "-"]


def measured() -> Results:
    found = Results([PLAIN, gateway("none")])
    for name, value in zip(found.peers, (10.0, 20.0), strict=True):
        found.rows.append(Row(1, name, "small", "cpu_us", value))
    return found


def test_the_readmes_part_is_renewed_with_table_and_pictures(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- generated: field -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        into_readme(measured(), 5, 2.0, tmp_path)
    text = readme.read_text()
    assert text.startswith("before\n<!-- generated: field -->\n" + PICTURES)
    assert text.endswith("\n<!-- end -->\nafter\n")
    assert text.count("| CPU us per 1 KB answer | 10.0 | 20.0 |") == 1
    assert "old" not in text
    drawn = [path.name for path in sorted((tmp_path / "docs").iterdir())]
    assert drawn == ["bench-dark.svg", "bench-light.svg"]
    assert all(f"docs/{name}" in text for name in drawn)


def test_a_readme_without_the_part_is_left_alone(tmp_path: Path):
    (tmp_path / "README.md").write_text("nothing here\n")
    with pytest.raises(click.ClickException, match="generated: field"):
        into_readme(measured(), 5, 2.0, tmp_path)
    assert (tmp_path / "README.md").read_text() == "nothing here\n"
