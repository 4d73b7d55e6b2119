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
    text = WEIR.format(folder='"f"', enabled='["timing"]', upstream='"http://127.0.0.1:1"')
    assert tomllib.loads(text)["enabled"] == ["timing"]
