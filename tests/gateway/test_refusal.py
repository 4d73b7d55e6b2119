"""What may become an exchange, and which of its fields may go up."""

from __future__ import annotations

from typing import Any

import hypothesis
import hypothesis.strategies as st
import orjson
import pytest

from gateway import Exchange, Headers, Size
from gateway.config import Config, GatewayConfig, Limits, Server
from gateway.refusal import (
    Refusal,
    Screen,
    head_too_large,
    is_host_allowed,
    refusal_bytes,
)
from gateway.screened import Screened
from gateway.shapes import lines

Field = tuple[bytes, bytes]
HOST = (b"Host", b"localhost:8080")
CONFIG = Config(
    server=Server(allowed_hosts=("gateway.example",), allowed_origins=("https://App.example",)),
    gateways={"team": GatewayConfig(hosts=("team.example",))},
    limits=Limits(body_bytes_max=Size(1000)),
)


def request(
    *fields: Field, method: bytes = b"POST", target: bytes = b"/openai/v1/x", version: str = "1.1"
) -> Exchange:
    return Exchange(method, target, version, Headers(list(fields)), "127.0.0.1:50000")


def flat(made: Exchange) -> Exchange:
    """The same request as a connection gives it: its fields as llhttp told of them."""
    parts = [part for pair in made.headers.items for part in pair]
    return Exchange(made.method, made.target, made.version, parts, made.peer)


def screened(*fields: Field, config: Config = CONFIG, **start: Any) -> Screened:
    """Screen a request with a good Host and these fields."""
    return Screen(config).pass_over(request(HOST, *fields, **start))


def refused(made: Exchange, config: Config = CONFIG) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        Screen(config).pass_over(made)
    return caught.value.status, caught.value.code


# -- start line ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0", "0.0"])
def test_other_versions_are_refused(version):
    assert refused(request(HOST, version=version)) == (505, "http_version")


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"http://example.com/openai/v1/x", (403, "host_not_allowed")),
        (b"GET", b"http://a@localhost/openai/v1/x", (400, "bad_host")),
        (b"GET", b"http:///openai/v1/x", (400, "bad_host")),
        (b"GET", b"http://localhost", (400, "bad_target")),
        (b"GET", b"https://localhost/openai/v1/x", (400, "bad_target")),
        (b"GET", b"openai/v1/x", (400, "bad_target")),
        (b"GET", b"", (400, "bad_target")),
        (b"OPTIONS", b"*", (400, "bad_target")),
        (b"GET", b"/openai/v1/x#fragment", (400, "bad_target")),
        (b"GET", b"#", (400, "bad_target")),
        (b"CONNECT", b"localhost:443", (501, "method")),
        (b"CONNECT", b"/openai/v1/x", (501, "method")),
    ],
)
def test_what_is_no_path_is_refused(method, target, expected):
    assert refused(request(HOST, method=method, target=target)) == expected


@pytest.mark.parametrize("host", [b"localhost", b"example.com", b"a b"])
def test_the_absolute_form_is_a_path_and_a_host_of_its_own(host):
    for screen in (Screen(CONFIG), Screen(CONFIG)):
        asked = request((b"Host", host), target=b"HTTP://127.0.0.1:80/openai/v1/x?y=//z")
        assert screen.pass_over(asked).host == b"127.0.0.1:80"
        assert asked.target == asked.path == b"/openai/v1/x?y=//z"
    for hosts in ([], [HOST, HOST]):
        asked = request(*hosts, target=b"http://localhost/openai/v1/x")
        assert refused(asked) == (400, "bad_host")


@pytest.mark.parametrize(
    "target", [b"/", b"/openai", b"//openai", b"/openai/v1/x?a=b&c=%23", b"/\xff", b"/a:b@c/d"]
)
def test_any_path_passes(target):
    assert screened(target=target).host == b"localhost:8080"


# -- Host ------------------------------------------------------------------------------------------


def host_allowed(host: bytes, config: Config = CONFIG) -> bool:
    try:
        Screen(config).pass_over(request((b"Host", host)))
    except Refusal as refusal:
        return (refusal.status, refusal.code) != (403, "host_not_allowed")
    return True


