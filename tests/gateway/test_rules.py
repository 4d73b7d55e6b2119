from __future__ import annotations

from typing import Any

import pytest

from gateway.config import Admin, Config, GatewayConfig, Limits, ProviderConfig, Server
from gateway.convert import Problem
from gateway.rules import (
    MAY_BE_ZERO,
    RESERVED_GATEWAYS,
    RESERVED_SLUGS,
    is_loopback,
    problems_of,
    warnings_of,
)
from gateway.units import Duration, Size

HOST = "wanted a host name or address without scheme, port or path, given "
NAME = "wanted a name of lower-case letters, digits, - and _, at most 64 long"


def problems(**parts: object) -> list[str]:
    return [str(problem) for problem in problems_of(Config(**parts))]  # type: ignore[arg-type]


def server(**parts: object) -> list[str]:
    return problems(server=Server(**parts))  # type: ignore[arg-type]


def provider(**parts: object) -> list[str]:
    return problems(providers={"mine": ProviderConfig(**parts)})  # type: ignore[arg-type]


def test_the_defaults_break_no_rule_and_give_no_warning():
    assert problems() == []
    assert list(warnings_of(Config())) == []


def test_a_state_directory_needs_a_name():
    assert problems(state_dir=" ") == ["state_dir: wanted a directory, given an empty text"]


def test_a_plugin_is_enabled_once_and_by_a_name():
    assert problems(enabled=("a", "", "a", "b")) == [
        "enabled[1]: wanted a plugin's name, given an empty text",
        'enabled[2]: "a" is there twice',
    ]
    gateways = {"staging": GatewayConfig(enabled=("a", "a"))}
    assert problems(gateways=gateways) == ['[gateways.staging] enabled[1]: "a" is there twice']


@pytest.mark.parametrize(
    "host", ["localhost", "example.com", "a_b.internal", "0.0.0.0", "::", "[::1]", "10.0.0.1", "a."]
)
def test_hosts_that_can_be_listened_on(host):
    assert server(host=host) == []


@pytest.mark.parametrize(
    "host", ["", "http://a", "a:80", "a/b", "a b", "-a", "a..b", "ü.example", "*", "a\n"]
)
def test_what_is_no_host_is_refused(host):
    for key in ("server", "admin"):
        struct = Server(host=host) if key == "server" else Admin(host=host)
        assert problems(**{key: struct}) == [f'[{key}] host: {HOST}"{host}"']


def test_allowed_hosts_are_names_or_a_star():
    hosts = ("*", "a.example", "http://b")
    assert server(allowed_hosts=hosts) == [f'[server] allowed_hosts[2]: {HOST}"http://b"']
    assert problems(admin=Admin(allowed_hosts=("x:1",))) == [
        f'[admin] allowed_hosts[0]: {HOST}"x:1"',
    ]


@pytest.mark.parametrize(
    "origin", ["*", "https://a.example", "http://localhost:3000", "https://[::1]:1", "app://x"]
)
def test_origins_that_a_browser_sends(origin):
    assert server(allowed_origins=(origin,)) == []


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "a.example",
        "https://a.example/",
        "https://a/b",
        "https://u@a",
        "https://a:0",
        "null",
        "https://a:99999",
        "https://",
        "https://a?x",
        "https://a#x",
        "https://[::1",
    ],
)
def test_what_is_no_origin_is_refused(origin):
    assert server(allowed_origins=(origin,)) == [
        (
            '[server] allowed_origins[0]: wanted "scheme://host" or "scheme://host:port", '
            f'given "{origin}"'
        )
    ]


def test_a_prefix_ends_in_a_dash_and_is_lower_case():
    assert server(header_prefixes=("x-", "x-my-gateway-")) == []
    assert server(header_prefixes=()) == ["[server] header_prefixes: wanted at least one prefix"]
    for bad in ("weir", "Weir-", "-", "we ir-", "weir:-", ""):
        assert server(header_prefixes=(bad,)) == [
            (
                '[server] header_prefixes[0]: wanted a lower-case prefix that ends in "-", '
                f'such as "weir-", given "{bad}"'
            )
        ]


