from __future__ import annotations

from bench.peers import Cores, mock_upstream, running
from bench.peers.kinds import Peer
from bench.peers.pair import KIND


def test_it_needs_nothing_installed_and_starts():
    assert KIND.missing() == ""
    assert KIND.version().startswith("aiohttp ")
    with (
        mock_upstream(Cores()) as (address, _),
        running(Peer("aiohttp", "aiohttp"), address, Cores()) as target,
    ):
        assert target.pid is not None
        assert target.exact
