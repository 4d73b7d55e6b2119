from __future__ import annotations

import tomllib

import pytest

from gateway.testing.toml import to_toml


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"enabled": ["mock", "/a/b.py"], "server": {"port": 0, "host": "::1"}},
        {"providers": {"azure-openai": {"base_url": "http://x", "strip_v1": True}}},
        {"a": {"b": {"c": {"d": 1.5}}, "e": []}, "f": 'quote " and \\ and \x7f and ü'},
        {"first": {"x": 1}, "own": "stands above the tables"},
        {"dotted.key": {"with space": 1}},
        {"rules": [{"name": "a", "shares": [0.5, 1.0], "inner": {"x": []}}, {}]},
    ],
)
def test_what_is_written_reads_back_as_it_was(table):
    assert tomllib.loads(to_toml(table)) == table
