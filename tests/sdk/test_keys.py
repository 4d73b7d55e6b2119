"""Whose key goes up: the caller's own as it came, and the provider's where the caller has none."""

from __future__ import annotations

import pytest

from gateway.testing import Request, RunningGateway, ScriptedUpstream
from tests.sdk.asked import KEY, Question
from tests.sdk.provider import KEYS
from tests.sdk.sdks import Sdk

# What each real provider's own row says, with the operator's key in it.
OPERATORS = {
    "openai": (b"authorization", b"Bearer sk-of-the-operator"),
    "anthropic": (b"x-api-key", b"sk-ant-of-the-operator"),
    "google-ai-studio": (b"x-goog-api-key", b"AI-of-the-operator"),
    "mistral": (b"authorization", b"Bearer mistral-of-the-operator"),
    "cohere": (b"authorization", b"Bearer co-of-the-operator"),
    "groq": (b"authorization", b"Bearer gsk-of-the-operator"),
}
CREDENTIALS = (b"authorization", b"x-api-key", b"x-goog-api-key")
FORM = pytest.mark.parametrize("form", ["", "/v1/acc/default"], ids=["plain", "cloudflare"])


def credentials(request: Request) -> list[tuple[bytes, bytes]]:
    """Give the fields of a request that may hold a key, names in lower case."""
    lower = [(name.lower(), value) for name, value in request.fields]
    return [field for field in lower if field[0] in CREDENTIALS]


def only_request(upstream: ScriptedUpstream) -> Request:
    (request,) = upstream.requests
    return request


@FORM
def test_a_callers_own_key_passes_and_is_the_only_one(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream, form
):
    upstream.forget()
    got = sdk.ask(Question(sdk.base(gateway.url + form), "scene-answers"))
    ((_, value),) = credentials(only_request(upstream))

    assert got.fault is None
    assert value.removeprefix(b"Bearer ") == KEY.encode()
    for key in KEYS.values():
        assert key.encode() not in only_request(upstream).raw


@FORM
def test_without_one_the_providers_own_goes_up_as_its_row_says(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream, form
):
    upstream.forget()
    question = Question(sdk.base(gateway.url + form), "scene-answers", streaming=True, key=None)

    assert sdk.ask(question).fault is None
    assert credentials(only_request(upstream)) == [OPERATORS[sdk.provider]]


def test_a_key_that_the_provider_refuses_is_not_tried_with_another(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream
):
    upstream.forget()
    got = sdk.ask(Question(sdk.base(gateway.url), "scene-401"))

    assert sdk.error(401) in got.kinds
    assert KEY.encode() in only_request(upstream).raw


def test_what_is_for_the_gateway_does_not_go_up(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream
):
    upstream.forget()
    headers = {
        "cf-aig-authorization": "Bearer for-the-gateway",
        "cf-aig-metadata": '{"team": "search"}',
        "weir-event-id": "an-event",
    }
    got = sdk.ask(Question(sdk.base(gateway.url), "scene-answers", headers=headers))

    assert got.fault is None
    # The exchange's id is for the upstream's log, in the prefix that the caller used.
    sent = only_request(upstream).raw.lower().replace(b"\ncf-aig-request-id:", b"\n")
    for word in (b"cf-aig-", b"weir-", b"for-the-gateway", b"search", b"an-event"):
        assert word not in sent


def test_no_key_is_in_the_log(sdk: Sdk, gateway: RunningGateway):
    sdk.ask(Question(sdk.base(gateway.url), "scene-fin", streaming=True))
    gateway.wait_for_log("answer_cut")

    for key in (KEY, *KEYS.values()):
        assert key not in gateway.stderr
