from __future__ import annotations

from bench.options import FIELDS
from bench.peers.portkey import fields


def test_each_request_says_where_it_goes_and_that_the_script_goes_up():
    found = fields("http://127.0.0.1:9001")
    assert found["x-portkey-custom-host"] == "http://127.0.0.1:9001/v1"
    assert found["x-portkey-provider"] == "openai"
    assert found["x-portkey-forward-headers"] == "x-bench"
    assert not found.keys() & {name.lower() for name in FIELDS}
