"""Listening sockets: bound once per worker, never shared with a stranger, handed on whole."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gateway import ports
from gateway.errors import StartError

HOST = "127.0.0.1"


@pytest.fixture
def closing() -> Iterator[list[ports.Sockets]]:
    groups: list[ports.Sockets] = []
    yield groups
    ports.close(groups)


def names(groups: list[ports.Sockets]) -> set[Any]:
    return {sock.getsockname() for group in groups for sock in group}


def test_a_free_port_is_the_same_for_all_workers(closing):
    closing += ports.bound("server", HOST, 0, 3)

    assert [len(group) for group in closing] == [1, 1, 1]
    (name,) = names(closing)
    assert name[1] > 0
    assert ports.shown(closing[0][0]) == f"http://{HOST}:{name[1]}"


def test_each_of_them_gets_callers_and_none_is_lost(closing):
    closing += ports.bound("server", HOST, 0, 2)
    for group in closing:
        group[0].listen(64)
    address = closing[0][0].getsockname()
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(address, timeout=2))
        counts = []
        for (sock,) in closing:
            counts.append(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted, _ = sock.accept()
                    accepted.close()
                    counts[-1] += 1
    assert sum(counts) == 40
    assert min(counts) > 0


@pytest.mark.parametrize("shares", [False, True])
def test_a_port_that_is_taken_is_refused_whoever_has_it(closing, shares):
    with socket.socket() as taken:
        if shares:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"^\[server\] {HOST}:{port}: .*server\.port"):
            ports.bound("server", HOST, port, 2)


def test_a_host_that_is_none_is_refused():
    with pytest.raises(StartError, match=r"^\[admin\] no\.such\.host\.invalid:1: "):
        ports.bound("admin", "no.such.host.invalid", 1)


def test_both_kinds_of_address_get_a_socket_of_their_own(closing):
    closing += ports.bound("server", "", 0, 2)

    assert {sock.family for group in closing for sock in group} >= {socket.AF_INET}
    assert len({name[1] for name in names(closing)}) == 1


@pytest.mark.parametrize(("had", "wants"), [(1, 3), (3, 1), (3, 2), (2, 2)])
def test_all_sockets_of_a_predecessor_find_a_worker(closing, had, wants):
    given = [group[0] for group in ports.bound("server", HOST, 0, had)]
    closing += ports.completed(given, wants)

    assert len(closing) == wants
    shared = [sock for group in closing for sock in group]
    assert all(group for group in closing)
    assert set(map(id, given)) <= set(map(id, shared))
    assert len(shared) == max(had, wants)
    assert len(names(closing)) == 1


def test_the_file_of_a_unix_socket_goes_with_its_owner_alone(tmp_path):
    path = tmp_path / "weir.sock"
    first = ports.UnixSocket.bound(str(path), 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.is_there()
    second = ports.UnixSocket(str(path), 0o660, first.sock.dup(), owns_file=False)
    second.close()
    assert path.exists()
    second.own()
    assert path.stat().st_mode & 0o777 == 0o660
    first.owns_file = False
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_a_unix_socket_takes_the_place_of_the_dead_alone(tmp_path):
    path = tmp_path / "weir.sock"
    dead = ports.UnixSocket.bound(str(path), 0o600)
    dead.sock.close()
    alive = ports.UnixSocket.bound(str(path), 0o600)
    assert not dead.is_there()
    dead.close()
    assert alive.is_there()
    with pytest.raises(StartError, match="a process listens there"):
        ports.UnixSocket.bound(str(path), 0o600)
    alive.close()
    path.write_text("mine")
    with pytest.raises(StartError, match="no socket"):
        ports.UnixSocket.bound(str(path), 0o600)
    with pytest.raises(StartError, match=r"No such file or directory; set server\.socket"):
        ports.UnixSocket.bound(str(tmp_path / "no" / "weir.sock"), 0o600)


def test_a_descriptor_becomes_a_socket_again(closing):
    (group,) = ports.bound("server", HOST, 0)
    name = group[0].getsockname()
    closing.append(ports.adopted([group[0].detach()]))

    assert closing[0][0].getsockname() == name
    assert closing[0][0].getblocking() is False