@pytest.mark.parametrize(
    "host",
    [
        b"localhost", b"LOCALHOST:1", b"a.b.localhost", b"127.0.0.1", b"127.9.9.9:65535",
        b"[::1]", b"[::1]:8080", b"[0:0:0:0:0:0:0:1]", b"gateway.example", b"Gateway.EXAMPLE:80",
        b"team.example",
    ],
)  # fmt: skip
def test_loopback_and_listed_hosts_are_served(host):
    assert host_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example", b"localhost.evil.example", b"evil-localhost", b"127.0.0.1.evil.example",
        b"10.0.0.1", b"[2001:db8::1]", b"0.0.0.0", b"[::]", b"x.gateway.example", b"2130706433",
        b"0x7f000001", b"team.example.",
    ],
)  # fmt: skip
def test_other_hosts_are_not(host):
    assert not host_allowed(host)


@pytest.mark.parametrize(
    "host",
    [
        b"", b" ", b"local host", b"localhost/x", b"localhost?x", b"me@localhost", b"localhost:",
        b"localhost:80:80", b"localhost:http", b"localhost:123456", b"::1", b"[::1", b"[localhost]",
        b"localhost,localhost", b"localh\xc3\xb6st", b"local%68ost", b"localhost\\", b":80",
        b"*", b"<script>",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(host):
    assert refused(request((b"Host", host))) == (400, "bad_host")


@pytest.mark.parametrize(
    "hosts", [[], [b"localhost", b"localhost"], [b"localhost", b"evil.example"]]
)
def test_a_request_has_exactly_one_host(hosts):
    assert refused(request(*((b"Host", host) for host in hosts))) == (400, "bad_host")


def test_an_old_request_may_have_none_but_not_two():
    assert Screen(CONFIG).pass_over(request(version="1.0")).host == b""
    assert refused(request(HOST, HOST, version="1.0")) == (400, "bad_host")


def test_the_refusal_names_the_host_and_the_way_out():
    with pytest.raises(Refusal, match=r'"evil\.example".*server\.allowed_hosts'):
        Screen(CONFIG).pass_over(request((b"Host", b"evil.example:80")))


def test_a_star_lets_any_host_in_but_not_what_is_none():
    config = Config(server=Server(allowed_hosts=("*",)))

    assert host_allowed(b"evil.example", config)
    assert refused(request((b"Host", b"a b")), config) == (400, "bad_host")


def test_on_all_addresses_any_address_is_our_own_and_a_name_is_not():
    for host in ("0.0.0.0", "::"):
        config = Config(server=Server(host=host))
        assert host_allowed(b"10.0.0.1:80", config)
        assert host_allowed(b"[2001:db8::1]", config)
        assert not host_allowed(b"evil.example", config)


def test_the_bound_host_is_served():
    assert host_allowed(b"my.host:8080", Config(server=Server(host="My.Host")))


def test_many_hosts_do_not_wear_the_rule_out():
    screen = Screen(CONFIG)
    for number in range(2000):
        host = (b"Host", b"a%d.localhost" % number)
        assert screen.pass_over(request(host)).host == host[1]
    for number in range(2000):
        with pytest.raises(Refusal):
            screen.pass_over(request((b"Host", b"a%d.example" % number)))


def test_many_targets_do_not_wear_the_rule_out():
    screen = Screen(CONFIG)
    for number in range(2000):
        assert screen.pass_over(request(HOST, target=b"/openai/%d" % number)).keep
    for number in range(2000):
        with pytest.raises(Refusal):
            screen.pass_over(request(HOST, target=b"/openai/%d#x" % number))


def test_no_more_is_remembered_of_hosts_and_targets_than_a_bound():
    screen = Screen(CONFIG)
    sizes = []
    for number in range(3000):
        host = (b"Host", b"a%d.localhost" % number)
        screen.pass_over(request(host, target=b"/openai/%d" % number))
        sizes.append((len(screen._known), len(screen._targets)))

    assert max(hosts for hosts, _ in sizes) == max(targets for _, targets in sizes) == 1024
    assert b"/openai/2999" in screen._targets


@pytest.mark.parametrize(("size", "is_kept"), [(256, True), (257, False), (60_000, False)])
def test_a_long_target_is_not_remembered(size, is_kept):
    screen = Screen(CONFIG)
    target = b"/".ljust(size, b"x")
    for _ in range(2):
        assert screen.pass_over(request(HOST, target=target)).host == HOST[1]

    assert screen._targets == ({target} if is_kept else set())


@pytest.mark.parametrize(
    ("start", "fields", "expected"),
    [
        ({"method": b"CONNECT"}, [HOST], (501, "method")),
        ({"version": "2.0"}, [HOST], (505, "http_version")),
        ({}, [], (400, "bad_host")),
        ({}, [HOST, HOST], (400, "bad_host")),
        ({}, [(b"Host", b"evil.example")], (403, "host_not_allowed")),
        ({}, [HOST, (b"Origin", b"https://evil.example")], (403, "origin_not_allowed")),
        ({}, [HOST, (b"Content-Length", b"1001")], (413, "body_bytes")),
        ({"target": b"/openai/v1/x#y"}, [HOST], (400, "bad_target")),
        ({"target": b"openai/v1/x"}, [HOST], (400, "bad_target")),
    ],
)
def test_a_known_target_and_host_open_nothing(start, fields, expected):
    screen = Screen(CONFIG)
    screen.pass_over(flat(request(HOST)))
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            screen.pass_over(flat(request(*fields, **start)))
        assert (caught.value.status, caught.value.code) == expected


def test_a_refused_target_is_not_remembered_and_a_refused_host_neither():
    screen = Screen(CONFIG)
    for made in (
        request(HOST, target=b"/x#y"),
        request(HOST, target=b"*", method=b"OPTIONS"),
        request(HOST, target=b"/x", method=b"CONNECT"),
        request(HOST, target=b"/x", version="2.0"),
        request((b"Host", b"evil.example"), target=b"/fine"),
    ):
        with pytest.raises(Refusal):
            screen.pass_over(made)

    assert (screen._known, screen._targets) == (set(), {b"/fine"})


@pytest.mark.parametrize(
    ("host", "allowed", "bound", "expected"),
    [
        ("localhost:8081", [], "127.0.0.1", True),
        ("[::1]:8081", [], "127.0.0.1", True),
        ("admin.example", [], "127.0.0.1", False),
        ("admin.example", ["Admin.Example"], "127.0.0.1", True),
        ("anything", ["*"], "127.0.0.1", True),
        ("10.0.0.1", [], "127.0.0.1", False),
        ("10.0.0.1", [], "0.0.0.0", True),
        ("10.0.0.1", [], "10.0.0.1", True),
        ("", [], "127.0.0.1", False),
    ],
)
def test_the_admin_listener_has_the_same_rule(host, allowed, bound, expected):
    assert is_host_allowed(host, allowed, bound) is expected


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Origin", b"https://app.example")],
        [(b"Origin", b"HTTPS://APP.EXAMPLE")],
        [(b"Origin", b"http://localhost:8080")],
        [(b"Origin", b"https://localhost:8080")],
        [(b"Sec-Fetch-Site", b"same-origin")],
        [(b"Sec-Fetch-Site", b"none")],
        [(b"Origin", b"https://app.example"), (b"Sec-Fetch-Site", b"cross-site")],
    ],
)
def test_our_own_pages_and_listed_ones_are_let_in_and_their_fields_go_up(fields):
    assert screened(*fields).upward == fields


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Origin", b"https://evil.example")],
        [(b"Origin", b"http://app.example")],
        [(b"Origin", b"https://app.example:444")],
        [(b"Origin", b"https://app.example.evil.example")],
        [(b"Origin", b"http://localhost")],
        [(b"Origin", b"http://localhost:8081")],
        [(b"Origin", b"null")],
        [(b"Origin", b"")],
        [(b"origin", b"https://evil.example")],
        [(b"Sec-Fetch-Site", b"cross-site")],
        [(b"Sec-Fetch-Site", b"same-site")],
        [(b"SEC-FETCH-SITE", b"Cross-Site")],
        [(b"Origin", b"https://evil.example"), (b"Sec-Fetch-Site", b"same-origin")],
        [(b"Origin", b"https://evil.example"), (b"Origin", b"https://app.example")],
        [(b"Origin", b"https://app.example"), (b"Origin", b"https://evil.example")],
        [(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Site", b"none")],
    ],
)
def test_pages_of_others_are_refused(fields):
    assert refused(request(HOST, *fields)) == (403, "origin_not_allowed")


