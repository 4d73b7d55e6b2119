"""Which proxy leads where: its URL, the environment, and the exceptions."""

from __future__ import annotations

import base64

import pytest

from gateway.proxies import Exceptions, Proxies, ProxyUrl, is_loopback, parse, proxies_for
from gateway.secret import scrub

URL = "http://p.example:3128"


def used(environ: dict[str, str], scheme: str = "https", host: str = "up.example") -> str | None:
    """Give the proxy on the way to a host."""
    proxies, faults = proxies_for(None, environ)
    assert faults == []
    proxy = proxies.of(scheme, host, 443)
    return None if proxy is None else proxy.key


# -- a URL -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "key"),
    [
        ("http://p.example:3128", "p.example", 3128, "p.example:3128"),
        ("http://p.example:3128/", "p.example", 3128, "p.example:3128"),
        ("HTTP://P.example", "p.example", 80, "p.example:80"),
        ("p.example:3128", "p.example", 3128, "p.example:3128"),
        ("http://[::1]:3128", "::1", 3128, "[::1]:3128"),
    ],
)
def test_a_url_names_host_and_port(url, host, port, key):
    proxy = parse(url)
    assert (proxy.host, proxy.port, proxy.key) == (host, port, key)
    assert proxy.authorization is None


@pytest.mark.parametrize(
    ("written", "pair"),
    [
        ("user:word-of-mouth", b"user:word-of-mouth"),
        ("us%40er:p%3A%2Fa%25ss", b"us@er:p:/a%ss"),
        ("user", b"user:"),
        (":token-alone", b":token-alone"),
    ],
)
def test_credentials_are_sent_as_basic(written, pair):
    authorization = parse(f"http://{written}@p.example:3128").authorization
    assert authorization is not None
    assert authorization.reveal() == b"Basic " + base64.b64encode(pair)


def test_credentials_show_nowhere_and_are_blanked_in_the_log():
    proxy = parse("http://somebody:open-sesame@p.example:3128")
    text = f"{proxy.key} {proxy.authorization!r} {proxy.authorization}".encode()
    assert b"somebody" not in text
    assert b"sesame" not in text
    assert proxy.authorization is not None
    assert scrub(b"x open-sesame " + proxy.authorization.reveal()) == b"x *** ***"


def test_other_credentials_are_another_proxy_and_the_same_ones_are_not():
    keys = [
        parse(f"http://{user}p.example:3128").key for user in ("", "a:b@", "a:c@", "b:c@", "%61:b@")
    ]
    assert len(set(keys)) == 4
    assert keys[1] == keys[4]


@pytest.mark.parametrize(
    "url",
    [
        "socks5://p.example:1080",
        "http://",
        "http://:3128",
        "http://p.example:0",
        "http://p.example:99999",
        "http://p.example:port",
        "http://user:se/cret-part@p.example:3128",
        "http://user:secret-part#x@p.example:3128",
        "http://p.example:3128/secret-part",
        "http://p.example:3128?secret-part",
        "http://p exa:3128",
        "http://[::1:3128",
        "http://p.example\r\nX: secret-part",
        "http://us%3Aer:secret-part@p.example",
    ],
)
def test_what_is_no_proxy_is_refused_without_being_quoted(url):
    with pytest.raises(ValueError) as caught:
        parse(url)
    assert "cret-part" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_proxy_over_tls_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="use its http:// address"):
        parse("https://p.example:3129")


# -- a key of the configuration --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  ", "env:EMPTY"])
def test_an_empty_text_is_no_proxy(text):
    assert ProxyUrl(text, {"EMPTY": ""}).proxy is None


def test_a_reference_is_followed_and_shown_in_place_of_the_url():
    chosen = ProxyUrl("env:URL", {"URL": "http://user:open-sesame@p.example:3128"})
    assert chosen.proxy is not None
    assert (chosen.proxy.host, str(chosen)) == ("p.example", "env:URL")
    assert chosen.secret is not None
    assert not chosen.secret.inline


def test_a_reference_that_leads_nowhere_does_not_mean_no_proxy():
    with pytest.raises(ValueError, match="env:NONE is not set"):
        ProxyUrl("env:NONE", {})


@pytest.mark.parametrize(
    ("text", "shown", "is_secret"),
    [
        (URL, URL, False),
        ("http://user:open-sesame@p.example:3128", "http://***@p.example:3128", True),
        ("", "", False),
    ],
)
def test_a_url_is_shown_without_its_credentials(text, shown, is_secret):
    chosen = ProxyUrl(text, {})
    assert (str(chosen), repr(chosen)) == (shown, f"ProxyUrl({shown})")
    assert (chosen.secret is not None and chosen.secret.inline) == is_secret


