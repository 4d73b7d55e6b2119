"""Parsers of a request's head: where it leads, who calls, what may go up, whose key."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import posixpath
import re
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import orjson

from gateway.config import Config, GatewayConfig, ProviderConfig, Server
from gateway.dialects import shape_error
from gateway.errors import CallerFault
from gateway.exchange import Attempt, Exchange, Target
from gateway.forwarded import Trust
from gateway.handshake import accept_of, deflate_of, key_of, wrong_switch
from gateway.headers import HOP_BY_HOP, named_by_connection
from gateway.providers import Provider, build
from gateway.refusal import Refusal, Screen, refusal_bytes
from gateway.routes import NoRoute, Table
from gateway.rows import BASE_URL, built_in
from gateway.shapes import Flat, paired
from gateway.websocket import Unreadable
from plugins import credentials as own_keys
from plugins import metadata as about
from tests.fuzz.mutants import dice_of

CONFIG = Config(
    server=Server(allowed_hosts=("api.example",), allowed_origins=("https://app.example",)),
    providers={"mine": ProviderConfig(base_url="http://a.example/base/v1", strip_v1=True)},
    gateways={
        "staging": GatewayConfig(hosts=("staging.example", "::1")),
        "batch": GatewayConfig(),
    },
)
KEYS = {"OPENAI_API_KEY": "sk-ours-1234", "GEMINI_API_KEY": "gk-ours-1234"}
PROVIDERS = build(CONFIG, Path("/state"), KEYS)
TABLE = Table(CONFIG, PROVIDERS)
PEER = "127.0.0.1:50000"
NEVER_UP = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
# A target as llhttp lets it through.
SOUND = re.compile(rb"/[\x21-\x7e\x80-\xff]*")


# -- where it leads --------------------------------------------------------------------------------


def routes(data: bytes) -> None:
    """A target leads to a host that a row means, below its base, or nowhere with a reason.

    Lines: the target, the gateway's name in a field, the Host.
    """
    target, named, host = (*data.split(b"\n"), b"", b"")[:3]
    try:
        found = TABLE.find(target, named or None, host)
    except NoRoute as error:
        assert_shown(error, error.surface)
        return
    assert found.gateway in ("default", *CONFIG.gateways)
    again = TABLE.find(target, named or None, host)
    assert (again.provider, again.path) == (found.provider, found.path)
    provider = found.provider
    assert provider is not None  # no plugin has a route here
    slash = (
        b"" if found.path[:1] in (b"", b"?") and not target.endswith(b"/" + found.path) else b"/"
    )
    end = b"/" + provider.slug + slash + found.path
    assert target.endswith(end) if found.account is not None else target == end
    try:
        origin, path = provider.locate(found.path, found.account)
    except CallerFault as error:
        assert_shown(error, found.surface or "plain")
        return
    assert any(form.fullmatch(origin.host) for form in hosts_of(provider))
    assert path.partition(b"?")[2] == found.path.partition(b"?")[2]
    if SOUND.fullmatch(target):
        assert SOUND.fullmatch(path)
    if provider.name == "mine":
        assert is_below(path, "/base/v1")
        assert path.endswith(found.path.rpartition(b"/")[2])


def assert_shown(error: CallerFault, surface: str) -> None:
    assert error.status in (400, 404)
    orjson.loads(shape_error(surface, error.status, error.code, error.message))


def hosts_of(provider: Provider) -> list[re.Pattern[str]]:
    """Give what a provider's row says of its hosts, by other means than the code under test."""
    row = built_in().get(provider.name)
    base = "http://a.example/base/v1" if row is None else row.base_url
    urls = [base] + ([] if row is None else list(row.paths.values()))
    forms = []
    for url in urls:
        host = urlsplit(url.replace(BASE_URL, base)).hostname or "-"
        forms.append(re.compile(re.sub(r"\\\{\w+\\\}", "[a-z0-9-]{1,63}", re.escape(host))))
    return forms