def test_a_star_lets_all_pages_in():
    config = Config(server=Server(allowed_origins=("*",)))

    assert screened((b"Origin", b"null"), config=config).upward == [(b"Origin", b"null")]
    assert screened((b"Sec-Fetch-Site", b"cross-site"), config=config).keep


# -- framing ---------------------------------------------------------------------------------------


def framing(found: Screened) -> tuple[int | None, bool, bool]:
    return found.size, found.is_chunked, found.has_length


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], (0, False, False)),
        ([(b"Content-Length", b"0")], (0, False, True)),
        ([(b"content-length", b"1000")], (1000, False, True)),
        ([(b"Transfer-Encoding", b"chunked")], (None, True, False)),
        ([(b"Transfer-Encoding", b" CHUNKED\t")], (None, True, False)),
    ],
)
def test_the_body_is_announced_by_length_or_chunked(fields, expected):
    found = screened(*fields)

    assert framing(found) == expected
    assert found.upward == []


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity", b"", b"x"],
)
def test_other_codings_are_refused(coding):
    assert refused(request(HOST, (b"Transfer-Encoding", coding))) == (501, "transfer_coding")


def test_http_1_0_has_no_coding():
    made = request(HOST, (b"Transfer-Encoding", b"chunked"), version="1.0")
    assert refused(made) == (400, "bad_request")


