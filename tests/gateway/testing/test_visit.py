from __future__ import annotations

import hashlib
import threading

import pytest
import trustme

from gateway.testing import RawCaller, ScriptedUpstream, Tls, chunked, head, sized


def test_a_chunked_request_is_kept_raw_and_decoded():
    with ScriptedUpstream(lambda visit: visit.send(sized(visit.read()))) as upstream:
        with RawCaller(upstream.port) as caller:
            raw = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"ab", b"c")
            caller.send(raw)
            assert caller.answer().body == b"abc"

    request = upstream.requests[0]
    assert (bytes(request.raw), request.body, request.is_whole) == (raw, b"abc", True)


def test_an_unread_body_is_read_after_the_script_and_the_connection_goes_on():
    with ScriptedUpstream(lambda visit: visit.send(sized(b"early"))) as upstream:
        with RawCaller(upstream.port) as caller:
            for _ in range(2):
                caller.request(b"POST", b"/", body=b"x" * 100_000)
                assert caller.answer().body == b"early"

                upstream.wait_for(lambda: all(request.is_whole for request in upstream.requests))

    assert [request.body for request in upstream.requests] == [b"x" * 100_000] * 2


def test_a_large_body_need_not_be_kept():
    seen = hashlib.sha256()

    def hashes(visit):
        for piece in visit.request.pieces():
            seen.update(piece)
        visit.send(sized(b""))

    body = b"0123456789" * 100_000
    with ScriptedUpstream(hashes, keeps_bodies=False) as upstream:
        with RawCaller(upstream.port) as caller:
            caller.request(b"POST", b"/", body=body)
            caller.answer()

    assert upstream.requests[0].body == b""
    assert seen.digest() == hashlib.sha256(body).digest()


def test_a_script_waits_for_the_test():
    go = threading.Event()

    def waits(visit):
        visit.send(head(200, (b"Content-Length", b"2")))
        visit.wait(go)
        visit.send(b"ok")

    with ScriptedUpstream(waits) as upstream, RawCaller(upstream.port) as caller:
        caller.request(b"GET", b"/")
        assert caller.answer_head().status == 200
        go.set()
        assert b"".join(caller.wire.sized(2)) == b"ok"


def test_the_callers_leaving_is_stamped_while_the_script_does_not_read():
    with ScriptedUpstream(lambda visit: visit.wait_gone()) as upstream:
        with RawCaller(upstream.port) as caller:
            caller.request(b"POST", b"/", body=b"x" * 10)
            upstream.wait_for_requests(1)
        assert upstream.connections[0].wait_gone(2) > upstream.requests[0].arrived_ns


@pytest.mark.parametrize(("how", "is_clean"), [("fin", False), ("close_notify", True)])
def test_tls_ends_with_or_without_its_close_notify(how, is_clean, tmp_path):
    import socket
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def ends(visit):
        visit.read()
        visit.send(b"answer")
        getattr(visit, how)()

    with ScriptedUpstream(ends, tls=Tls(context, str(tmp_path / "ca.pem"))) as upstream:
        trusting = ssl.create_default_context(cafile=upstream.provider()["ca_file"])
        plain = socket.create_connection(("127.0.0.1", upstream.port), 5)
        # Without suppress_ragged_eofs a missing close_notify is an error, as it should be.
        with trusting.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert sock.recv(100) == b"answer"
            try:
                clean = sock.recv(100) == b""
            except ssl.SSLEOFError:
                clean = False

    assert clean is is_clean
