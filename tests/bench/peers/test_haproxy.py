from __future__ import annotations

import re

from bench.peers.haproxy import config


def test_it_takes_the_prefix_off_and_delays_nothing():
    text = config(8003, "http://127.0.0.1:9001")
    assert "bind 127.0.0.1:8003" in text
    assert "server mock 127.0.0.1:9001" in text
    assert "option http-no-delay" in text
    assert "nbthread 1" in text
    rule = re.search(r"replace-path (\S+) (\S+)", text)
    assert rule is not None
    assert re.sub(rule[1], rule[2], "/bench/v1/messages") == "/v1/messages"


def test_it_asks_for_no_more_connections_than_files_allow():
    most = re.search(r"maxconn (\d+)", config(1, "http://127.0.0.1:2"))
    assert most is not None
    assert 100 <= int(most[1]) <= 10_000
