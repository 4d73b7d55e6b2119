from __future__ import annotations

from urllib.request import Request, urlopen

import pytest

from bench.peers import (
    DIRECT,
    Cores,
    Peer,
    answered,
    missing,
    mock_upstream,
    named,
    running,
    versions,
)
from bench.peers.kinds import Started


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


@pytest.mark.parametrize(
    ("size", "exact", "right"), [(600, True, True), (700, True, False), (700, False, True)]
)
def test_an_answer_is_the_mocks_own_or_at_least_all_of_its_text(size, exact, right):
    with mock_upstream(Cores()) as (address, pid):
        started = Started(address, pid, fields={"x-bench": f"json={size}"})
        if right:
            answered(address, started, exact=exact)
        else:
            with pytest.raises(ValueError, match="it answered 200"):
                answered(address, started, exact=exact)


def test_half_of_the_text_is_no_answer():
    with mock_upstream(Cores()) as (address, pid):
        started = Started(address, pid, fields={"x-bench": "json=400"})
        with pytest.raises(ValueError, match="it answered 200"):
            answered(address, started, exact=False)


def test_nobody_in_between_is_never_missing_and_has_no_version():
    assert missing(DIRECT) == ""
    (pair,) = named(["aiohttp"])
    assert versions([DIRECT, pair, pair]) == versions([pair])
    assert len(versions([pair])) == 1
