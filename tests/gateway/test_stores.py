"""A store is chosen by its address, and ids of rows are in the order of time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import ID_MAX, StartError, id_after, id_at, open_store


@pytest.mark.parametrize("address", ["mysql://me:secret@host/db", "", "SQLITE", "secret"])
def test_an_address_that_nobody_knows_is_refused_without_telling_it(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(StartError, match='wanted "sqlite" or "postgresql://') as refused:
        open_store(address, tmp_path / "x.db", "plugins.logs")

    assert str(refused.value).startswith("logs: store = ")
    assert "me:secret" not in str(refused.value)


def test_without_its_package_postgresql_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "sys.modules['asyncpg'] = None\n"
        "from gateway import StartError, open_store\n"
        "try: open_store('postgresql://host/db', Path('x.db'), 'plugins.logs')\n"
        "except StartError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout == (
        'logs: asyncpg is not installed, which PostgreSQL needs; pip install "weir[postgres]"\n'
    )


def test_options_are_for_the_file(tmp_path: Path) -> None:
    store = open_store("sqlite", tmp_path / "x.db", "plugins.logs", query_s=1.0)

    assert isinstance(store.path, Path)
    assert not store.path.exists()


@given(st.integers(0, (1 << 48) - 2))
def test_ids_are_in_the_order_of_their_milliseconds(at_ms: int) -> None:
    assert id_at(at_ms) < id_after(id_at(at_ms)) < id_at(at_ms + 1) <= ID_MAX
    assert id_after(id_after(id_at(at_ms))) > id_after(id_at(at_ms))
