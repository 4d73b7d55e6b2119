"""What is refused is counted, and what would be is logged, but not once for each request."""

from __future__ import annotations

from structlog.testing import capture_logs

from plugins.rate_limit.reporting import Report
from plugins.rate_limit.rules import Limit, Rule


def test_shadow_refusals_are_counted_and_logged_now_and_then():
    limits = [Limit(Rule(name=name, scope="key", limit="5/min")) for name in ("a", "b")]
    report = Report()
    counted: list[str] = []
    report.counted = counted.append
    with capture_logs() as lines:
        for limit in limits:
            for _ in range(10):
                report.over(limit, "k")
        report.refused(limits[0])
    assert counted == ["rate_limit_shadow_refused"] * 20 + ["rate_limit_refused"]
    assert [(line["rule"], line["subject"]) for line in lines] == [
        ("a", 'key "k"'),
        ("b", 'key "k"'),
    ]
