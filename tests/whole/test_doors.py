"""A web page on this machine cannot spend the operator's keys: Host list, Origin rule, token."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    running_gateway,
)


@pytest.fixture(scope="module")
def gateway(upstream) -> Iterator[RunningGateway]:
    config = {
        "providers": {"openai": upstream.provider()},
        "server": {
            "allowed_hosts": ["gateway.example"],
            "allowed_origins": ["https://app.example"],
        },
        "admin": {"allowed_hosts": ["admin.example"]},
    }
    with running_gateway(config) as gateway:
        yield gateway


def status(port: int, host: bytes, *fields: tuple[bytes, bytes], path: bytes = b"/openai/x") -> int:
    with RawCaller(port) as caller:
        caller.request(b"GET", path, *fields, host=host)
        return caller.answer().status


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"localhost", 200),
        (b"LocalHost:8080", 200),
        (b"localhost:1", 200),
        (b"my.localhost", 200),
        (b"127.0.0.1", 200),
        (b"127.1.2.3:80", 200),
        (b"[::1]:8080", 200),
        (b"gateway.example", 200),
        (b"GATEWAY.example:443", 200),
        (b"evil.example", 403),
        (b"localhost.evil.example", 403),
        (b"127.0.0.1.evil.example", 403),
        (b"notlocalhost", 403),
        (b"sub.gateway.example", 403),
        (b"192.0.2.1", 403),
        (b"[2001:db8::1]", 403),
        (b"0x7f.1", 403),
    ],
)
def test_only_known_hosts_are_served(upstream, gateway, host, expected):
    upstream.forget()

    assert status(gateway.port, host) == expected
    assert len(upstream.requests) == (expected == 200)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], 200),
        ([(b"Origin", b"https://app.example")], 200),
        ([(b"Origin", b"http://localhost:8080")], 200),
        ([(b"Sec-Fetch-Site", b"same-origin")], 200),
        ([(b"Sec-Fetch-Site", b"none")], 200),
        ([(b"Sec-Fetch-Site", b"cross-site"), (b"Origin", b"https://app.example")], 200),
        ([(b"Origin", b"https://evil.example")], 403),
        ([(b"Origin", b"http://app.example")], 403),
        ([(b"Origin", b"https://app.example.evil.example")], 403),
        ([(b"Origin", b"http://localhost:9999")], 403),
        ([(b"Origin", b"null")], 403),
        ([(b"Sec-Fetch-Site", b"cross-site")], 403),
        ([(b"Origin", b"https://app.example"), (b"Origin", b"https://evil.example")], 403),
        ([(b"Origin", b"https://evil.example"), (b"Origin", b"https://app.example")], 403),
    ],
)
def test_a_page_of_another_origin_is_refused(upstream, gateway, fields, expected):
    upstream.forget()

    assert status(gateway.port, b"localhost:8080", *fields) == expected
    assert len(upstream.requests) == (expected == 200)


def test_a_star_switches_the_host_list_off(upstream):
    config = {
        "providers": {"openai": upstream.provider()},
        "server": {"allowed_hosts": ["*"]},
    }
    with running_gateway(config) as gateway:
        assert status(gateway.port, b"anything.example") == 200


def test_a_gateways_own_hosts_are_served(upstream):
    config = {
        "providers": {"openai": upstream.provider()},
        "gateways": {"team": {"hosts": ["team.example"]}},
    }
    with running_gateway(config) as gateway:
        assert status(gateway.port, b"team.example") == 200
        assert status(gateway.port, b"other.example") == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"localhost", 200),
        (b"admin.example", 200),
        (b"gateway.example", 403),
        (b"evil.example", 403),
    ],
)
def test_the_admin_listener_has_its_own_host_list(gateway, host, expected):
    assert status(gateway.admin_port, host, path=b"/livez") == expected


def reload_status(gateway: RunningGateway, token: str | None, **fields: str) -> int:
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(
        gateway.admin_url + "/api/reload", method="POST", headers=fields
    )
    try:
        with urllib.request.urlopen(request) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_admin_api_always_wants_its_token(gateway):
    token = gateway.admin_token

    assert reload_status(gateway, None) == 401
    assert reload_status(gateway, "") == 401
    assert reload_status(gateway, token + "x") == 401
    assert reload_status(gateway, token[:-1]) == 401
    assert reload_status(gateway, token, Origin="https://evil.example") == 403
    assert reload_status(gateway, token) == 200


def test_the_token_is_readable_by_its_owner_only_and_in_no_log(gateway):
    file = gateway.folder / "state" / "admin.token"

    assert file.stat().st_mode & 0o777 == 0o600
    assert gateway.admin_token not in gateway.stderr


def test_probes_need_no_token(gateway):
    for path in (b"/livez", b"/readyz", b"/healthz"):
        assert status(gateway.admin_port, b"localhost", path=path) == 200


def test_nothing_of_the_admin_api_is_on_the_callers_port(gateway):
    for path in (b"/livez", b"/readyz", b"/api/reload", b"/metrics"):
        assert status(gateway.port, b"localhost", path=path) == 404
