from __future__ import annotations

import tomllib

import pytest

from bench.peers.weir import ISSUE, WEIR, gateway


@pytest.mark.parametrize(
    ("written", "plugins"),
    [("none", ()), ("issue", ISSUE), ("timing, ./mine.py", ("timing", "./mine.py"))],
)
def test_a_list_of_plugins_has_a_name_or_is_written_out(written, plugins):
    assert gateway(written).plugins == plugins


def test_the_core_is_the_compiled_one_unless_python_is_asked_for():
    assert gateway("none").core == "compiled"
    assert gateway("python:issue").core == "python"
    assert gateway("python:issue").plugins == ISSUE


def test_the_configuration_of_the_gateway_is_toml():
    upstream = '"http://127.0.0.1:1"'
    text = WEIR.format(folder='"f"', enabled='["timing"]', upstream=upstream, workers=2)
    found = tomllib.loads(text)
    assert found["enabled"] == ["timing"]
    assert found["server"]["workers"] == 2