def is_below(path: bytes, base: str) -> bool:
    """Whether a server that decodes dots and slashes, drops parameters and merges slashes would
    stay below the base.
    """
    bare = re.sub("(?i)%2e", ".", path.partition(b"?")[0].decode("latin-1"))
    parts = re.split(r"(?i)/|%2f|%5c|\\", bare)
    plain = "/".join(part.partition(";")[0] for part in parts)
    return f"{posixpath.normpath(plain)}/".startswith(f"{base}/")


# -- what may go up --------------------------------------------------------------------------------


class Head:
    """What llhttp tells of a head."""

    def __init__(self, data: bytes) -> None:
        self.target = b""
        self.flat: Flat = []
        self.is_whole = False
        parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(httptools.HttpParserUpgrade, httptools.HttpParserError):
            parser.feed_data(data)
        self.method = parser.get_method()
        self.version = parser.get_http_version()

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_whole:
            self.flat += (name, value)

    def on_headers_complete(self) -> None:
        self.is_whole = True


def head(data: bytes) -> None:
    """The short way through a head finds what the long one does, and nothing of ours goes up."""
    came = Head(data)
    if not came.is_whole:
        return
    screen = Screen(CONFIG)
    slowly = screened(came, screen, is_slow=True)
    assert screened(came, Screen(CONFIG)) == slowly
    assert [screened(came, screen) for _ in range(2)] == [
        slowly
    ] * 2  # hosts, targets, shapes known
    if len(slowly) == 2:
        return
    named = named_by_connection(v for n, v in paired(came.flat) if n.lower() == b"connection")
    fields = [line.partition(b": ") for line in slowly[0].split(b"\r\n")[:-1]]
    for name, _, _ in fields:
        lower = name.lower()
        assert lower not in NEVER_UP | (named - {b"close", b"keep-alive"})
        assert not lower.startswith((b"weir-", b"cf-aig-"))
    controls: dict[bytes, bytes] = {}
    for name, value in paired(came.flat):
        if name.lower().startswith((b"weir-", b"cf-aig-")):
            controls.setdefault(name.lower(), value)
    assert slowly[2][0] == (controls or None)
    rest = iter(paired(came.flat))
    assert all((name, value) in rest for name, _, value in fields)  # in the order they came


def screened(came: Head, screen: Screen, *, is_slow: bool = False) -> tuple:
    """Give what a screen says of a head, or its refusal, which has to be sound."""
    exchange = Exchange(came.method, came.target, came.version, list(came.flat), PEER)
    try:
        found = screen._pass_slowly(exchange) if is_slow else screen.pass_over(exchange)
    except Refusal as refusal:
        answer = refusal_bytes(refusal)
        top, _, body = answer.partition(b"\r\n\r\n")
        assert top.count(b"\r\n") == 5
        assert b"Content-Length: %d\r\n" % len(body) in top
        orjson.loads(body)
        return refusal.status, refusal.message
    facts = (found.size, found.is_chunked, found.has_length, found.expects, found.host, found.keep)
    told = (exchange.controls, exchange.prefix, exchange.target, exchange.path)
    return found.passed.text(), facts, told


# -- who calls -------------------------------------------------------------------------------------

TRUST = Trust(["10.0.0.0/8", "2001:db8:1::/48"])
PROXY = "10.0.0.1:4711"
CALLER = "203.0.113.7"


def forwarded(data: bytes) -> None:
    """Whatever a caller writes, what its proxy adds to it counts, or the proxy itself does.

    Lines: values, of X-Forwarded-For and of Forwarded.
    """
    values = data.split(b"\n")
    for listed, named in ((values, []), ([], values), (values[:1], values[1:])):
        assert TRUST.caller("192.0.2.1:80", listed, named) == "192.0.2.1:80"
        caller = TRUST.caller(PROXY, listed, named)
        assert caller == PROXY or ipaddress.ip_address(caller)
    for seen in (b"203.0.113.7", b"203.0.113.7:80", b"203.0.113.7, 10.0.0.9"):
        assert TRUST.caller(PROXY, [data + b", " + seen], []) == CALLER
        assert TRUST.caller(PROXY, [data, seen], []) == CALLER
    for seen in (
        b"for=203.0.113.7",
        b'for="203.0.113.7:80";proto=http',
        b"for=203.0.113.7,for=10.1.1.1",
    ):
        assert TRUST.caller(PROXY, [], [data + b", " + seen]) in (CALLER, PROXY)
        assert TRUST.caller(PROXY, [], [data, seen]) in (CALLER, PROXY)
        assert TRUST.caller(PROXY, [data], [seen]) in (CALLER, PROXY)


