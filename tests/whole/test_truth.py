"""The second promise: an upstream that dies is never made to look complete, to any client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream, running_gateway, streams
from tests.sizes import Sizes
from tests.whole.clients import CLIENTS, Got
from tests.whole.deaths import DEATHS, DONE, ONE, Death

HEALTHY = streams([ONE, DONE])


@pytest.fixture(scope="module")
def plain() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(HEALTHY) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def secure(tls) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(HEALTHY, tls=tls) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(plain: ScriptedUpstream, secure: ScriptedUpstream) -> Iterator[RunningGateway]:
    providers = {"openai": plain.provider(), "groq": secure.provider()}
    with running_gateway({"providers": providers}) as gateway:
        yield gateway
        assert gateway.crashes == []


def ask(client: Callable[[str], Got], gateway: RunningGateway, *, tls: bool) -> Got:
    provider = "groq" if tls else "openai"
    return client(f"{gateway.url}/{provider}/v1/chat/completions")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("is_tls", [False, True])
def test_a_healthy_stream_is_whole(client, is_tls, plain, secure, gateway):
    (secure if is_tls else plain).script = HEALTHY

    assert ask(client, gateway, tls=is_tls) == Got(200, ONE + DONE, is_whole=True)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.name)
def test_a_client_can_tell_that_the_upstream_died(
    client, death: Death, plain, secure, gateway, sizes: Sizes
):
    (secure if death.tls else plain).script = death.script
    for _ in range(sizes.deaths):
        got = ask(client, gateway, tls=death.tls)
        if death.body is None or (not death.body and got.status == 502):
            assert (got.status, got.is_whole) == (502, True)
            assert json.loads(got.body)["error"]["message"]
        else:
            assert got == Got(200, death.body, is_whole=False)
