"""An answer that breaks off raises in every SDK, behind the pieces that had come.

One ending needs more than HTTP: a stream without length or chunks ends with its connection, and an
end in the middle looks like any other. Every SDK here takes it for a good one when it is alone with
the provider, as the control shows. The gateway knows the formats' end markers, frames the stream
itself and cuts it, so that they raise.
"""

from __future__ import annotations

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream
from tests.sdk.asked import Question
from tests.sdk.formats import PIECES
from tests.sdk.provider import CUTS
from tests.sdk.sdks import Sdk


@pytest.mark.parametrize("cut", CUTS)
def test_a_stream_that_breaks_off_raises_behind_its_pieces(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream, cut
):
    upstream.forget()
    got = sdk.ask(Question(sdk.base(gateway.url), f"scene-{cut}", streaming=True))

    assert got.pieces == [*PIECES[:2]]
    assert sdk.cut[0] in got.kinds
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("cut", ["fin", "reset"])
def test_a_whole_answer_that_breaks_off_raises(
    sdk: Sdk, gateway: RunningGateway, upstream: ScriptedUpstream, cut
):
    upstream.forget()
    got = sdk.ask(Question(sdk.base(gateway.url), f"scene-{cut}"))

    assert got.pieces == []
    assert sdk.cut[1] in got.kinds
    assert len(upstream.requests) == 1


def test_in_cloudflares_form_it_raises_too(sdk: Sdk, gateway: RunningGateway):
    base = sdk.base(f"{gateway.url}/v1/acc/default")
    got = sdk.ask(Question(base, "scene-unframed", streaming=True))

    assert got.pieces == [*PIECES[:2]]
    assert sdk.cut[0] in got.kinds


def test_control_alone_an_sdk_takes_an_unframed_cut_for_the_end(
    sdk: Sdk, upstream: ScriptedUpstream
):
    got = sdk.ask(Question(sdk.alone(upstream.url), "scene-unframed", streaming=True))

    assert (got.pieces, got.fault) == ([*PIECES[:2]], None)
