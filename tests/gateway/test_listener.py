"""The callers' port: what goes to the line, and what goes to aiohttp, connection and all."""

from __future__ import annotations

import time

import pytest

from gateway.config import Config, Server
from gateway.refusal import Screen
from gateway.testing import RawCaller, ScriptedUpstream, answers, chunked, running_gateway
from tests.gateway.ends import run
from tests.gateway.inside import gateway as inside
from tests.gateway.inside import request

PAGES = """
from aiohttp import web
from gateway import Endpoint, Reply, Route, Target, hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    def endpoints(self, gateway):
        self.gateway = gateway

        async def said(request):
            body = await request.text()
            return web.Response(text=f"{request.method} {request.path_qs} {body}")

        async def echoes(request):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data + "!!")
            return socket

        page = lambda method, path: Endpoint(method, path, said, listener="callers", token=False)
        return [
            page("GET", "/page"),
            page("POST", "/page"),
            page("GET", "/below/{name}"),
            Endpoint("GET", "/socket", echoes, listener="callers", token=False),
            Route("/v1/models", surface="openai"),
            Route("/v1/chat/completions", "openai", "openai"),
            Route("/v1beta/models/*", "gemini", "gemini"),
        ]

    @hookimpl
    def pick(self, exchange):
        if exchange.provider is None and exchange.path != b"v1/models":
            provider = self.gateway.providers["openai"]
            origin, _ = provider.locate(exchange.path, None)
            return Target(provider, origin, b"/picked/" + exchange.path)

    @hookimpl
    async def prepare(self, exchange):
        if exchange.headers.get(b"x-tell") is not None:
            words = f"{exchange.provider} {exchange.surface} {exchange.model} {exchange.streaming}"
            return Reply(200, words.encode())

    reads = "json"
"""
JSON = (b"Content-Type", b"application/json")


