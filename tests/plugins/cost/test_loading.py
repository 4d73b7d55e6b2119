from __future__ import annotations

import asyncio
from importlib.metadata import version

import structlog

from plugins.cost.loading import book_in

NAME = f"prices-{version('genai-prices')}.json"


def test_the_first_start_of_a_version_writes_its_file_and_the_next_reads_it(tmp_path):
    (tmp_path / "prices-0.0.1.json").write_text("{}")
    first = asyncio.run(book_in(tmp_path))
    written = (tmp_path / NAME).stat()
    second = asyncio.run(book_in(tmp_path))

    assert first is not None
    assert second is not None
    assert first.source == f"genai-prices {version('genai-prices')}"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).stat().st_mtime_ns == written.st_mtime_ns
    assert written.st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_read_is_written_anew(tmp_path):
    (tmp_path / NAME).write_text('{"version": "0.')
    assert asyncio.run(book_in(tmp_path)) is not None


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_priced(tmp_path):
    with structlog.testing.capture_logs() as logged:
        assert asyncio.run(book_in(tmp_path / "missing")) is None
    assert [line["event"] for line in logged] == ["prices_not_extracted"]
    assert "No such file" in logged[0]["detail"]


def test_without_the_package_there_is_a_hint(tmp_path):
    with structlog.testing.capture_logs() as logged:
        assert asyncio.run(book_in(tmp_path, package="no-such-package")) is None
    assert [line["event"] for line in logged] == ["prices_missing"]
    assert "weir[prices]" in logged[0]["hint"]
    assert list(tmp_path.iterdir()) == []
