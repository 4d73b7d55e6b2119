"""Official SDKs stream and call through the gateway, with nothing changed but the base URL."""

from __future__ import annotations

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream
from tests.sdk.asked import PROMPT, Question
from tests.sdk.formats import PIECES
from tests.sdk.sdks import Sdk

# The mock's pace is 20 ms a token; held back until the end, they would all come at once.
SPREAD_S = 0.15
# Cloudflare's form of a path: an account, which may be anything, and a gateway.
CLOUDFLARE = "/v1/an-account/default"


@pytest.mark.parametrize("form", ["", CLOUDFLARE], ids=["plain", "cloudflare"])
def test_the_mock_streams_token_by_token(mocked_sdk: Sdk, mocked: RunningGateway, form):
    got = mocked_sdk.ask(
        Question(mocked_sdk.base(mocked.url + form, "mock"), "any-model", streaming=True)
    )

    assert got.fault is None
    assert got.text.endswith(PROMPT)
    assert len(got.pieces) >= 10
    assert got.arrived_s[-1] - got.arrived_s[0] > SPREAD_S


@pytest.mark.parametrize("form", ["", CLOUDFLARE], ids=["plain", "cloudflare"])
def test_the_mock_answers_a_call(mocked_sdk: Sdk, mocked: RunningGateway, form):
    got = mocked_sdk.ask(Question(mocked_sdk.base(mocked.url + form, "mock"), "any-model"))

    assert got.fault is None
    assert got.text.endswith(PROMPT)


@pytest.mark.parametrize("form", ["", CLOUDFLARE], ids=["plain", "cloudflare"])
def test_a_stream_of_a_real_providers_name_is_whole(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream, form
):
    upstream.forget()
    got = sdk.ask(Question(sdk.base(gateway.url + form), "scene-answers", streaming=True))

    assert (got.pieces, got.fault) == ([*PIECES], None)
    assert len(upstream.requests) == 1


def test_the_mock_breaks_off_and_the_sdk_raises(mocked_sdk: Sdk, mocked: RunningGateway):
    got = mocked_sdk.ask(Question(mocked_sdk.base(mocked.url, "mock"), "mock-cut", streaming=True))

    assert 1 <= len(got.pieces) <= 12
    assert mocked_sdk.cut[0] in got.kinds
