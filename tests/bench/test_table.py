from __future__ import annotations

from bench.compare import Results, Row
from bench.peers import gateway
from bench.table import differences


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
