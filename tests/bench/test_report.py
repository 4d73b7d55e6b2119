from __future__ import annotations

import math

from bench.compare import Results, Row
from bench.peers import DIRECT, PLAIN, gateway
from bench.report import markdown, remarks, table, terminal

OURS = gateway("none")


def results(*, nginx=(10.0, 10.0, 10.0)) -> Results:
    found = Results([DIRECT, PLAIN, OURS])
    for number in range(3):
        found.rows += [
            Row(number, "direct", "unary", "cpu_us", math.nan),
            Row(number, "nginx", "unary", "cpu_us", nginx[number]),
            Row(number, OURS.name, "unary", "cpu_us", nginx[number] * (2 + number / 10)),
            Row(number, "direct", "ttft", "p50_us", 100.0),
            Row(number, OURS.name, "ttft", "p50_us", 350.0),
            Row(number, OURS.name, "unary", "errors", float(number)),
        ]
    return found


def test_a_line_holds_the_median_its_range_and_the_ratio_of_each_round():
    lines = {line[0]: line[1:] for line in table(results(nginx=(10.0, 20.0, 40.0)))}
    assert lines["CPU us per request"] == ["-", "20.0 (10.0-40.0)", "42.0 (20.0-88.0)"]
    assert lines["  against nginx"] == ["-", "1.00", "2.10 (2.00-2.20)"]


def test_added_time_is_what_the_direct_way_did_not_take():
    lines = {line[0]: line[1:] for line in table(results())}
    assert lines["TTFT added at 1 stream, p50, ms"] == ["-", "-", "0.250"]


def test_errors_of_all_rounds_are_summed_and_absent_figures_left_out():
    lines = {line[0]: line[1:] for line in table(results())}
    assert lines["errors"] == ["0", "0", "3"]
    assert "KB per open stream" not in lines


def test_columns_are_aligned():
    text = terminal(table(results())).splitlines()
    assert len({len(line) for line in text}) == 1


def test_markdown_has_a_cell_for_every_peer():
    rows = markdown(table(results())).splitlines()
    assert {row.count("|") for row in rows} == {5}


def test_a_base_that_did_not_get_its_core_is_said_so():
    found = results()
    found.rows.append(Row(1, "nginx", "unary", "busy", 0.9))
    assert not any("not idle" in said for said in remarks(found))
    found.rows.append(Row(2, "nginx", "unary", "busy", 0.3))
    assert any("not idle" in said for said in remarks(found))


def test_a_base_that_moved_is_said_to_be_no_base():
    assert any("do not rely" in said for said in remarks(results(nginx=(10.0, 10.0, 15.0))))
    assert not any("do not rely" in said for said in remarks(results()))


def test_who_cannot_pass_on_what_comes_is_named():
    found = results()
    for name, rate in (("direct", 1000.0), ("nginx", 990.0), (OURS.name, 400.0)):
        found.rows.append(Row(0, name, "sse", "chunk_rate", rate))
    behind = [said for said in remarks(found) if "passed on" in said]
    assert behind == [f"{OURS.name} passed on 40% of sse's events."]