def test_a_body_above_the_bound_is_refused_by_its_announcement():
    for _ in range(2):  # a host that is known by then is screened another way
        assert refused(request(HOST, (b"Content-Length", b"1001"))) == (413, "body_bytes")


def test_a_known_host_does_not_open_the_bound():
    screen = Screen(CONFIG)
    screen.pass_over(request(HOST))
    with pytest.raises(Refusal) as caught:
        screen.pass_over(request(HOST, (b"Content-Length", b"1001")))
    assert (caught.value.status, caught.value.detail) == (413, "body_bytes_max")


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b" 100-continue "])
def test_the_one_expectation_is_kept_and_does_not_go_up(value):
    found = screened((b"Expect", value))

    assert (found.expects, found.upward) == (True, [])


def test_an_old_callers_expectation_means_nothing():
    """RFC 9110 section 10.1.1: it could not read the 100."""
    assert screened((b"Expect", b"100-continue"), version="1.0").expects is False


@pytest.mark.parametrize("value", [b"", b"200-ok", b"100-continue, x", b"100"])
def test_other_expectations_are_refused(value):
    assert refused(request(HOST, (b"Expect", value))) == (417, "expectation")


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [
        ("1.1", [], True),
        ("1.1", [b"keep-alive"], True),
        ("1.1", [b"Keep-Alive"], True),
        ("1.1", [b"close"], False),
        ("1.1", [b"CLOSE"], False),
        ("1.1", [b"keep-alive, close"], False),
        ("1.1", [b"keep-alive", b"close"], False),
        ("1.1", [b"closed"], True),
        ("1.1", [b"TE, Keep-Alive"], True),
        ("1.0", [], False),
        ("1.0", [b"keep-alive"], True),
        ("1.0", [b"close"], False),
        ("1.0", [b"Keep-Alive, x"], True),
    ],
)
def test_the_connection_goes_on_as_its_version_and_the_caller_say(version, connection, keep):
    fields = [(b"Connection", value) for value in connection]
    screen = Screen(CONFIG)
    for _ in range(2):
        assert screen.pass_over(request(HOST, *fields, version=version)).keep is keep


# -- what goes up ----------------------------------------------------------------------------------


def test_fields_go_up_in_order_case_and_number():
    fields = [(b"X-B", b"1"), (b"x-a", b""), (b"X-B", b"2"), (b"Accept", b"*/*")]

    assert screened(*fields).upward == fields


