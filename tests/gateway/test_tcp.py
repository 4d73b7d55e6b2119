"""What the kernel tells about a connection."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.tcp import bytes_acked, is_gone, reset, round_trip_ns, unread, unsent
from tests.gateway.ends import Listening, run, until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def comes_true(true: Callable[[], bool]) -> bool:
    """Wait a moment for the kernel."""
    patient_until = time.monotonic() + 2
    while not true() and time.monotonic() < patient_until:
        time.sleep(0.002)
    return true()


def test_the_syn_is_the_first_byte_acknowledged(pair):
    assert bytes_acked(pair[0]) == 1


def test_what_the_other_kernel_took_is_acknowledged_though_nobody_read_it(pair):
    ours, _ = pair
    ours.sendall(b"x" * 1000)

    assert comes_true(lambda: bytes_acked(ours) == 1001)


def test_what_comes_in_counts_for_nothing(pair):
    ours, theirs = pair
    theirs.sendall(b"x" * 1000)
    assert ours.recv(1000, socket.MSG_WAITALL) == b"x" * 1000

    assert bytes_acked(ours) == 1


def test_a_closed_kernel_acknowledges_nothing(pair):
    ours, theirs = pair
    theirs.close()
    assert comes_true(lambda: is_gone(ours))
    before = bytes_acked(ours)
    ours.send(b"x" * 1000)
    time.sleep(0.02)

    assert bytes_acked(ours) == before


def test_an_open_connection_is_not_gone(pair):
    ours, theirs = pair
    theirs.sendall(b"unread")

    assert not is_gone(ours)
    assert not is_gone(theirs)


def test_a_close_is_seen_behind_unread_bytes(pair):
    ours, theirs = pair
    theirs.sendall(b"unread")
    theirs.close()

    assert comes_true(lambda: is_gone(ours))
    assert ours.recv(100) == b"unread"


def test_a_half_close_is_seen(pair):
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)

    assert comes_true(lambda: is_gone(ours))


def test_a_reset_is_seen_behind_unread_bytes(pair):
    ours, theirs = pair
    theirs.sendall(b"unread")
    reset(theirs)
    theirs.close()

    assert comes_true(lambda: is_gone(ours))


def test_our_own_half_close_is_no_leaving(pair):
    ours, _ = pair
    ours.shutdown(socket.SHUT_WR)
    time.sleep(0.01)

    assert not is_gone(ours)


def test_a_reset_reaches_the_other_end_as_one(pair):
    ours, theirs = pair
    reset(ours)
    ours.close()

    with pytest.raises(ConnectionResetError) as caught:
        theirs.recv(1)
    assert caught.value.errno == errno.ECONNRESET


def test_a_reset_throws_away_what_the_other_end_does_not_take(pair):
    """A plain close would leave megabytes in the kernel, and its FIN behind them."""
    ours, theirs = pair
    ours.settimeout(0.05)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += ours.send(b"x" * 65536)
    reset(ours)
    ours.close()
    assert comes_true(lambda: is_gone(theirs))

    received = 0
    with contextlib.suppress(ConnectionResetError):
        while data := theirs.recv(65536):
            received += len(data)
    assert received < sent


def test_what_the_other_end_has_no_room_for_is_unsent_and_what_it_has_is_not(pair):
    ours, theirs = pair
    ours.sendall(b"x" * 1000)
    assert comes_true(lambda: unsent(ours) == 0)
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 100_000)
    assert unsent(ours) > 0
    theirs.settimeout(2)
    before = unsent(ours)
    while unsent(ours) >= before:
        theirs.recv(1_000_000)
    assert unsent(ours) < before


def test_what_came_and_nobody_read_is_unread_and_an_end_is_no_byte(pair):
    ours, theirs = pair
    assert unread(ours) == 0
    theirs.sendall(b"x" * 10)
    assert comes_true(lambda: unread(ours) == 10)
    ours.recv(4)
    theirs.close()
    assert comes_true(lambda: is_gone(ours))
    assert unread(ours) == 6
    ours.recv(6)
    assert unread(ours) == 0


def test_a_round_trip_on_one_machine_takes_less_than_a_second_and_some_time(pair):
    pair[0].sendall(b"x" * 1000)
    assert comes_true(lambda: 0 < round_trip_ns(pair[0]) < 1_000_000_000)


def test_a_socket_that_is_closed_can_be_asked_and_told(pair):
    ours, _ = pair
    ours.close()
    reset(ours)

    assert bytes_acked(ours) is None
    assert (unread(ours), unsent(ours), round_trip_ns(ours)) == (0, 0, 0)
    assert is_gone(ours) is False


def test_a_unix_socket_knows_only_who_is_gone():
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"unread")
        assert is_gone(ours) is False
        theirs.close()

        assert bytes_acked(ours) is None
        assert is_gone(ours) is True


def test_a_udp_socket_is_none_of_the_kinds_known():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert bytes_acked(sock) is None
        assert is_gone(sock) is False


def test_a_transports_socket_can_be_asked_too():
    """The loop hands out the socket of a transport, not the one that it was made of."""

    async def story() -> int | None:
        listening = Listening()
        _, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        theirs = await listening.accept()
        writer.write(b"12345")
        sock = writer.get_extra_info("socket")
        await until(lambda: bytes_acked(sock) != 1)
        theirs.close()
        await until(lambda: is_gone(sock))
        writer.close()
        return bytes_acked(sock)

    assert run(story()) in (6, 7)  # the last one is the FIN
