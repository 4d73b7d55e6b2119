"""The two gateways of these tests: one that leads to the mock, one that leads to trouble."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream, running_gateway
from tests.sdk.provider import play, scripted_gateway

CONFIG = Path(__file__).resolve().parents[2] / "config.toml"


@pytest.fixture(scope="session")
def mocked() -> Iterator[RunningGateway]:
    """Give a gateway with the plugins of the repository's config.toml, the mock among them."""
    enabled = tomllib.loads(CONFIG.read_text())["enabled"]
    with running_gateway({"enabled": enabled}) as gateway:
        yield gateway
        assert "Traceback" not in gateway.stderr


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(play) as upstream:
        yield upstream


@pytest.fixture(scope="session")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    with scripted_gateway(upstream) as gateway:
        yield gateway
