from __future__ import annotations

import pytest

from bench.check import ISSUE, LIMITS, NONE, PAIR, judge
from bench.compare import Results, Row
from bench.peers import PLAIN


def results(*, better: float = 1.0, without: str = "") -> Results:
    """Every figure at its limit, times `better`."""
    found = Results([PLAIN, NONE, ISSUE])
    for figure in ("unary.cpu_us", "sse.cpu_us"):
        found.rows.append(row(PLAIN.name, figure, 10.0))
    for limit in LIMITS:
        if limit.figure != without:
            value = limit.most * better * (10.0 if limit.ratio else 1.0)
            found.rows.append(row(limit.peer.name, limit.figure, value))
    return found


def row(peer: str, figure: str, value: float) -> Row:
    scenario, _, name = figure.partition(".")
    return Row(1, peer, scenario, name, value)


def test_at_the_limit_is_inside():
    assert all(verdict.passed for verdict in judge(results()))


def test_every_limit_can_fail():
    verdicts = judge(results(better=1.01))
    assert [verdict.limit.title for verdict in verdicts if verdict.passed] == ["errors"] * 3


@pytest.mark.parametrize("figure", sorted({limit.figure for limit in LIMITS}))
def test_what_was_not_measured_does_not_pass(figure):
    failed = [one.limit.figure for one in judge(results(without=figure)) if not one.passed]
    assert failed == [figure, figure]


def test_one_error_fails():
    found = results()
    found.rows.append(Row(1, NONE.name, "sse", "errors", 1.0))
    assert [str(one) for one in judge(found) if not one.passed] == [
        "FAIL  weir none: errors: 1.00 (at most 0)"
    ]


@pytest.mark.parametrize(("rate", "word"), [(1_700.0, "ok  "), (1_690.0, "FAIL"), (None, "FAIL")])
def test_two_workers_must_serve_enough_times_what_one_serves(rate, word):
    found = Results(PAIR)
    found.rows.append(row(PAIR[0].name, "workers.rate", 1_000.0))
    if rate is not None:
        found.rows.append(row(PAIR[1].name, "workers.rate", rate))
    told = "not measured" if rate is None else f"{rate / 1_000:.2f}"
    assert str(judge(found)[0]) == (
        f"{word}  weir redact x2: requests/s, times one worker's: {told} (at least 1.7)"
    )
