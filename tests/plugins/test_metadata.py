"""What a caller says about its request is understood, or refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from gateway import CallerFault
from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    running_gateway,
)
from plugins.metadata import read

# Shows what the plugin left behind: the identity's metadata, as a field of the answer.
SHOW = """
import orjson
from gateway import hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    async def authenticate(self, exchange):
        if exchange.headers.get(b"x-known") is not None:
            exchange.known().metadata = {"team": "of the key"}

    @hookimpl
    def answer(self, exchange, head):
        if exchange.identity is not None:
            head.headers.add(b"x-metadata", orjson.dumps(exchange.identity.metadata))
"""


@pytest.fixture(scope="module")
def gateway(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    show = tmp_path_factory.mktemp("plugins") / "show.py"
    show.write_text(SHOW)
    config = {
        "providers": {"openai": upstream.provider()},
        "gateways": {"strict": {"plugins": {"metadata": {"entries_max": 1}}}},
    }
    with running_gateway(config, plugins=["metadata", show]) as made:
        yield made


def ask(
    gateway: RunningGateway,
    *fields: tuple[bytes, bytes],
    target: bytes = b"/openai/v1/models",
) -> RawAnswer:
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", target, *fields)
        return caller.answer()


def shown(answer: RawAnswer) -> object:
    written = answer.get(b"x-metadata")
    return None if written is None else orjson.loads(written)


@pytest.mark.parametrize("name", [b"weir-metadata", b"cf-aig-metadata", b"Cf-Aig-Metadata"])
def test_metadata_is_known_to_all_plugins_and_to_no_upstream(gateway, upstream, name):
    upstream.forget()
    answer = ask(gateway, (name, b'{"team":"search","user":7,"beta":true}'))
    assert shown(answer) == {"team": "search", "user": 7, "beta": True}
    assert upstream.requests[0].get(name.lower()) is None


def test_without_metadata_nothing_is_known(gateway):
    assert shown(ask(gateway)) is None


def test_what_the_authenticator_knows_is_not_the_callers_to_change(gateway):
    written = (b"weir-metadata", b'{"team":"of the caller","a":1}')
    answer = ask(gateway, (b"x-known", b"1"), written)
    assert shown(answer) == {"team": "of the key", "a": 1}


def test_a_refusal_says_why_in_the_shape_of_the_surface_and_nothing_goes_up(gateway, upstream):
    upstream.forget()
    answer = ask(gateway, (b"weir-metadata", b"[]"), target=b"/openai/v1/chat/completions")
    error = orjson.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (400, "invalid_metadata")
    assert "not an object" in error["message"]
    assert upstream.requests == []


def test_each_gateway_has_its_own_limit(gateway):
    two = (b"weir-metadata", b'{"a":1,"b":2}')
    assert ask(gateway, two).status == 200
    refused = ask(gateway, two, (b"weir-gateway", b"strict"))
    assert refused.status == 400
    assert b"at most 1 are taken" in refused.body


@pytest.mark.parametrize(
    "written",
    [
        b"{}",
        b'{"a":"","b":0,"c":-1.5,"d":false,"e":1e300}',
        b' {"a" : "x"} ',
        '{"ä":"ü"}'.encode(),
        b'{"cfa":1,"cf":2,"CF.x":3}',
    ],
)
def test_a_flat_object_of_a_few_entries_is_taken(written):
    assert read(written, 5) == orjson.loads(written)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"", "not JSON"),
        (b"team=search", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":"\xe9"}', "escape what is not ASCII"),
        (b'"text"', "not an object"),
        (b"null", "not an object"),
        (b'[{"a":1}]', "not an object"),
        (b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}', "6 entries, and at most 5"),
        (b'{"a":null}', 'value of "a" is not'),
        (b'{"a":{}}', 'value of "a" is not'),
        (b'{"a":[1]}', 'value of "a" is not'),
        (b'{"":1}', "a key is empty"),
        (b'{"cf.user_id":"me"}', '"cf.user_id" begins with "cf."'),
        (b'{"' + b"x" * 100 + b'":null}', "x" * 37 + "..."),
    ],
)
def test_anything_else_is_refused_with_the_reason(written, reason):
    with pytest.raises(CallerFault) as caught:
        read(written, 5)
    assert caught.value.status == 400
    assert reason in caught.value.message
