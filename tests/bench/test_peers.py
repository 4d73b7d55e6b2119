from __future__ import annotations

import tomllib
from urllib.request import Request, urlopen

import pytest

from bench.peers import (
    DIRECT,
    ISSUE,
    WEIR,
    Cores,
    Peer,
    answered,
    gateway,
    mock_upstream,
    running,
)


@pytest.mark.parametrize(
    ("written", "plugins"),
    [("none", ()), ("issue", ISSUE), ("timing, ./mine.py", ("timing", "./mine.py"))],
)
def test_a_list_of_plugins_has_a_name_or_is_written_out(written, plugins):
    assert gateway(written).plugins == plugins


def test_the_configuration_of_the_gateway_is_toml():
    text = WEIR.format(folder='"f"', enabled='["timing"]', upstream='"http://127.0.0.1:1"')
    assert tomllib.loads(text)["enabled"] == ["timing"]


def test_the_mock_runs_in_a_process_of_its_own_and_goes_with_the_block():
    with mock_upstream(Cores()) as (address, _), running(DIRECT, address, Cores()) as target:
        answered(target.base)
        asked = Request(f"{address}/v1/messages", headers={"x-bench": "json=300"})
        with urlopen(asked, timeout=5) as response:
            assert len(response.read()) == 300
    with pytest.raises(OSError):
        answered(address)


def test_a_gateway_that_does_not_start_is_told_with_its_own_words():
    peer = Peer("broken", "weir", ("no_such_plugin_anywhere",))
    with (
        pytest.raises(RuntimeError, match=r"broken did not start(.|\n)*no_such_plugin_anywhere"),
        running(peer, "http://127.0.0.1:9", Cores()),
    ):
        pass
