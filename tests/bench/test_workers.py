from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from bench.peers import Cores, Running, mock_upstream, running
from bench.scenarios import Settings, workers
from bench.workers import (
    PROMPT,
    body_for,
    cpu_by_worker,
    falls,
    inodes,
    least_share,
    pair,
    workers_of,
)

ONE, TWO = pair("python:redact")
SETTINGS = Settings(seconds=1.0)
TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 22 1 0
   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 33 1 0
   3: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 44 1 0
   4: 0100007F:1F90 0100007F:C352 06 00000000:00000000 00:00000000 00000000     0        0 55 1 0
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with mock_upstream(Cores()) as (address, _):
        yield address


@pytest.fixture(scope="module")
def two(upstream: str) -> Iterator[Running]:
    with running(TWO, upstream, Cores()) as target:
        yield target


def test_a_pair_differs_in_workers_only():
    assert [peer.workers for peer in pair("issue")] == [1, 2]
    assert [peer.name for peer in (ONE, TWO)] == ["weir python:redact x1", "weir python:redact x2"]
    assert ONE.plugins == TWO.plugins
    assert [body_for(peer) for peer in (TWO, pair("issue")[1])] == [PROMPT, b""]


def test_our_ends_of_established_connections_from_these_callers_are_found():
    callers = (0xC350, 0xC352)
    assert inodes(TABLE, 0x1F90, callers) == {"socket:[22]"}


def test_every_connection_is_somebodys(two: Running):
    assert two.pid is not None
    assert len(workers_of(two.pid)) == 2
    got = falls(two, 24)
    assert len(got) == 2
    assert sum(got) == 24
    assert got[0] >= got[1] > 0


def test_one_worker_gets_all(upstream: str):
    with running(ONE, upstream, Cores()) as target:
        assert target.pid is not None
        assert workers_of(target.pid) == {target.pid}
        assert falls(target, 5) == [5]


def test_both_workers_work_and_that_is_measured(two: Running):
    values = workers(two, SETTINGS)
    assert values["errors"] == 0
    assert values["rate"] > 0
    assert values["cpu_us"] > 0
    assert 0.05 < values["least_cpu"] <= 0.5
    assert 0.05 < values["least_of_many"] <= 0.5
    assert 0.0 <= values["none_of_few"] <= 1.0


def test_connections_that_nobody_takes_are_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # This process listens, and never accepts.
        target = Running(ONE, f"http://127.0.0.1:{port}", os.getpid(), 0.0)
        with pytest.raises(TimeoutError, match="0 of 2"):
            falls(target, 2, accepted_timeout_s=0.1)


@pytest.mark.parametrize(
    ("after", "share"), [({1: 3.0, 2: 3.0}, 0.5), ({1: 4.0, 2: 2.0}, 0.25), ({1: 1.0, 2: 1.0}, 0.0)]
)
def test_the_least_share_of_cpu_is_of_what_was_spent_between(after, share):
    assert least_share({1: 1.0, 2: 1.0}, after) == share


def test_cpu_is_known_for_each_worker(two: Running):
    assert two.pid is not None
    spent = cpu_by_worker(two.pid)
    assert len(spent) == 2
    assert all(seconds > 0 for seconds in spent.values())
