"""Errors of a provider and of the gateway raise the exception that the SDK has for them."""

from __future__ import annotations

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream
from tests.sdk.asked import Got, Question
from tests.sdk.formats import REASON
from tests.sdk.provider import STATUSES
from tests.sdk.sdks import Sdk

# In Cloudflare's form of a path, errors of the gateway have Cloudflare's shape.
FORM = pytest.mark.parametrize("form", ["", "/v1/acc/default"], ids=["plain", "cloudflare"])


def check(sdk: Sdk, got: Got, status: int, text: str) -> None:
    """See that the SDK's own class for a status was raised, and that the reason is in it."""
    assert got.pieces == []
    assert sdk.error(status) in got.kinds
    assert got.fault is not None
    assert got.fault.status == status
    assert text in got.fault.text


@pytest.mark.parametrize("streaming", [False, True], ids=["call", "stream"])
@pytest.mark.parametrize("status", STATUSES)
def test_an_error_of_the_provider_is_raised(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream, status, streaming
):
    upstream.forget()
    got = sdk.ask(Question(sdk.base(gateway.url), f"scene-{status}", streaming))

    check(sdk, got, status, REASON)
    assert len(upstream.requests) == 1


@FORM
def test_an_upstream_that_cannot_be_reached_is_a_502(sdk: Sdk, gateway: RunningGateway, form):
    base = sdk.base(gateway.url + form, f"{sdk.dialect}-gone")
    got = sdk.ask(Question(base, "scene-answers", streaming=True))

    check(sdk, got, 502, "The upstream could not be reached.")


def test_an_upstream_that_does_not_answer_is_a_504(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream
):
    upstream.forget()
    base = sdk.base(gateway.url, f"{sdk.dialect}-late")
    got = sdk.ask(Question(base, "scene-silent", streaming=True))

    check(sdk, got, 504, "The upstream did not answer in time.")
    assert len(upstream.requests) == 1


def test_a_provider_that_does_not_exist_is_a_404_that_names_the_nearest(
    sdk: Sdk, gateway: RunningGateway
):
    base = sdk.base(gateway.url, f"{sdk.provider}s")
    got = sdk.ask(Question(base, "scene-answers", streaming=True))

    check(sdk, got, 404, "did you mean")
    assert got.fault is not None
    assert sdk.provider in got.fault.text


def test_a_gateway_that_does_not_exist_is_a_404(sdk: Sdk, gateway: RunningGateway):
    base = sdk.base(f"{gateway.url}/v1/acc/staging")
    got = sdk.ask(Question(base, "scene-answers"))

    check(sdk, got, 404, "there is: default")


def test_a_base_url_with_v1_twice_is_a_404_that_names_the_mistake(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream
):
    upstream.forget()
    base = sdk.base(gateway.url).removesuffix(sdk.ending) + "/v1/v1"
    got = sdk.ask(Question(base, "scene-answers"))

    check(sdk, got, 404, "/v1 twice")
    assert upstream.requests == []


@FORM
def test_metadata_that_cannot_be_used_is_a_400(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream, form
):
    upstream.forget()
    base = sdk.base(gateway.url + form)
    headers = {"cf-aig-metadata": "no JSON"}
    got = sdk.ask(Question(base, "scene-answers", headers=headers))

    check(sdk, got, 400, "The metadata field cannot be used")
    assert upstream.requests == []
