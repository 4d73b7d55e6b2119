from __future__ import annotations

import pytest

from bench.wrk import Told, parse, script

GOOD = """\
Running 2s test @ http://127.0.0.1:9901/v1/chat/completions
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   163.92us  519.93us  11.86ms   98.81%
    Req/Sec   211.01k     8.99k  223.28k    76.19%
  Latency Distribution
     50%  120.00us
     75%  133.00us
     90%    1.61ms
     99%    1.10s
  440160 requests in 2.10s, 282.08MB read
Requests/sec: 209605.09
Transfer/sec:    134.33MB
"""
BAD = "  Socket errors: connect 0, read 7, write 0, timeout 2\n  Non-2xx or 3xx responses: 5\n"


def test_its_table_is_read():
    latency = {50: 120.0, 75: 133.0, 90: 1610.0, 99: 1_100_000.0}
    assert parse(GOOD) == Told(440160, 2.1, 209605.09, latency, {})


def test_errors_are_not_overlooked():
    assert parse(GOOD + BAD).errors == {"read": 7, "timeout": 2, "status": 5}


def test_something_else_is_refused():
    with pytest.raises(ValueError, match="not what wrk prints"):
        parse("unable to connect to 127.0.0.1:9901 Connection refused")


def test_a_request_keeps_its_quotes_as_lua():
    lua = script("POST", b'{"a":"b"}', {"x-bench": "json=600"})
    assert 'wrk.body = "{\\"a\\":\\"b\\"}"' in lua
    assert 'wrk.headers["x-bench"] = "json=600"' in lua
