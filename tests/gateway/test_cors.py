"""Pages of other origins: preflights, and what answers tell their browsers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    answers,
    running_gateway,
)

APP = b"https://app.example"
ORIGIN = (b"Origin", APP)
ASKS = (b"Access-Control-Request-Method", b"POST")
WANTS = (b"Access-Control-Request-Headers", b"authorization,content-type")
THEIRS = (
    (b"Access-Control-Allow-Origin", b"https://upstream.example"),
    (b"access-control-expose-headers", b"theirs"),
    (b"Vary", b"Accept"),
)

DOOR = """
from gateway import CallerFault, hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    async def authenticate(self, exchange):
        if exchange.headers.get(b"authorization") is None:
            raise CallerFault("Who are you?", status=401, code="key")
"""


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory) -> Iterator[RunningGateway]:
    door = tmp_path_factory.mktemp("door") / "door.py"
    door.write_text(DOOR)
    server = {"cors_origins": [APP.decode()], "allowed_origins": ["https://old.example"]}
    config = {"providers": {"openai": upstream.provider()}, "server": server}
    with running_gateway(config, plugins=[door]) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def fresh(upstream):
    upstream.script = answers(b"{}", *THEIRS)
    upstream.forget()


def ask(
    gateway: RunningGateway, method: bytes, *fields: tuple[bytes, bytes], path: bytes = b"/openai/x"
) -> RawAnswer:
    with RawCaller(gateway.port) as caller:
        caller.request(method, path, *fields)
        return caller.answer(to=method)


def said(answer: RawAnswer) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in answer.fields:
        if name.lower().startswith((b"access-control-", b"vary")):
            found.setdefault(name.lower(), []).append(value)
    return found


def test_a_preflight_is_answered_here_before_anybody_is_asked_for_a_key(upstream, gateway):
    answer = ask(gateway, b"OPTIONS", ORIGIN, ASKS, WANTS)

    assert (answer.status, answer.get(b"content-length")) == (204, None)
    told = said(answer)
    assert told[b"access-control-allow-origin"] == [APP]
    assert told[b"access-control-allow-credentials"] == [b"true"]
    assert told[b"access-control-allow-headers"] == [WANTS[1]]
    assert b"POST" in told[b"access-control-allow-methods"][0]
    assert b"Origin" in told[b"vary"]
    assert upstream.requests == []


def test_an_answer_tells_the_page_that_it_may_read_it(upstream, gateway):
    told = said(ask(gateway, b"GET", ORIGIN, (b"Authorization", b"Bearer x")))

    assert told == {
        b"access-control-allow-origin": [APP],
        b"access-control-allow-credentials": [b"true"],
        b"access-control-expose-headers": [b"*"],
        b"vary": [b"Accept", b"Origin"],
    }


def test_an_error_of_ours_can_be_read_too(gateway):
    answer = ask(gateway, b"GET", ORIGIN)
    assert answer.status == 401
    assert said(answer)[b"access-control-allow-origin"] == [APP]
    answer = ask(gateway, b"GET", ORIGIN, path=b"/nowhere/x")
    assert answer.status == 404
    assert said(answer)[b"access-control-allow-origin"] == [APP]


# A cache must not give one page's answer to another.
@pytest.mark.parametrize("fields", [[], [(b"Origin", b"https://old.example")]])
def test_the_answer_to_anybody_else_keeps_the_upstreams_fields_and_varies(gateway, fields):
    told = said(ask(gateway, b"GET", *fields, (b"Authorization", b"Bearer x")))

    assert told[b"access-control-allow-origin"] == [THEIRS[0][1]]
    assert b"access-control-allow-credentials" not in told
    assert told[b"vary"] == [b"Accept", b"Origin"]


def test_a_page_that_is_not_listed_is_still_refused(upstream, gateway):
    for fields in ([ASKS, WANTS], []):
        answer = ask(gateway, b"OPTIONS", (b"Origin", b"https://evil.example"), *fields)
        assert answer.status == 403
        assert said(answer) == {}
    assert upstream.requests == []


def test_options_that_is_no_preflight_goes_up(upstream, gateway):
    assert ask(gateway, b"OPTIONS", ORIGIN, (b"Authorization", b"Bearer x")).status == 200
    assert len(upstream.requests) == 1


def test_a_star_lets_every_page_in_and_never_with_credentials(upstream):
    config = {"providers": {"openai": upstream.provider()}, "server": {"cors_origins": ["*"]}}
    with running_gateway(config) as gateway:
        for method, fields in ((b"GET", []), (b"OPTIONS", [ASKS])):
            told = said(ask(gateway, method, (b"Origin", b"https://any.example"), *fields))
            assert told[b"access-control-allow-origin"] == [b"*"]
            assert b"access-control-allow-credentials" not in told


def test_without_the_setting_nothing_is_said(upstream):
    config = {
        "providers": {"openai": upstream.provider()},
        "server": {"allowed_origins": [APP.decode()]},
    }
    with running_gateway(config) as gateway:
        assert said(ask(gateway, b"GET", ORIGIN))[b"vary"] == [b"Accept"]
        assert ask(gateway, b"OPTIONS", ORIGIN, ASKS).status == 200  # the upstream's own affair
