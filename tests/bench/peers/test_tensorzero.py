from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import orjson
import pytest

from bench.options import BODY
from bench.peers.tensorzero import appears, body, config
from bench.processes import child
from bench.script import Script, parse


def test_its_configuration_is_toml_and_names_the_mock():
    model = tomllib.loads(config("http://127.0.0.1:9001"))["models"]["bench"]
    provider = model["providers"][model["routing"][0]]
    assert provider["api_base"] == "http://127.0.0.1:9001/v1"
    assert provider["type"] == "openai"


@pytest.mark.parametrize("script", [Script(), Script(json=1000), Script(sse=100, size=320)])
def test_the_script_stands_in_the_body_and_a_stream_is_asked_for(script):
    found = orjson.loads(body(script))
    (field,) = found["tensorzero::extra_headers"]
    configured = tomllib.loads(config("http://127.0.0.1:1"))["models"]
    assert found["model"] == f"tensorzero::model_name::{field['model_name']}"
    assert field["provider_name"] in configured[field["model_name"]]["providers"]
    assert parse(field["value"]) == script
    assert found["stream"] is bool(script.sse)
    assert found["messages"] == orjson.loads(BODY)["messages"]


WRITES = """\
import pathlib, sys, time
half = pathlib.Path(sys.argv[1] + ".half")
half.write_text("here")
half.rename(sys.argv[1])
time.sleep(60)
"""


def test_its_address_is_what_it_writes(tmp_path: Path):
    path = tmp_path / "address"
    with child([sys.executable, "-c", WRITES, str(path)]) as process:
        assert appears(process, path, 30) == "here"


def test_one_that_ends_or_says_nothing_is_given_up(tmp_path: Path):
    path = tmp_path / "address"
    with child([sys.executable, "-c", "raise SystemExit(4)"]) as process:
        with pytest.raises(ChildProcessError, match="ended with 4"):
            appears(process, path, 30)
    with child([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        with pytest.raises(TimeoutError):
            appears(process, path, 0.1)