# -- the environment -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "scheme", "expected"),
    [
        ({}, "https", None),
        ({"HTTPS_PROXY": "http://a:1"}, "https", "a:1"),
        ({"https_proxy": "http://a:1"}, "https", "a:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "https", "a:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, "https", "b:1"),
        ({"HTTPS_PROXY": "http://a:1"}, "http", None),
        ({"http_proxy": "http://a:1"}, "http", "a:1"),
        ({"http_proxy": "http://a:1"}, "https", None),
        ({"HTTP_PROXY": "http://a:1"}, "http", None),
    ],
)
def test_each_scheme_has_its_variables(environ, scheme, expected):
    assert used(environ, scheme) == expected


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
@pytest.mark.parametrize("chosen", [None, ProxyUrl(URL, {})])
def test_this_machine_is_not_asked_of_a_proxy(host, chosen):
    proxies, _ = proxies_for(chosen, {"HTTPS_PROXY": URL})
    assert proxies.of("https", host, 443) is None
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "10.0.0.1", "notlocalhost", "::2"])
def test_what_only_looks_like_this_machine_is_asked_of_one(host):
    assert used({"HTTPS_PROXY": URL}, host=host) == "p.example:3128"


def test_the_main_proxy_takes_the_environments_place_but_not_its_exceptions():
    environ = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "b.example"}
    proxies, faults = proxies_for(ProxyUrl(URL, {}), environ)
    assert faults == []
    found = [
        proxies.of(s, h, 1) for s, h in (("https", "a"), ("http", "a"), ("https", "b.example"))
    ]
    assert [p and p.key for p in found] == ["p.example:3128", "p.example:3128", None]


def test_an_empty_main_proxy_leaves_the_environment_unread():
    environ = {"HTTPS_PROXY": "nonsense://", "NO_PROXY": "1/2"}
    proxies, faults = proxies_for(ProxyUrl("", {}), environ)
    assert (faults, proxies.of("https", "a", 443)) == ([], None)


def test_a_providers_own_choice_has_no_exceptions():
    proxies = Proxies.own(ProxyUrl(URL, {}))
    for scheme in ("http", "https"):
        proxy = proxies.of(scheme, "localhost", 443)
        assert proxy is not None
    assert Proxies.own(ProxyUrl("", {})).of("https", "a", 443) is None


def test_what_is_wrong_in_the_environment_names_the_variable_and_the_way_out():
    environ = {"HTTPS_PROXY": "socks5://a", "http_proxy": URL, "no_proxy": "10.0.0.0/99"}
    _, faults = proxies_for(None, environ)
    assert [name for name, _ in faults] == ["HTTPS_PROXY", "no_proxy"]
    assert 'proxy = "" connects without one' in faults[0][1]
    assert '"10.0.0.0/99" is no network' in faults[1][1]


# -- exceptions ------------------------------------------------------------------------------------

NO_PROXY = """
*                       a.example ::1 10.0.0.1         ;
a.example               a.example A.EXAMPLE a.example. b.a.example ; xa.example example a.example.b
.a.example              a.example b.a.example          ; xa.example
*.a.example             b.a.example                    ; xa.example
a.example:443           a.example b.a.example          ;
a.example:444                                          ; a.example
10.0.0.0/8              10.0.0.1 10.255.0.1            ; 11.0.0.1 ten.example ::a00:1
10.0.0.1                10.0.0.1                       ; 10.0.0.11 110.0.0.1
10.0.0.1:443            10.0.0.1                       ;
10.0.0.1:80                                            ; 10.0.0.1
fd00::/8                fd00::1                        ; fe00::1 a.example
::1                     ::1 0:0::1                     ; ::2
[fd00::1]:443           fd00::1                        ; fd00::2
[fd00::1]:80                                           ; fd00::1
10.0.0.0/8,b.example    10.0.0.1 b.example             ; a.example
,,                                                     ; a.example
"""


@pytest.mark.parametrize("line", NO_PROXY.strip().splitlines())
def test_exceptions_cover_what_they_say(line):
    covering, _, others = line.partition(";")
    listed, *covered = covering.split()
    exceptions = Exceptions(listed)
    assert {host: exceptions.cover(host, 443) for host in covered} == dict.fromkeys(covered, True)
    found = {host: exceptions.cover(host, 443) for host in others.split()}
    assert found == dict.fromkeys(others.split(), False)


def test_exceptions_are_parted_by_commas_and_spaces():
    exceptions = Exceptions("a.example, b.example\tc.example")
    assert all(exceptions.cover(f"{letter}.example", 443) for letter in "abc")
