from __future__ import annotations

import socket

import pytest

from gateway.testing import RawCaller, ScriptedUpstream, answers, exchange_bytes, sized


def test_connections_and_requests_are_kept_in_order():
    with ScriptedUpstream(answers(b"x")) as upstream:
        for target in (b"/1", b"/2"):
            with RawCaller(upstream.port) as caller:
                caller.request(b"GET", target)
                caller.answer()
                caller.request(b"GET", target + b"/again")
                caller.answer()

    assert [request.target for request in upstream.requests] == [
        b"/1",
        b"/1/again",
        b"/2",
        b"/2/again",
    ]
    assert [connection.served for connection in upstream.connections] == [2, 2]


def test_it_listens_on_a_unix_socket_too():
    with ScriptedUpstream(answers(b"x"), unix=True) as upstream:
        assert upstream.provider()["socket"] == upstream.socket_path
        with RawCaller(str(upstream.socket_path)) as caller:
            caller.request(b"GET", b"/")
            assert caller.answer().body == b"x"


def test_an_idle_connection_is_closed_when_told_so():
    with ScriptedUpstream(answers(b"x"), idle=lambda: 0.05) as upstream:
        with RawCaller(upstream.port) as caller:
            caller.request(b"GET", b"/")
            caller.answer()
            assert caller.ending() == "fin"

    assert upstream.connections[0].unread == 0


def test_bytes_that_come_after_a_hang_up_are_reset_and_not_counted():
    def hangs_up(visit):
        visit.send(sized(b"x"))
        visit.pause(0.1)
        visit.connection.hang_up()

    with ScriptedUpstream(hangs_up) as upstream, RawCaller(upstream.port) as caller:
        caller.request(b"GET", b"/")
        caller.answer()
        caller.send(b"12345")
        assert caller.ending() in ("fin", "reset")
        caller.send(b"67890")

    assert upstream.connections[0].unread == 5


def test_a_script_that_fails_fails_the_test():
    def broken(visit):
        raise LookupError("the script's own fault")

    upstream = ScriptedUpstream(broken)
    upstream.__enter__()
    assert exchange_bytes(upstream.port, b"GET / HTTP/1.1\r\n\r\n") == b""

    with pytest.raises(LookupError):
        upstream.__exit__(None, None, None)


def test_nothing_is_left_when_it_ends():
    with ScriptedUpstream(lambda visit: visit.wait_gone()) as upstream:
        port = upstream.port
        caller = RawCaller(port)
        caller.request(b"GET", b"/")
        upstream.wait_for_requests(1)

    assert caller.ending() in ("fin", "reset")
    caller.leave()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
