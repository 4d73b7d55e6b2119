"""What RFC 9110 and RFC 9112 demand, told over raw sockets of the gateway, nginx and HAProxy."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.whole import controls, must_report
from tests.whole.musts import Seen, of_gateway

NAMES = [row.name for row in must_report.ROWS]


@pytest.fixture(scope="module")
def seen() -> dict[str, Seen]:
    return of_gateway(must_report.ROWS)


@pytest.fixture(scope="module")
def kept() -> list[dict[str, bool]]:
    """Give what the gateway, nginx and HAProxy keep."""
    return must_report.columns()


@pytest.mark.parametrize("row", must_report.ROWS, ids=NAMES)
def test_the_gateway_does_what_the_rfc_demands(row, seen):
    # An exception that is kept all the same is none.
    assert row.check(seen[row.name]) is (row.name not in must_report.EXCEPTIONS), seen[row.name]


def test_no_row_is_worse_than_nginx(kept):
    ours, nginx, _ = kept
    assert [name for name in NAMES if nginx[name] and not ours[name]] == []


def test_a_row_that_no_control_keeps_is_rare(kept):
    """A row that nobody keeps may be wrong itself."""
    _, nginx, haproxy = kept
    alone = [name for name in NAMES if not nginx[name] and not haproxy[name]]
    assert len(alone) < len(NAMES) / 8, alone


def test_the_table_is_large_and_its_exceptions_are_few():
    assert len(NAMES) >= 110
    assert Counter(NAMES).most_common(1)[0][1] == 1
    assert len(must_report.EXCEPTIONS) <= 3
    assert set(must_report.EXCEPTIONS) <= set(NAMES)


def test_the_report_says_what_was_seen(kept):
    """The controls' columns are those of the versions that it names."""
    written = must_report.REPORT.read_text()
    told = must_report.report(kept)
    versions = (controls.nginx_version(), controls.haproxy_version())
    if not all(f"{version} " in written for version in versions):
        written, told = map(_without_controls, (written, told))
    assert told == written, "python -m tests.whole.must_report writes it anew"


def _without_controls(report: str) -> str:
    lines = re.sub(r"(?m)^Kept of .*$", "", report)
    return re.sub(r"(?m) \| \w+ \| \w+ \|$", " |", lines)
