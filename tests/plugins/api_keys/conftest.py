"""A store of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.api_keys.opened import KINDS, Opened
from tests.postgres_server import PostgresServer

EMPTY = (
    "TRUNCATE api_keys, api_secrets, api_teams, api_uses, api_changes RESTART IDENTITY"  # all ours
)


@pytest.fixture(scope="session")
def shared_database(postgres: PostgresServer) -> str:
    """Give a database that tests empty: to make one takes half a second."""
    return postgres.database()


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Give an empty store of each kind."""
    is_file = request.param == "sqlite"
    made = Opened("sqlite" if is_file else request.getfixturevalue("shared_database"), tmp_path)
    if not is_file:
        made.run(made.store.fetch(EMPTY))
    yield made
    made.close()


@pytest.fixture
def in_file(tmp_path: Path) -> Iterator[Opened]:
    """Give an empty store in a file, where the kind makes no difference."""
    made = Opened("sqlite", tmp_path)
    yield made
    made.close()