@pytest.mark.parametrize(
    "name",
    [
        b"Connection", b"Keep-Alive", b"Proxy-Authenticate", b"Proxy-Authorization",
        b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade", b"KEEP-ALIVE", b"te",
    ],
)  # fmt: skip
def test_what_concerns_one_hop_does_not_go_up(name):
    screen = Screen(CONFIG)
    for _ in range(2):
        made = request(HOST, (b"X-A", b"1"), (name, b"x"), (b"X-B", b"2"))
        assert screen.pass_over(made).upward == [(b"X-A", b"1"), (b"X-B", b"2")]


@pytest.mark.parametrize(
    "connection",
    [[b"x-secret"], [b"close, X-SECRET"], [b"keep-alive", b"X-Secret"], [b" ,x-secret,, "]],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_fields_that_connection_names_do_not_go_up(connection, version):
    found = screened(
        (b"X-Secret", b"1"),
        *((b"Connection", value) for value in connection),
        (b"X-A", b"2"),
        (b"x-secret", b"3"),
        version=version,
    )

    assert found.upward == [(b"X-A", b"2")]


def test_a_field_of_ours_is_kept_for_plugins_and_does_not_go_up():
    made = request(HOST, (b"Weir-Metadata", b"{}"), (b"X-A", b"1"), (b"weir-cache", b"off"))
    found = Screen(CONFIG).pass_over(made)

    assert found.upward == [(b"X-A", b"1")]
    assert made.controls == {b"weir-metadata": b"{}", b"weir-cache": b"off"}
    assert made.prefix == b"weir-"


def test_the_first_prefix_used_is_the_one_to_answer_with():
    made = request(HOST, (b"CF-AIG-Metadata", b"1"), (b"weir-cache", b"2"))
    Screen(CONFIG).pass_over(made)

    assert made.prefix == b"cf-aig-"
    assert made.controls == {b"cf-aig-metadata": b"1", b"weir-cache": b"2"}


def test_the_first_of_two_equal_fields_of_ours_counts():
    made = request(HOST, (b"weir-cache", b"1"), (b"Weir-Cache", b"2"))
    Screen(CONFIG).pass_over(made)

    assert made.controls == {b"weir-cache": b"1"}


def test_without_such_a_field_there_are_no_controls():
    made = request(HOST, (b"X-Weir-Metadata", b"1"), (b"weirdly", b"2"))
    found = Screen(CONFIG).pass_over(made)

    assert made.controls is None
    assert len(found.upward) == 2


def test_other_prefixes_may_be_configured():
    made = request(HOST, (b"acme-cache", b"1"), (b"weir-cache", b"2"))
    found = Screen(Config(server=Server(header_prefixes=("acme-",)))).pass_over(made)

    assert (made.controls, made.prefix) == ({b"acme-cache": b"1"}, b"acme-")
    assert found.upward == [(b"weir-cache", b"2")]


def test_the_exchanges_own_fields_stay_as_they_came():
    fields = [HOST, (b"Connection", b"x-a"), (b"X-A", b"1"), (b"weir-cache", b"2")]
    made = request(*fields)
    found = Screen(CONFIG).pass_over(made)
    found.upward.append((b"X-B", b"3"))

    assert made.headers.items == fields


@pytest.mark.parametrize("form", [request, lambda *fields: flat(request(*fields))])
def test_what_goes_up_and_the_exchanges_own_fields_do_not_share_a_list(form):
    fields = [HOST, (b"X-A", b"1"), (b"Content-Length", b"5")]
    screen = Screen(CONFIG)
    for _ in range(2):  # at first sight field by field, then by its shape
        made = form(*fields)
        found = screen.pass_over(made)
        made.headers.add(b"X-B", b"2")
        made.headers.set(b"X-A", b"3")
        assert found.upward == [(b"X-A", b"1")]
        found.upward.append((b"X-C", b"4"))
        assert made.headers.items == [HOST, (b"X-A", b"3"), fields[2], (b"X-B", b"2")]

    assert screen.pass_over(form(*fields)).upward == [(b"X-A", b"1")]


def test_what_goes_up_is_the_same_as_lines():
    screen = Screen(CONFIG)
    fields = [HOST, (b"X-%b", b"%s"), (b"TE", b"x"), (b"x-a", b""), (b"Content-Length", b"5")]
    for _ in range(2):
        assert screen.pass_over(flat(request(*fields))).passed.text() == b"X-%b: %s\r\nx-a: \r\n"


# -- a head seen before is judged like one never seen ----------------------------------------------

NAMES = [
    b"Host", b"host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Origin",
    b"Sec-Fetch-Site", b"TE", b"Keep-Alive", b"weir-a", b"CF-AIG-A", b"X-A", b"x-a", b"Accept",
]  # fmt: skip
VALUES = [
    b"localhost", b"localhost:1", b"evil.example", b"5", b"1001", b"chunked", b"gzip", b"close",
    b"keep-alive", b"x-a", b"Keep-Alive", b"100-continue", b"http://localhost", b"cross-site",
]  # fmt: skip
FITTING = [
    HOST, (b"Content-Length", b"5"), (b"Connection", b"keep-alive"), (b"Connection", b"x-a"),
    (b"Connection", b"close"), (b"X-A", b"1"), (b"Accept", b"a"), (b"TE", b"trailers"),
]  # fmt: skip
HEADS = st.lists(
    st.sampled_from(FITTING) | st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)),
    max_size=6,
)


