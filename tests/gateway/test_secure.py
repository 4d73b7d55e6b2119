"""Callers over TLS and on the Unix socket: their ends are as truthful as those of plain TCP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    chunk,
    head,
    running_gateway,
)
from tests.gateway.secured import GET, config, everything, secured, written


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(upstream, authority, tmp_path_factory) -> Iterator[RunningGateway]:
    settings = config(upstream, written(authority, tmp_path_factory.mktemp("secure")))
    with running_gateway(settings) as gateway:
        yield gateway


# What cannot be reset cannot tell an HTTP/1.0 caller of a cut.
def test_http_1_0_is_not_spoken_where_a_cut_could_not_be_seen(upstream, tmp_path):
    path = str(tmp_path / "weir.sock")
    request = b"GET /openai/v1/models HTTP/1.0\r\nHost: localhost\r\n\r\n"
    with running_gateway(config(upstream, {"socket": path})) as gateway:
        with RawCaller(path) as caller:
            caller.send(request)
            assert caller.answer().status == 505
        with RawCaller(gateway.port) as caller:
            caller.send(request)
            assert caller.answer().status == 200


def test_a_caller_on_the_unix_socket_is_seen_leaving_while_its_body_waits(tmp_path):
    left = threading.Event()

    def script(visit):
        left.wait(10)  # reads nothing, so that the caller's body is held back

    with ScriptedUpstream(script) as upstream:
        path = str(tmp_path / "weir.sock")
        with running_gateway(config(upstream, {"socket": path})):
            caller = RawCaller(path, timeout_s=1)
            fields = (b"Content-Length", b"100000000")
            caller.request(b"POST", b"/openai/v1/files", fields)
            with pytest.raises(TimeoutError):
                caller.send(b"x" * 99_000_000)
            caller.leave()
            upstream.connections[0].wait_gone(5)
            left.set()


def unframed(go: threading.Event) -> Any:
    """Give a script whose chunked answer waits in its middle, and is then cut."""

    def script(visit):
        visit.read()
        visit.send(head(200, (b"Transfer-Encoding", b"chunked")) + chunk(b"half"))
        visit.wait(go)
        if visit.request.target.endswith(b"whole"):
            visit.send(chunk(b""))
        else:
            visit.reset()

    return script


def test_an_http_1_0_caller_over_tls_can_tell_a_cut_from_an_end(authority, tmp_path):
    go = threading.Event()
    with ScriptedUpstream(unframed(go)) as upstream:
        with running_gateway(config(upstream, written(authority, tmp_path))) as gateway:
            go.set()
            with secured(gateway, authority) as caller:
                caller.sendall(b"GET /openai/whole HTTP/1.0\r\nHost: localhost\r\n\r\n")
                assert everything(caller).endswith(b"\r\n\r\nhalf")
            go.clear()
            with secured(gateway, authority) as caller:
                caller.sendall(b"GET /openai/cut HTTP/1.0\r\nHost: localhost\r\n\r\n")
                data = b""
                while not data.endswith(b"half"):
                    data += caller.recv(65536)
                go.set()
                with pytest.raises(OSError):  # a reset, or an end without close_notify
                    assert caller.recv(65536) != b"", "close_notify behind a cut answer"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("https://localhost/openai/v1/models", 200),
        ("HTTPS://localhost:8443/openai/v1/models?a=1", 200),
        # What a client calls its connection to us is its own affair, as it is for nginx.
        ("http://localhost/openai/v1/models", 200),
        ("https://evil.example/openai/v1/models", 403),
        ("https://localhost", 400),
        ("https:/localhost/openai/v1/models", 400),
        ("ftp://localhost/openai/v1/models", 400),
    ],
)
def test_a_whole_url_may_be_the_target_over_tls(secure, authority, upstream, target, status):
    upstream.forget()
    request = f"GET {target} HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
    with secured(secure, authority) as caller:
        caller.sendall(request.encode())
        assert everything(caller).startswith(b"HTTP/1.1 %d " % status)
    paths = [target.partition("localhost")[2].removeprefix(":8443")] if status == 200 else []
    assert [each.target.decode() for each in upstream.requests] == [
        path.removeprefix("/openai") for path in paths
    ]


def test_in_the_clear_no_url_is_taken_that_promises_tls(upstream):
    with running_gateway(config(upstream, {})) as gateway, RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"https://localhost/openai/v1/models")
        assert caller.answer().status == 400


def test_an_early_answer_over_tls_is_whole_while_the_upload_goes_on(authority, tmp_path):
    """A close over what was not read yet would reset the connection, and the answer with it."""
    answer = b"x" * 30_000
    go_on = threading.Event()

    def script(visit):
        visit.send(head(429, (b"Content-Length", b"%d" % len(answer))) + answer)
        go_on.wait(10)

    with ScriptedUpstream(script) as upstream:
        settings = config(upstream, written(authority, tmp_path), linger_timeout="30s")
        with running_gateway(settings) as gateway:
            with secured(gateway, authority) as caller:
                size = 8_000_000
                caller.sendall(
                    b"POST /openai/x HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Length: %d\r\n\r\n" % size
                )
                for _ in range(15):  # it reads only then
                    time.sleep(0.1)
                    caller.sendall(b"x" * (size // 80))
                found = b""
                while not found.endswith(b"\r\n\r\n" + answer):
                    piece = caller.recv(65536)
                    assert piece, found
                    found += piece
            go_on.set()


def test_a_refused_upload_over_tls_gets_its_answer(upstream, authority, tmp_path):
    settings = config(upstream, written(authority, tmp_path), body_bytes_max="1KB")
    with running_gateway(settings) as gateway, secured(gateway, authority) as caller:
        caller.sendall(
            b"POST /openai/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
        )
        for _ in range(9):
            time.sleep(0.05)
            caller.sendall(b"x" * 1111)  # on a closed socket the second one would be a reset
        assert everything(caller).startswith(b"HTTP/1.1 413 ")


def test_a_closed_tls_caller_that_says_nothing_holds_no_drain_up(upstream, authority, tmp_path):
    with running_gateway(config(upstream, written(authority, tmp_path))) as gateway:
        with secured(gateway, authority) as caller:
            caller.sendall(GET.replace(b"Connection: close\r\n", b""))
            assert caller.recv(65536).startswith(b"HTTP/1.1 200 ")
            since = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - since < 8  # of 30 s that a drain may take