@pytest.mark.parametrize(
    ("callers", "operators", "clash"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80), True),
        (("0.0.0.0", 80), ("127.0.0.1", 80), True),
        (("10.0.0.1", 80), ("::", 80), True),
        (("127.0.0.1", 80), ("127.0.0.1", 81), False),
        (("10.0.0.1", 80), ("127.0.0.1", 80), False),
        (("127.0.0.1", 0), ("127.0.0.1", 0), False),
    ],
)
def test_two_listeners_do_not_share_a_port(callers, operators, clash):
    found = problems(server=Server(*callers), admin=Admin(*operators))
    text = "[admin] port: 80 is the callers' port (server.port) already"
    assert found == ([text] if clash else [])


def test_only_what_says_so_may_be_zero():
    zeros: dict[str, Any] = {
        name: type(value)(0)
        for name in Limits.__struct_fields__
        if isinstance(value := getattr(Limits(), name), Duration | Size)
    }
    refused = [problem.path for problem in problems_of(Config(limits=Limits(**zeros)))]
    assert refused == [("limits", name) for name in zeros if name not in MAY_BE_ZERO]
    assert provider(idle_timeout=Duration(0)) == [
        "[providers.mine] idle_timeout: wanted more than 0",
    ]
    assert server(drain_timeout=Duration(0)) == []


