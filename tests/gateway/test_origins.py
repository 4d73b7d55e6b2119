"""Where requests go up: nobody but the row's author chooses the host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CallerFault
from gateway.origins import ORIGINS_MAX, Address, Origin, Pattern, quoted, refuse_climbing

VERTEX = "{api}/locations/{region}/*", "https://{region}-aiplatform.googleapis.com/**"


def pattern(form: str, url: str) -> Pattern:
    return Pattern(form, Address(url))


def located(form: str, url: str, path: bytes, account: str | None = None) -> tuple[str, bytes]:
    found = pattern(form, url).locate(path, account)
    assert found is not None
    return found[0].host, found[1]


@pytest.mark.parametrize(
    ("scheme", "host", "port", "host_header", "key"),
    [
        ("https", "api.openai.com", None, b"api.openai.com", "https://api.openai.com:443"),
        ("https", "api.openai.com", 443, b"api.openai.com", "https://api.openai.com:443"),
        ("http", "127.0.0.1", 11434, b"127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http", "localhost", 443, b"localhost:443", "http://localhost:443"),
        ("http", "::1", None, b"[::1]", "http://[::1]:80"),
        ("https", "::1", 8443, b"[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_an_origin_is_named_to_others_as_a_client_would(scheme, host, port, host_header, key):
    origin = Origin(scheme, host, port)
    assert (origin.host, origin.host_header, origin.key) == (host, host_header, key)


def test_only_tls_has_a_server_name_and_certificates():
    plain = Origin("http", "a.example", ca_file="/ca.pem")
    secure = Origin("https", "a.example", ca_file="/ca.pem")
    assert (plain.tls, plain.server_name, plain.ca_file) == (False, None, None)
    assert (secure.tls, secure.server_name, secure.ca_file) == (True, "a.example", "/ca.pem")


def test_connections_are_shared_only_where_everything_about_them_is_equal():
    origins = [
        Origin("http", "a.example"),
        Origin("https", "a.example"),
        Origin("https", "a.example", 8443),
        Origin("https", "a.example", ca_file="/ca.pem"),
        Origin("http", "a.example", socket="/run/a.sock"),
        Origin("http", "a.example", socket="/run/b.sock"),
        Origin("http", "b.example", socket="/run/b.sock"),
    ]
    assert len({origin.key for origin in origins}) == len(origins)


@pytest.mark.parametrize("url", ["ftp://a.example", "a.example", "https:///x", "http://h:99999/"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match=r"wanted an http|[Pp]ort"):
        Address(url).origin({})


@pytest.mark.parametrize(
    ("form", "url", "path", "host", "upward"),
    [
        (*VERTEX, b"v1/locations/eu-west4/m:g?alt=sse", "eu-west4-aiplatform.googleapis.com", None),
        (*VERTEX, b"v1/locations/EU-West4/", "eu-west4-aiplatform.googleapis.com", None),
        ("{r}/*", "https://{r}.example/base/*", b"a/b//c;d?", "a.example", b"/base/b//c;d?"),
        ("{r}/*", "https://{r}.example/base/*", b"a/", "a.example", b"/base/"),
        ("{r}/*", "https://{r}.example/*", b"a/b%2Fc%3fd", "a.example", b"/b%2Fc%3fd"),
        ("run/{r}", "https://m-{r}.example/go", b"run/x?y=z", "m-x.example", b"/go?y=z"),
        ("{r}/{m}/*", "https://{r}.example/{m}/*", b"a/g.4_1/x", "a.example", b"/g.4_1/x"),
        ("*", "https://a.example/x/*", b"", "a.example", b"/x/"),
        ("*", "https://a.example/x/*", b"?q", "a.example", b"/x/?q"),
    ],
)
def test_a_path_of_the_form_fills_the_address(form, url, path, host, upward):
    assert located(form, url, path) == (host, b"/" + path if upward is None else upward)


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ("run/{r}/*", b"walk/a/b"),
        ("run/{r}/*", b"run/a"),
        ("run/{r}/*", b"run//b"),
        ("run/{r}/*", b"run"),
        ("run/{r}", b"run/a/b"),
        ("run/{r}", b"run/a/"),
        ("run/{r}/*", b"run?x/a/b"),
        ("run/{r}/*", b"r%75n/a/b"),
        ("{r}/*", b""),
    ],
)
def test_a_path_of_another_form_is_left_to_others(form, path):
    assert pattern(form, "https://{r}.example/").locate(path, None) is None


@pytest.mark.parametrize(
    "region",
    [
        b"evil.example",
        b"evil.example%2f",
        b"evil.example%23",
        b"evil%2eexample",
        b"user@evil",
        b"a:80",
        b"a\\b",
        b"a_b",
        b"%61",
        b"\xff",
        b"a" * 64,
        b"..",
        b"[::1]",
        b"a\n",
        b"a;b",
        "\N{FULLWIDTH LATIN SMALL LETTER A}".encode(),
    ],
)
def test_no_path_can_steer_to_another_host(region):
    with pytest.raises(CallerFault) as caught:
        pattern(*VERTEX).locate(b"v1/locations/" + region + b"/x", None)
    assert (caught.value.status, caught.value.code) == (404, "bad_path")
    assert "{region}" in caught.value.message


@given(st.binary(max_size=80))
def test_whatever_the_path_the_host_ends_as_the_row_says(region):
    made = pattern("{region}/*", "https://x-{region}.example.com/*")
    try:
        found = made.locate(region + b"/x", None)
    except CallerFault:
        return
    if found is not None:
        host = found[0].host
        assert host.startswith("x-")
        assert host.endswith(".example.com")
        assert host.count(".") == 2


def test_the_account_comes_from_the_pattern_else_from_cloudflares_form():
    url = "https://a.example/{account}/*"
    assert located("*", url, b"x", "abc") == ("a.example", b"/abc/x")
    assert located("{account}/*", url, b"mine/x", "abc") == ("a.example", b"/mine/x")


@pytest.mark.parametrize("account", [None, ""])
def test_an_account_that_nobody_named_is_asked_for(account):
    with pytest.raises(CallerFault, match="base_url") as caught:
        pattern("*", "https://a.example/{account}/*").locate(b"x", account)
    assert (caught.value.status, caught.value.code) == (404, "no_account")


def test_an_account_cannot_climb():
    with pytest.raises(CallerFault, match="dot segments"):
        pattern("*", "https://a.example/accounts/{account}/*").locate(b"x", "..")


def test_what_nothing_fills_is_known_beforehand():
    made = pattern("{a}/*", "https://{a}.example/{b}/{account}/*")
    assert made.unfilled == {"b"}


def test_an_origin_is_made_once_and_the_number_of_them_is_bounded():
    address = Address("https://{r}.example/*")
    made = Pattern("{r}/*", address)
    first = made.locate(b"r0/", None)
    again = made.locate(b"R0/", None)
    assert first is not None
    assert again is not None
    assert first[0] is again[0]
    for number in range(ORIGINS_MAX + 10):
        made.locate(b"r%d/" % number, None)
    assert len(address._origins) == ORIGINS_MAX


@pytest.mark.parametrize(
    "path",
    [
        b"..",
        b"../x",
        b"a/../../x",
        b"a//../../x",
        b"./../x",
        b"%2e%2e/x",
        b".%2E/x",
        b"%2e./x",
        b"..%2fx",
        b"..%5Cx",
        b"..\\x",
        b"a/..%2f..%2fx",
        b"a%2f..%2f..%2fx",
        b"a/..;b/..;c/x",
        b"..;/x",
        b"../x?a/b/c",
        b"a/%2e%2e/%2E%2E",
        b"a/;/../../x",
        b"a/.;b/../../x",
        b"a/;%2f./../../x",
    ],
)
def test_dot_segments_cannot_climb_out(path):
    with pytest.raises(CallerFault, match="dot segments") as caught:
        refuse_climbing(path)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"a/../b",
        b"a/b/../../c",
        b"./a",
        b"a..b/...",
        b"a%2Fb",
        b"a%2F%2Fb",
        b"x?next=../../..",
        b"%252e%252e/x",
        b"a;../b",
        b"files/..a",
    ],
)
def test_any_other_path_is_nobodys_business(path):
    refuse_climbing(path)


def test_what_follows_a_filled_place_cannot_climb_out_either():
    with pytest.raises(CallerFault, match="dot segments"):
        pattern("{r}/*", "https://{r}.example/deployments/*").locate(b"a/b/../../x", None)
    with pytest.raises(CallerFault, match="dot segments"):
        pattern("{r}/{m}/*", "https://{r}.example/d/{m}/*").locate(b"a/%2e%2e/x", None)


def test_a_long_piece_of_a_request_is_cut_for_a_message():
    assert quoted(b"short \xff") == "short \ufffd"
    assert quoted(b"x" * 1000) == "x" * 77 + "..."
