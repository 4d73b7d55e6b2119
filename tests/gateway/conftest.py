"""What the tests of the core share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

import gateway.log  # noqa: F401  # configures structlog, which is what is captured


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Give what the core logs in this process: events with their facts, in order."""
    with capture_logs() as lines:
        yield lines