def test_every_name_that_may_be_zero_is_a_key():
    assert set(Limits.__struct_fields__) | set(Server.__struct_fields__) >= MAY_BE_ZERO


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "http://localhost:11434/v1",
        "https://{region}-x.example/v1/",
        "http://[::1]:8000",
        "https://a.example/openai/deployments",
    ],
)
def test_base_urls_that_can_be_reached(url):
    assert provider(base_url=url) == []


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://a", 'wanted an http:// or https:// URL, given "ftp://a"'),
        ("api.example.com", 'wanted an http:// or https:// URL, given "api.example.com"'),
        ("", 'wanted an http:// or https:// URL, given ""'),
        ("https://", 'wanted a URL with a host, given "https://"'),
        ("https://:80", 'wanted a URL with a host, given "https://:80"'),
        ("https://a:0", 'wanted a URL with a host, given "https://a:0"'),
        ("https://a?x=1", 'wanted a URL without query or fragment, given "https://a?x=1"'),
        ("https://a/?", 'wanted a URL without query or fragment, given "https://a/?"'),
        ("https://a#x", 'wanted a URL without query or fragment, given "https://a#x"'),
        ("https://a/b c", 'wanted printable ASCII without spaces, given "https://a/b c"'),
        ("https://a/ü", 'wanted printable ASCII without spaces, given "https://a/ü"'),
        ("https://a:port", "not a URL: Port could not be cast to integer value as 'port'"),
        ("https://u:p@a", "wanted no user or password in the URL; use api_key"),
        ("https://key@a", "wanted no user or password in the URL; use api_key"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused(url, text):
    assert provider(base_url=url) == [f"[providers.mine] base_url: {text}"]


@pytest.mark.parametrize("dialect", ["openai", "openai_responses", "my.module:Reader"])
def test_dialects_are_names_or_places(dialect):
    assert provider(dialect=dialect) == []


@pytest.mark.parametrize("dialect", ["", "Open AI", "module:", ":name", "a/b"])
def test_what_names_no_dialect_is_refused(dialect):
    assert provider(dialect=dialect) == [
        f'[providers.mine] dialect: wanted a dialect\'s name or "module:name", given "{dialect}"'
    ]


def test_empty_paths_are_refused():
    keys = ("socket", "ca_file", "client_cert", "client_key")
    assert provider(**dict.fromkeys(keys, "")) == [
        f"[providers.mine] {key}: wanted a path, given an empty text" for key in keys
    ]


@pytest.mark.parametrize(
    ("table", "limits", "bound"),
    [
        ({"warm": 64}, {}, ""),
        ({"warm": 65}, {}, "limits.idle_upstream_max, 64"),
        ({"warm": 4}, {"origin_connections_max": 3}, "limits.origin_connections_max, 3"),
        ({"warm": 4, "connections_max": 3}, {}, "connections_max, 3"),
        ({"warm": 4, "connections_max": 4}, {"origin_connections_max": 3}, ""),
    ],
)
def test_no_more_connections_are_kept_ready_than_there_may_be(table, limits, bound):
    found = problems(providers={"mine": ProviderConfig(**table)}, limits=Limits(**limits))
    expected = f"[providers.mine] warm: wanted at most {bound}; raise that first"
    assert found == ([expected] if bound else [])


@pytest.mark.parametrize("name", sorted(RESERVED_SLUGS))
def test_reserved_first_segments_name_no_provider(name):
    assert problems(providers={name: ProviderConfig()}) == [
        f'[providers] {name}: "{name}" is reserved; choose another name'
    ]


@pytest.mark.parametrize("name", sorted(RESERVED_GATEWAYS))
def test_reserved_names_name_no_gateway(name):
    assert problems(gateways={name: GatewayConfig()}) == [
        f'[gateways] {name}: "{name}" is reserved; choose another name'
    ]


@pytest.mark.parametrize("name", ["", "A", "a.b", "a/b", "-a", "..", "a" * 65, "ü", "a b", "a\n"])
def test_names_are_plain_path_segments(name):
    assert problems(providers={name: ProviderConfig()}) == [f"[providers] {name}: {NAME}"]
    assert problems(gateways={name: GatewayConfig()}) == [f"[gateways] {name}: {NAME}"]


@pytest.mark.parametrize("name", ["a", "google-ai-studio", "my_provider", "0x", "a" * 64])
def test_good_names_pass(name):
    assert problems(providers={name: ProviderConfig()}, gateways={name: GatewayConfig()}) == []


def test_a_host_selects_one_gateway():
    gateways = {
        "a": GatewayConfig(hosts=("one.example", "two.example")),
        "b": GatewayConfig(hosts=("TWO.example", "b/ad")),
    }
    assert problems(gateways=gateways) == [
        f'[gateways.b] hosts[1]: {HOST}"b/ad"',
        '[gateways.b] hosts[0]: "TWO.example" selects gateway "a" already',
    ]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("a.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("localhost.example", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host, loopback):
    assert is_loopback(host) is loopback


def warnings(**parts: object) -> list[Problem]:
    return list(warnings_of(Config(**parts)))  # type: ignore[arg-type]


def test_an_open_listener_without_names_is_warned_about_and_allowed():
    config = {"server": Server(host="0.0.0.0")}
    (warning,) = warnings(**config)
    assert str(warning) == (
        "[server] host: 0.0.0.0 is not a loopback address and allowed_hosts is empty: callers "
        "must name the bound host itself; list the names they use"
    )
    assert problems(**config) == []
    assert warnings(server=Server(host="0.0.0.0", allowed_hosts=("a.example",))) == []


def test_what_callers_connect_by():
    assert (
        server(socket="/run/a.sock", socket_mode="660", cors_origins=("https://a.example",)) == []
    )
    assert server(trusted_proxies=("10.0.0.0/8", "::1", "unix"), proxy_protocol=True) == []
    assert server(tls_cert="cert.pem", tls_key="key.pem") == []


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"socket_mode": "rw"}, 'socket_mode: wanted a file mode such as "0660", given "rw"'),
        ({"tls_cert": "a"}, "tls_key: missing; tls_cert is of no use without it"),
        ({"tls_key": "a"}, "tls_cert: missing; tls_key is of no use without it"),
        (
            {"trusted_proxies": ("::1", "10.0.0.1/8")},
            (
                'trusted_proxies[1]: wanted a network such as "10.0.0.0/8", or "unix" '
                "(10.0.0.1/8 has host bits set)"
            ),
        ),
        (
            {"proxy_protocol": True},
            "proxy_protocol: nobody would be believed; list the proxies in server.trusted_proxies",
        ),
        (
            {"cors_origins": ("a.example",)},
            'cors_origins[0]: wanted "scheme://host" or "scheme://host:port", given "a.example"',
        ),
    ],
)
def test_what_callers_cannot_connect_by(parts, expected):
    assert server(**parts) == [f"[server] {expected}"]