# -- WebSockets ------------------------------------------------------------------------------------


def handshake(data: bytes) -> None:
    """A key is 16 bytes in base64, alone; no fields but the right ones switch."""
    fields = fields_of(data)
    key = key_of(fields)
    if key is not None:
        assert len(base64.b64decode(key, validate=True)) == 16
        assert [n.lower() for n, _ in fields].count(b"sec-websocket-key") == 1
    wrong = wrong_switch(fields, b"dGhlIHNhbXBsZSBub25jZQ==")
    accepts = [value for name, value in fields if name.lower() == b"sec-websocket-accept"]
    assert wrong or [one.strip() for one in accepts] == [accept_of(b"dGhlIHNhbXBsZSBub25jZQ==")]
    values = [value for name, value in fields if name.lower() == b"sec-websocket-extensions"]
    try:
        deflate = deflate_of(values)
    except Unreadable:
        return
    text = b",".join(values).lower()
    names = [offer.partition(b";")[0].strip() for offer in text.split(b",")]
    assert [name for name in names if name] == [b"permessage-deflate"] * (deflate is not None)
    if deflate is not None and deflate.client_anew:
        assert b"client_no_context_takeover" in text


def fields_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Read lines as fields, as far as they could be some."""
    parts = [line.partition(b":") for line in data.splitlines()]
    return [
        (name, value.strip(b" \t"))
        for name, colon, value in parts
        if colon and re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) and b"\0" not in value
    ]


# -- whose key, and what is said of it -------------------------------------------------------------


def credentials(data: bytes) -> None:
    """A caller's own credential goes up alone and unchanged; without one, ours does, once.

    Lines: the path, then fields.
    """
    path, _, rest = data.partition(b"\n")
    fields = [pair for pair in fields_of(rest) if pair[0].lower() not in NEVER_UP]
    provider = PROVIDERS[dice_of(data).choice(("openai", "google-ai-studio"))]
    made = Exchange(b"POST", b"/", "1.1", [], PEER)
    made.provider = provider
    try:
        target = Target(provider, *provider.locate(path, None))
    except CallerFault:
        return
    flat = [part for pair in [(b"Host", b"localhost"), *fields] for part in pair]
    try:
        passed = Screen(CONFIG).pass_over(Exchange(b"GET", b"/a", "1.1", flat, PEER)).passed
    except Refusal:
        return
    before = list(passed.fields)
    attempt = Attempt(0, target, passed, None, 0)
    own_keys.Plugin(own_keys.Config()).send(made, attempt)
    after = list(attempt.headers.items)
    brought = [value for name, value in before if name.lower() in provider.caller_fields]
    said = [re.sub(rb"(?i)^(bearer|basic|token|key)$", b"", value.strip()) for value in brought]
    in_query = any(mark in path for mark in (b"?key=", b"&key=")) and provider.caller_queries
    ours = provider.credential.field(provider.api_key)  # type: ignore[arg-type]
    if any(said):
        assert after == before
    elif in_query:
        assert ours not in after
    else:
        others = [pair for pair in before if pair[0].lower() not in provider.caller_fields]
        assert after == [*others, ours]


def metadata(data: bytes) -> None:
    """What is taken is what another reader reads, flat and small; else there is a reason."""
    try:
        entries = about.read(data, 5)
    except CallerFault as fault:
        status, message = fault.status, fault.message
        assert status == 400
        assert len(message) < 200
        return
    assert entries == orjson.loads(data)
    assert len(entries) <= 5
    assert all(isinstance(value, str | int | float) for value in entries.values())
    assert all(key and not key.startswith("cf.") for key in entries)