def verdict(screen: Screen, made: Exchange) -> tuple[Any, ...]:
    try:
        found = screen.pass_over(made)
    except (Refusal, ValueError) as refusal:  # a length that is no number: llhttp refuses it
        return (type(refusal), *map(str, vars(refusal).values()))
    facts = tuple(getattr(found, name) for name in Screened.__slots__ if name != "passed")
    assert found.passed.text() == lines(found.upward)
    return (*facts, found.upward, made.controls, made.prefix)


@hypothesis.given(
    HEADS,
    st.sampled_from([b"/openai/v1/x", b"/x#y", b"*"]),
    st.sampled_from([b"GET", b"POST", b"CONNECT"]),
    st.sampled_from(["1.1", "1.1", "1.0", "2.0"]),
    st.booleans(),
)
def test_a_known_head_is_judged_as_at_first_sight(fields, target, method, version, is_flat):
    def again() -> Exchange:
        made = request(*fields, target=target, method=method, version=version)
        return flat(made) if is_flat else made

    used = Screen(CONFIG)
    for host in (b"localhost", b"localhost:1", HOST[1]):
        used.pass_over(request((b"Host", host)))
    first = verdict(Screen(CONFIG), again())

    assert [verdict(used, again()) for _ in range(2)] == [first, first]


# -- the page --------------------------------------------------------------------------------------


def test_a_refusal_is_one_whole_answer_that_closes():
    written = refusal_bytes(Refusal(431, "header_bytes", 'Too "large".', "header_bytes_max"))
    head, _, body = written.partition(b"\r\n\r\n")
    start, *fields = head.split(b"\r\n")

    assert start == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert b"Connection: close" in fields
    assert b"Content-Length: %d" % len(body) in fields
    assert orjson.loads(body) == {"error": {"code": "header_bytes", "message": 'Too "large".'}}
    assert b"header_bytes_max" not in written


def test_a_refusal_cannot_be_broken_by_what_it_quotes():
    written = refusal_bytes(Refusal(403, "x", 'a "b"\r\nX-Evil: 1\r\n\r\n\ud800'))
    head, _, body = written.partition(b"\r\n\r\n")

    assert b"Evil" not in head
    assert orjson.loads(body)["error"]["message"].startswith('a "b"\r\n')


def test_a_refusal_of_head_has_everything_but_its_content():
    refusal = Refusal(400, "bad_host", "No.")
    whole = refusal_bytes(refusal)
    start, _, content = whole.partition(b"\r\n\r\n")

    assert refusal_bytes(refusal, is_head=True).startswith(start[:60])
    assert refusal_bytes(refusal, is_head=True).endswith(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(content) in refusal_bytes(refusal, is_head=True)


@pytest.mark.parametrize(
    ("target", "head", "expected"), [(99, 101, 414), (51, 101, 414), (50, 101, 431), (0, 101, 431)]
)
def test_a_head_beyond_its_bound_is_blamed_on_what_is_most_of_it(target, head, expected):
    assert head_too_large(target, head).status == expected
