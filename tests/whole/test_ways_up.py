"""The ways to an upstream, as the operator of a running gateway sets them: proxies and warmth."""

from __future__ import annotations

import base64
import signal
import ssl

import pytest
import trustme

from gateway.testing import (
    RawCaller,
    RunningGateway,
    Script,
    ScriptedUpstream,
    StartFailed,
    Tls,
    Visit,
    answers,
    running_gateway,
)
from tests.gateway.forwarder import ESTABLISHED, Forwarder
from tests.gateway.frames import ASKING, MASK, TEXT, frame, read_frame, switch

PASSWORD = "open-sesame"
PAIR = f"somebody:{PASSWORD}"
BASIC = base64.b64encode(PAIR.encode()).decode()


@pytest.fixture(scope="module")
def up_example(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("up.example").configure_cert(context)
    ca_file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return Tls(context, str(ca_file))


def asked(gateway: RunningGateway, path: bytes = b"/openai/v1/models") -> tuple[int, bytes]:
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", path)
        answer = caller.answer()
        return answer.status, answer.body


def holds(gateway: RunningGateway, *answer: bytes) -> None:
    """Hold that no credential of the proxy is in the log or the answer."""
    for text in (gateway.stderr, *(piece.decode() for piece in answer)):
        assert PASSWORD not in text
        assert BASIC not in text
        assert "somebody" not in text


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_an_https_upstream_is_reached_through_the_environments_proxy(variable, up_example):
    with (
        ScriptedUpstream(answers(b"[]"), tls=up_example) as upstream,
        Forwarder(upstream.port, credentials=PAIR.encode()) as proxy,
        running_gateway(
            {"providers": {"openai": upstream.provider(base_url="https://up.example/v1")}},
            env={variable: f"http://{PAIR}@127.0.0.1:{proxy.port}"},
            plugins=["access_log"],
        ) as gateway,
    ):
        assert [asked(gateway) for _ in range(3)] == [(200, b"[]")] * 3
        gateway.wait_for_log("exchange", 3)
        holds(gateway)
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(b"CONNECT up.example:443 HTTP/1.1\r\n")
    assert [request.target for request in upstream.requests] == [b"/v1/models"] * 3


def test_what_is_excepted_or_on_this_machine_is_reached_directly():
    with (
        ScriptedUpstream(answers(b"[]")) as upstream,
        Forwarder(upstream.port) as proxy,
        running_gateway(
            {
                "providers": {
                    "openai": {"base_url": "http://up.example"},
                    "here": upstream.provider(),
                    "excepted": {"base_url": "http://127.0.0.1.invalid"},
                }
            },
            env={
                "http_proxy": f"http://127.0.0.1:{proxy.port}",
                "HTTPS_PROXY": "http://127.0.0.1:1",
                "NO_PROXY": "10.0.0.0/8, .invalid",
            },
        ) as gateway,
    ):
        assert asked(gateway) == (200, b"[]")
        assert asked(gateway, b"/here/models") == (200, b"[]")
        assert asked(gateway, b"/excepted/models")[0] == 502
    assert len(proxy.heads) == 1
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (None, "407 Proxy Authentication Required"),
        (b"HTTP/1.1 403 No\r\n\r\n", "403 Forbidden"),
        (b"HTTP/1.1 502 No\r\n\r\n", "502 Bad Gateway"),
    ],
)
def test_a_proxys_refusal_is_told_in_the_log_without_its_credentials(answer, phrase):
    with (
        Forwarder(credentials=b"" if answer else b"somebody:else", answer=answer) as proxy,
        running_gateway(
            {
                "proxy": "env:PROXY_URL",
                "providers": {"openai": {"base_url": "https://up.example"}},
            },
            env={"PROXY_URL": f"http://{PAIR}@127.0.0.1:{proxy.port}"},
            plugins=["access_log"],
        ) as gateway,
    ):
        status, body = asked(gateway)
        gateway.wait_for_log("exchange")
        assert phrase in gateway.stderr
        holds(gateway, body)
    assert status == 502
    assert phrase.encode() not in body
    assert proxy.heads[0].count(BASIC.encode()) == 1


def _greeted(visit: Visit) -> None:
    """Make the tunnel, and wait for the first bytes of TLS."""
    visit.read()
    visit.send(ESTABLISHED)
    next(visit.connection.wire.sized(5))


def ends(visit: Visit) -> None:
    _greeted(visit)
    visit.fin()


def resets(visit: Visit) -> None:
    _greeted(visit)
    visit.reset()


def babbles(visit: Visit) -> None:
    _greeted(visit)
    visit.send(b"HTTP/1.1 502 It is not there\r\n\r\n")
    visit.wait_gone()


def falls_silent(visit: Visit) -> None:
    _greeted(visit)
    visit.wait_gone()


