"""Whose key goes up: the caller's own, else the operator's, and never the wrong one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawCaller,
    Request,
    RunningGateway,
    ScriptedUpstream,
    running_gateway,
)

ENV = {
    "OPENAI_API_KEY": "sk-operators",
    "ANTHROPIC_API_KEY": "ak-operators",
    "GEMINI_API_KEY": "gk-operators",
    "FAL_KEY": "fk-operators",
    "AZURE_OPENAI_API_KEY": "zk-operators",
}
# Takes the caller's Authorization for our own credential, and sends some requests elsewhere.
OTHERS = """
from gateway import Target, hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    def lifespan(self, gateway):
        self.gateway = gateway
        import contextlib
        return contextlib.AsyncExitStack()

    @hookimpl
    async def authenticate(self, exchange):
        if (exchange.headers.get(b"authorization") or b"").startswith(b"Bearer weir-"):
            exchange.consumed = (b"authorization",)

    @hookimpl
    def pick(self, exchange):
        name = exchange.headers.get(b"x-elsewhere")
        if name is None:
            return None
        provider = self.gateway.providers[name.decode()]
        origin, path = provider.locate(b"v1/elsewhere", None)
        return Target(provider, origin, path)
"""


@pytest.fixture(scope="module")
def gateway(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    others = tmp_path_factory.mktemp("plugins") / "others.py"
    others.write_text(OTHERS)
    names = ("openai", "anthropic", "google-ai-studio", "azure-openai", "fal", "mistral", "ollama")
    providers = {name: upstream.provider() for name in names}
    with running_gateway(
        {"providers": providers}, plugins=["credentials", others], env=ENV
    ) as made:
        yield made


@pytest.fixture
def ask(gateway: RunningGateway, upstream: ScriptedUpstream):
    """Send a request and give what the upstream got of it."""

    def asked(target: bytes, *fields: tuple[bytes, bytes]) -> Request:
        upstream.forget()
        with RawCaller(gateway.port) as caller:
            caller.request(b"GET", target, *fields)
            assert caller.answer().status == 200
        (request,) = upstream.requests
        return request

    return asked


def fields(request: Request) -> list[tuple[bytes, bytes]]:
    return [pair for pair in request.fields if pair[0].lower() != b"host"]


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        (b"openai", (b"authorization", b"Bearer sk-operators")),
        (b"anthropic", (b"x-api-key", b"ak-operators")),
        (b"google-ai-studio", (b"x-goog-api-key", b"gk-operators")),
        (b"azure-openai", (b"api-key", b"zk-operators")),
        (b"fal", (b"authorization", b"Key fk-operators")),
    ],
)
def test_the_operators_key_goes_up_where_the_caller_brought_none(ask, provider, field):
    for _ in range(2):  # the second one finds it ready
        assert fields(ask(b"/" + provider + b"/v1/x")) == [field]


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (b"/openai/v1/x", (b"Authorization", b"Bearer mine")),
        (b"/openai/v1/x", (b"AUTHORIZATION", b"Basic bWluZQ==")),
        (b"/anthropic/v1/x", (b"X-Api-Key", b"mine")),
        (b"/anthropic/v1/x", (b"Authorization", b"Bearer mine")),
        (b"/google-ai-studio/v1/x", (b"x-goog-api-key", b"mine")),
        (b"/google-ai-studio/v1/x", (b"authorization", b"Bearer mine")),
        (b"/azure-openai/v1/x", (b"Authorization", b"Bearer mine")),
    ],
)
def test_a_callers_own_credential_passes_unchanged_and_alone(ask, target, field):
    assert fields(ask(target, field)) == [field]


@pytest.mark.parametrize(
    "target",
    [
        b"/google-ai-studio/v1/x?key=mine",
        b"/google-ai-studio/v1/x?alt=sse&key=mine",
        b"/azure-openai/x?api-version=1&api-key=mine",
        b"/azure-openai/x?key=mine",
    ],
)
def test_a_key_in_the_query_is_the_callers_own(ask, target):
    request = ask(target)
    assert request.target.endswith(b"=mine")
    assert fields(request) == []


@pytest.mark.parametrize("target", [b"/google-ai-studio/v1/x?monkey=1", b"/openai/v1/x?key=1"])
def test_another_parameter_is_no_key(ask, target):
    assert len(fields(ask(target))) == 1


def test_a_field_of_another_provider_is_no_credential_here(ask):
    sent = fields(ask(b"/openai/v1/x", (b"x-api-key", b"mine")))
    assert sent == [(b"x-api-key", b"mine"), (b"authorization", b"Bearer sk-operators")]


@pytest.mark.parametrize("value", [b"", b"Bearer", b"bearer "])
def test_an_empty_credential_is_none(ask, value):
    sent = fields(ask(b"/openai/v1/x", (b"Authorization", value)))
    assert sent == [(b"authorization", b"Bearer sk-operators")]


def test_the_gateways_own_credential_never_goes_up(ask):
    request = ask(b"/openai/v1/x", (b"Authorization", b"Bearer weir-secret"))
    assert fields(request) == [(b"authorization", b"Bearer sk-operators")]
    assert b"weir-secret" not in request.raw


@pytest.mark.parametrize("name", [b"weir-key", b"cf-aig-authorization", b"Weir-Anything"])
def test_no_field_of_ours_goes_up(ask, name):
    assert b"secret" not in ask(b"/openai/v1/x", (name, b"secret")).raw


def test_where_no_key_is_known_the_request_goes_up_as_it_came(ask):
    assert fields(ask(b"/mistral/v1/x")) == []
    assert fields(ask(b"/ollama/v1/x")) == []


def test_a_callers_key_for_one_provider_is_not_shown_to_another(ask):
    elsewhere = (b"x-elsewhere", b"anthropic")
    request = ask(b"/openai/v1/x", (b"Authorization", b"Bearer mine"), elsewhere)
    assert fields(request) == [elsewhere, (b"x-api-key", b"ak-operators")]
    assert b"mine" not in request.raw


def test_not_even_where_that_other_one_has_no_key(ask):
    elsewhere = (b"x-elsewhere", b"ollama")
    request = ask(b"/anthropic/v1/x", (b"x-api-key", b"mine"), elsewhere)
    assert fields(request) == [elsewhere]


def test_keys_are_in_no_log_line(gateway):
    assert "operators" not in gateway.stderr


def test_a_key_that_changed_with_a_reload_is_the_one_that_goes_up(upstream, tmp_path):
    key = tmp_path / "key"
    key.write_text("first-key")
    table = upstream.provider(api_key=f"file:{key}")
    config = {"providers": {"openai": table}}
    with running_gateway(config, plugins=["credentials"]) as gateway:
        sent: list[bytes | None] = []
        for text in ("first-key", "second-key"):
            key.write_text(text)
            gateway.write_config({**config, "enabled": ["credentials"]})
            gateway.signal(1)
            gateway.wait_for_log("reloaded", count=len(sent) + 1)
            upstream.forget()
            with RawCaller(gateway.port) as caller:
                caller.request(b"GET", b"/openai/v1/x")
                caller.answer()
            sent.append(upstream.requests[0].get(b"authorization"))
    assert sent == [b"Bearer first-key", b"Bearer second-key"]
