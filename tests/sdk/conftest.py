"""Every SDK in turn, and two gateways: one that leads to the mock, one that leads to trouble."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream, running_gateway
from tests.sdk.provider import few_certificates, play, scripted_gateway
from tests.sdk.sdks import NODES, SDKS, Sdk

CONFIG = Path(__file__).resolve().parents[2] / "config.toml"
# What google-genai does to aiohttp is its own affair.
QUIET = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")


def in_turn(sdks: Iterable[Sdk]) -> list[Any]:
    """Make parameters of them, each marked for the summary."""
    return [
        pytest.param(
            sdk,
            id=f"{sdk.registry}-{sdk.name}-{sdk.way}",
            marks=[pytest.mark.sdk(sdk.name, sdk.registry), QUIET],
        )
        for sdk in sdks
    ]


@pytest.fixture(params=in_turn(SDKS))
def sdk(request: pytest.FixtureRequest) -> Sdk:
    """Give each SDK by each way to use it."""
    found: Sdk = request.param
    return found


@pytest.fixture(params=in_turn(sdk for sdk in SDKS if sdk.suits_the_mock))
def mocked_sdk(request: pytest.FixtureRequest) -> Sdk:
    """Give each SDK whose format and paths the mock provider speaks."""
    found: Sdk = request.param
    return found


@pytest.fixture(scope="session", autouse=True)
def _cheap_clients() -> Iterator[None]:
    with few_certificates():
        yield
    for node in NODES:
        node.close()


@pytest.fixture(scope="session")
def mocked() -> Iterator[RunningGateway]:
    """Give a gateway with the plugins of the repository's config.toml, the mock among them."""
    enabled = tomllib.loads(CONFIG.read_text())["enabled"]
    with running_gateway({"enabled": enabled}) as gateway:
        yield gateway
        assert "Traceback" not in gateway.stderr


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedUpstream]:
    """Give the provider that `gateway` leads to."""
    with ScriptedUpstream(play) as upstream:
        yield upstream


@pytest.fixture(scope="session")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    with scripted_gateway(upstream) as gateway:
        yield gateway
