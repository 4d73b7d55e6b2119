"""The doors that callers come in by, each with real sockets and a gateway in its own process."""

from __future__ import annotations

import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request

import orjson
import pytest
import trustme

from gateway.testing import (
    RawCaller,
    RunningGateway,
    StartFailed,
    running_gateway,
)
from tests.gateway.secured import GET, config, everything, secured, written

V1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 8080\r\n"
PROXIED = {"proxy_protocol": True, "trusted_proxies": ["127.0.0.0/8"]}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def peer_of(gateway: RunningGateway) -> str:
    """Give whom the access log says the latest exchange was for."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        lines = [line for line in gateway.log if "peer" in line and "outcome" in line]
        if lines:
            return str(lines[-1]["peer"])
        time.sleep(0.02)
    raise TimeoutError(gateway.quoted())


# -- the Unix socket -------------------------------------------------------------------------------


def test_a_unix_socket_serves_beside_the_port(upstream, tmp_path):
    path = tmp_path / "weir.sock"
    server = {"socket": str(path), "socket_mode": "0600"}
    with running_gateway(config(upstream, server)) as gateway:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for address in (str(path), gateway.port):
            with RawCaller(address) as caller:
                caller.request(b"GET", b"/openai/v1/models")
                assert caller.answer().status == 200
        assert gateway.stop() == 0
        assert not path.exists()


def test_a_dead_processes_socket_is_replaced_and_a_live_ones_is_not(upstream, tmp_path):
    path = tmp_path / "weir.sock"
    server = {"socket": str(path)}
    with running_gateway(config(upstream, server)) as killed:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        killed.kill()
        assert path.exists()
        with running_gateway(config(upstream, server)):
            with pytest.raises(StartFailed, match="a process listens there") as failed:
                with running_gateway(config(upstream, server)):
                    pass
            assert failed.value.code == 78
            with RawCaller(str(path)) as caller:
                caller.request(b"GET", b"/openai/v1/models")
                assert caller.answer().status == 200


def test_a_file_that_is_no_socket_is_left_alone(upstream, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(StartFailed, match="a file that is no socket"):
        with running_gateway(config(upstream, {"socket": str(path)})):
            pass
    assert path.read_text() == "mine"


# -- TLS -------------------------------------------------------------------------------------------


def test_the_port_speaks_tls_with_http_1_1_alone(upstream, authority, tmp_path):
    with running_gateway(config(upstream, written(authority, tmp_path))) as gateway:
        assert gateway.url.startswith("https://")
        with secured(gateway, authority) as caller:
            assert caller.selected_alpn_protocol() == "http/1.1"
            assert caller.version() in ("TLSv1.2", "TLSv1.3")
            caller.sendall(GET)
            assert everything(caller).startswith(b"HTTP/1.1 200 ")
        with RawCaller(gateway.port) as caller:  # in the clear
            caller.send(GET)
            assert b"HTTP/1.1 200 " not in caller.everything()


def test_tls_1_1_is_not_spoken(upstream, authority, tmp_path):
    with running_gateway(config(upstream, written(authority, tmp_path))) as gateway:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
            with pytest.raises(OSError):
                context.wrap_socket(sock)


def test_a_reload_takes_the_new_certificate_for_new_connections(upstream, authority, tmp_path):
    with running_gateway(config(upstream, written(authority, tmp_path))) as gateway:
        with secured(gateway, authority) as old:
            written(authority, tmp_path, "fresh.localhost")
            gateway.signal(signal.SIGHUP)
            gateway.wait_for_log("reloaded")
            with secured(gateway, authority, "fresh.localhost") as new:
                new.sendall(GET)
                assert b" 200 " in everything(new)
            old.sendall(GET)
            assert b" 200 " in everything(old)


def test_a_bad_pair_keeps_the_old_one_and_says_so(upstream, authority, tmp_path):
    with running_gateway(config(upstream, written(authority, tmp_path))) as gateway:
        other = authority.issue_cert("localhost")
        (tmp_path / "key.pem").write_bytes(other.private_key_pem.bytes())
        request = urllib.request.Request(
            gateway.admin_url + "/api/reload",
            method="POST",
            headers={"Authorization": f"Bearer {gateway.admin_token}"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value as answer:
            assert answer.code == 400
            assert "is not the key of the certificate" in orjson.loads(answer.read())["error"]
        assert "is not the key" in gateway.wait_for_log("reload_failed")["error"]
        with secured(gateway, authority) as caller:
            caller.sendall(GET)
            assert b" 200 " in everything(caller)


def test_a_handshake_that_does_not_come_is_given_up(upstream, authority, tmp_path):
    settings = config(upstream, written(authority, tmp_path), header_timeout="300ms")
    with running_gateway(settings) as gateway, RawCaller(gateway.port) as caller:
        assert caller.ending() in ("fin", "reset")
        assert gateway.wait_for_log("greeting_refused")["detail"] == "header_timeout"


# -- the PROXY protocol ----------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[V1 + GET], [V1[:9], V1[9:], GET]])
def test_a_trusted_proxy_says_who_calls(upstream, pieces):
    with running_gateway(config(upstream, PROXIED), plugins=["access_log"]) as gateway:
        with RawCaller(gateway.port) as caller:
            for piece in pieces:
                caller.send(piece)
                time.sleep(0.05)
            assert caller.answer().status == 200
        assert peer_of(gateway) == "203.0.113.7:4711"


def test_a_proxy_header_may_stand_before_tls(upstream, authority, tmp_path):
    server = PROXIED | written(authority, tmp_path)
    with running_gateway(config(upstream, server), plugins=["access_log"]) as gateway:
        with secured(gateway, authority, before=V1) as caller:
            caller.sendall(GET)
            assert everything(caller).startswith(b"HTTP/1.1 200 ")
        assert peer_of(gateway) == "203.0.113.7:4711"


@pytest.mark.parametrize("server", [{}, PROXIED | {"trusted_proxies": ["192.0.2.0/24"]}])
def test_whoever_is_not_trusted_is_refused_with_a_proxy_header(upstream, server):
    with running_gateway(config(upstream, server)) as gateway:
        with RawCaller(gateway.port) as caller:
            caller.send(V1 + GET)
            assert caller.answer().status == 400
        with RawCaller(gateway.port) as caller:
            caller.send(GET)
            assert caller.answer().status == 200


def test_a_trusted_proxy_without_the_header_is_refused(upstream):
    upstream.forget()
    with running_gateway(config(upstream, PROXIED)) as gateway, RawCaller(gateway.port) as caller:
        caller.send(GET)
        assert caller.everything() == b""
        assert gateway.wait_for_log("proxy_header_refused")["detail"] == "there is none"
    assert upstream.requests == []


def test_a_proxy_header_must_come_in_time(upstream):
    settings = config(upstream, PROXIED, header_timeout="300ms")
    with running_gateway(settings) as gateway, RawCaller(gateway.port) as caller:
        caller.send(V1[:9])
        assert caller.everything() == b""
        assert gateway.wait_for_log("greeting_refused")["detail"] == "header_timeout"


def test_only_so_many_may_wait_for_their_greeting(upstream):
    settings = config(upstream, PROXIED)
    settings["limits"] = {"connections_max": 2}
    with running_gateway(settings) as gateway:
        with RawCaller(gateway.port), RawCaller(gateway.port), RawCaller(gateway.port) as third:
            assert third.everything() == b""
            assert gateway.wait_for_log("connection_refused")["detail"] == "connections_max"


# -- what cannot work ------------------------------------------------------------------------------


def test_weir_check_tells_of_a_certificate_that_cannot_be_used(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        f'enabled = []\nstate_dir = "{tmp_path}"\n[server]\n'
        f'tls_cert = "{tmp_path}/no.pem"\ntls_key = "{tmp_path}/no.key"\n'
    )
    command = [sys.executable, "-m", "gateway", "check", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 78
    assert f"{file}:4: [server] tls_cert: {tmp_path}/no.pem: No such file" in done.stdout