@pytest.fixture(scope="module")
def upstream():
    with ScriptedUpstream(answers(b"from the upstream")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    pages = tmp_path_factory.mktemp("plugins") / "pages.py"
    pages.write_text(PAGES)
    config = {"providers": {"openai": upstream.provider()}, "gateways": {"bare": {"enabled": []}}}
    with running_gateway(config, plugins=[pages]) as made:
        yield made


@pytest.fixture
def caller(gateway):
    with RawCaller(gateway.port) as made:
        yield made


# -- pages -----------------------------------------------------------------------------------------


def test_a_page_of_a_plugin_is_served_on_the_callers_port(caller):
    caller.request(b"GET", b"/page?a=%20b")
    answer = caller.answer()

    assert (answer.status, answer.body) == (200, b"GET /page?a=%20b ")
    assert answer.get(b"server") is None


def test_a_page_may_have_a_place_in_its_path(caller):
    caller.request(b"GET", b"/below/name")

    assert caller.answer().body == b"GET /below/name "


def test_a_page_ends_its_connection_since_the_next_request_may_be_the_relays(caller):
    caller.request(b"POST", b"/page", body=b"one")
    caller.request(b"GET", b"/openai/v1/models")
    answer = caller.answer()

    assert (answer.body, answer.get(b"connection")) == (b"POST /page one", b"close")
    assert caller.ending() in ("fin", "reset")


def test_a_page_may_be_a_web_socket(caller):
    fields = [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
        (b"Sec-WebSocket-Version", b"13"),
    ]
    caller.request(b"GET", b"/socket", *fields)
    assert caller.wire.head().startswith(b"HTTP/1.1 101 ")
    caller.send(b"\x81\x82\0\0\0\0hi")  # a text of two bytes, masked with zeros

    assert b"".join(caller.wire.sized(6)) == b"\x81\x04hi!!"


def test_a_page_gets_a_body_in_whatever_pieces_it_comes(caller):
    caller.send(b"POST /page HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    caller.send(chunked(b"one ", b"two")[:9])
    time.sleep(0.02)
    caller.send(chunked(b"one ", b"two")[9:])

    assert caller.answer().body == b"POST /page one two"


@pytest.mark.parametrize("cut", [1, 5, 9, 25])
def test_a_page_is_served_however_its_head_comes(caller, cut):
    head = b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"
    caller.send(head[:cut])
    time.sleep(0.02)
    caller.send(head[cut:])

    assert caller.answer().body == b"GET /page "


def test_a_page_may_follow_an_exchange_on_one_connection(caller):
    caller.request(b"GET", b"/openai/v1/models")
    assert caller.answer().body == b"from the upstream"
    caller.request(b"GET", b"/page")
    assert caller.answer().body == b"GET /page "


def test_a_page_at_the_root_is_only_there(upstream, tmp_path):
    (tmp_path / "root.py").write_text(PAGES.replace("/below/{name}", "/"))
    config = {"providers": {"openai": upstream.provider()}}
    with running_gateway(config, plugins=[tmp_path / "root.py"]) as gateway:
        for target, body in ((b"/openai/v1/models", b"from the upstream"), (b"/", b"GET / ")):
            with RawCaller(gateway.port) as caller:
                caller.request(b"GET", target)
                assert caller.answer().body == body


def test_the_wrong_method_is_refused_by_the_page(caller):
    caller.request(b"DELETE", b"/page")

    assert caller.answer().status == 405


@pytest.mark.parametrize(
    ("host", "fields", "status"),
    [
        (b"localhost:1", (), 200),
        (b"evil.example", (), 403),
        (b"localhost", ((b"Origin", b"http://localhost"),), 200),
        (b"localhost", ((b"Origin", b"https://evil.example"),), 403),
    ],
)
def test_a_page_is_as_closed_to_other_sites_as_the_line(caller, host, fields, status):
    caller.request(b"GET", b"/page", *fields, host=host)

    assert caller.answer().status == status


# -- routes that enter the line --------------------------------------------------------------------


def test_a_route_enters_the_line_and_pick_says_where_it_goes(caller, upstream):
    upstream.forget()
    caller.request(b"POST", b"/v1/chat/completions?a=1", JSON, body=b"{}")

    assert caller.answer().body == b"from the upstream"
    assert upstream.requests[0].target == b"/picked/v1/chat/completions?a=1"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (b"/v1/chat/completions", b"None openai m True"),
        (b"/v1beta/models/g-1:streamGenerateContent", b"None gemini g-1 True"),
        (b"/v1/models", b"None openai None None"),
    ],
)
def test_a_routes_dialect_reads_the_body(caller, target, told):
    body = b'{"model": "m", "stream": true}'
    caller.request(b"POST", target, JSON, (b"X-Tell", b"1"), body=body)

    assert caller.answer().body == told


def test_a_route_without_a_target_is_a_503_in_its_surfaces_shape(caller):
    caller.request(b"GET", b"/v1/models")
    answer = caller.answer()

    assert answer.status == 503
    assert b'"error":{"message"' in answer.body


def test_a_route_obeys_the_named_gateway(caller):
    caller.request(
        b"POST",
        b"/v1/chat/completions",
        JSON,
        (b"weir-gateway", b"bare"),
        (b"X-Tell", b"1"),
        body=b"{}",
    )

    assert caller.answer().status == 503  # no plugin there that picks, none that tells


# -- bad requests ----------------------------------------------------------------------------------


def test_a_refused_request_is_logged_and_counted_but_no_exchange(gateway, caller):
    caller.send(b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert caller.answer().status == 400
    line = gateway.wait_for_log("request_refused")
    assert (line["status"], line["code"]) == (400, "bad_target")
    assert line["peer"].startswith("127.0.0.1:")


def test_from_a_reload_on_the_new_rules_hold_on_open_connections_too():
    async def story() -> None:
        async with inside() as made:
            end = await made.caller()
            await end.send(request().replace(b"localhost", b"a.example"))
            assert (await end.head()).startswith(b"HTTP/1.1 403 ")
            end = await made.caller()
            made.callers.screen = Screen(Config(server=Server(allowed_hosts=("a.example",))))
            await end.send(request().replace(b"localhost", b"a.example"))
            up = await made.upstream.accept()
            await up.head()
            await up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert (await end.head()).startswith(b"HTTP/1.1 200 ")
            made.callers.screen = Screen(Config())
            await end.send(request().replace(b"localhost", b"a.example"))
            assert (await end.head()).startswith(b"HTTP/1.1 403 ")
            assert made.gateway.counts["refused_requests"] == 2

    run(story())