@pytest.mark.parametrize("script", [ends, resets, babbles, falls_silent])
def test_a_proxy_that_fails_within_the_handshake_is_told_and_sees_no_secret(script: Script):
    with (
        ScriptedUpstream(script) as proxy,
        running_gateway(
            {
                "providers": {
                    "openai": {
                        "base_url": "https://up.example",
                        "api_key": "env:A_KEY",
                        "connect_timeout": "500ms",
                    }
                },
                "enabled": ["access_log", "credentials"],
            },
            env={"HTTPS_PROXY": f"http://{PAIR}@127.0.0.1:{proxy.port}", "A_KEY": "sk-one-of-ours"},
        ) as gateway,
    ):
        status, body = asked(gateway)
        line = gateway.wait_for_log("exchange")
        told = gateway.wait_for_log("exchange_failed")
        holds(gateway, body)
        (connection,) = proxy.connections
        proxy.wait_for(lambda: connection.is_ended or connection.gone_ns is not None)
        assert f"proxy 127.0.0.1:{proxy.port}" in told["detail"]
        assert gateway.crashes == []
    assert (status, line["error"]) == (502, "upstream_unreachable")
    for request in proxy.requests:
        assert request.target == b"up.example:443"
        assert b"sk-one-of-ours" not in request.raw


def test_a_certificate_must_name_the_provider_and_not_the_proxy(tls):
    """The one that is shown names the proxy, by an authority that is trusted."""
    with (
        ScriptedUpstream(answers(b"[]"), tls=tls) as upstream,
        Forwarder(upstream.port) as proxy,
        running_gateway(
            {"providers": {"openai": upstream.provider(base_url="https://up.example/v1")}},
            env={"HTTPS_PROXY": f"http://localhost:{proxy.port}"},
        ) as gateway,
    ):
        status, body = asked(gateway)
        detail = gateway.wait_for_log("exchange_failed")["detail"]
        assert gateway.crashes == []
    assert status == 502
    assert b"up.example" not in body
    assert "CERTIFICATE_VERIFY_FAILED" in detail
    assert "is not valid for 'up.example'" in detail
    assert len(proxy.heads) == 1
    assert upstream.requests == []


def test_a_websocket_goes_over_tls_through_a_proxy(up_example):
    def echoes_once(visit: Visit) -> None:
        visit.read()
        visit.send(switch(visit))
        visit.send(frame(*read_frame(visit.connection.wire)))
        visit.wait_gone()

    with (
        ScriptedUpstream(echoes_once, tls=up_example) as upstream,
        Forwarder(upstream.port, credentials=PAIR.encode()) as proxy,
        running_gateway(
            {"providers": {"openai": upstream.provider(base_url="https://up.example/v1")}},
            env={"HTTPS_PROXY": f"http://{PAIR}@127.0.0.1:{proxy.port}"},
            plugins=["access_log"],
        ) as gateway,
        RawCaller(gateway.port) as caller,
    ):
        caller.request(b"GET", b"/openai/v1/realtime", *ASKING)
        assert caller.wire.head().startswith(b"HTTP/1.1 101 ")
        caller.send(frame(TEXT, b"hello", mask=MASK))
        assert read_frame(caller.wire) == (TEXT, b"hello")
        caller.leave()
        upstream.connections[-1].wait_gone()
        assert gateway.wait_for_log("exchange")["outcome"] == "client_abort"
        holds(gateway)
    assert len(proxy.heads) == 1


def test_a_reload_reads_the_configurations_proxies_anew():
    with (
        ScriptedUpstream(answers(b"[]")) as upstream,
        Forwarder(upstream.port) as first,
        Forwarder(upstream.port) as second,
    ):
        table = {"base_url": "http://up.example"}
        first_url, second_url = (f"http://127.0.0.1:{proxy.port}" for proxy in (first, second))
        with running_gateway({"proxy": first_url, "providers": {"openai": table}}) as gateway:
            assert asked(gateway) == (200, b"[]")
            own = {"proxy": first_url, "providers": {"openai": {**table, "proxy": second_url}}}
            gateway.write_config(own)
            gateway.signal(signal.SIGHUP)
            gateway.wait_for_log("reloaded")
            assert asked(gateway) == (200, b"[]")
        assert (len(first.heads), len(second.heads)) == (1, 1)


@pytest.mark.parametrize("scheme", ["socks5", "https"])
def test_a_proxy_that_cannot_be_used_stops_the_start(scheme):
    with (
        pytest.raises(StartFailed) as caught,
        running_gateway({}, env={"HTTPS_PROXY": f"{scheme}://{PAIR}@127.0.0.1:1"}),
    ):
        pass
    assert caught.value.code == 78
    assert "HTTPS_PROXY" in caught.value.stderr
    assert PASSWORD not in caught.value.stderr


def test_connections_are_warm_from_the_start_and_let_go_at_the_end(tls):
    with (
        ScriptedUpstream(answers(b"[]"), tls=tls) as upstream,
        running_gateway({"providers": {"openai": upstream.provider(warm=3)}}) as gateway,
    ):
        upstream.wait_for(lambda: len(upstream.connections) == 3)
        assert upstream.requests == []
        assert asked(gateway) == (200, b"[]")
        assert upstream.requests[0].connection in upstream.connections[:3]
        gateway.write_config({"providers": {"openai": upstream.provider(warm=5)}})
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_log("reloaded")
        upstream.wait_for(lambda: len(upstream.connections) >= 5)
        assert gateway.stop() == 0
        for connection in upstream.connections:
            connection.wait_gone()
        assert "warm_failed" not in gateway.stderr
        assert gateway.crashes == []
