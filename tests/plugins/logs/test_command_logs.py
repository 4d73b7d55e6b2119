"""The commands over a store that a gateway has left; `tail` is in tests/whole/test_logs.py."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from plugins.logs.sqlite import SqliteStore
from tests.plugins.logs.made import body, id_of, made

ROWS = [
    made(
        n,
        team="ab"[n % 2],
        status=200 if n % 3 else 429,
        request=body(b'{"text":"number %d"}' % n),
        response=body(b"\x1b[31mred"),
        metadata={"n": n},
    )
    for n in range(1, 8)
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration whose state has seven rows."""
    state = tmp_path / "state"
    state.mkdir()

    async def fill() -> None:
        store = SqliteStore(state / "logs.db")
        await store.open()
        await store.add(ROWS)
        await store.close()

    asyncio.run(fill())
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{state}"\n')
    return file


def weir(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["logs", *arguments, "--config", str(config)])


def found(config: Path, *arguments: str) -> list[str]:
    done = weir(config, "search", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return [row["id"] for row in orjson.loads(done.stdout)]


def test_search_is_a_table_of_the_newest_rows_first(config):
    done = weir(config, "search", "--limit", "3")
    head, *lines = done.stdout.splitlines()
    assert head.split()[:3] == ["started", "(UTC)", "model"]
    assert [line.split()[-1] for line in lines] == [id_of(7), id_of(6), id_of(5)]
    assert f"--cursor {id_of(5)}" in done.stderr
    assert found(config, "--limit", "3", "--cursor", id_of(5)) == [id_of(4), id_of(3), id_of(2)]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["number", "4"], [4]),
        (["number 4"], [4]),
        (["4 number"], []),
        (["--team", "a", "--status", "429"], [6]),
        (["--status", "4xx", "--order", "oldest"], [3, 6]),
        (["--where", "metadata.n=2", "--where", "metadata.n=5"], [5, 2]),
        (["--min", "status=300", "--max", "duration=1s"], [6, 3]),
        (["--until", "2025-11-24T15:59Z"], []),
    ],
)
def test_rows_are_searched_by_words_fields_and_numbers(config, arguments, numbers):
    assert found(config, *arguments) == [id_of(n) for n in numbers]


def test_nothing_found_is_said_beside_the_output(config):
    done = weir(config, "search", "elsewhere")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no such row; words are looked for in bodies" in done.stderr
    assert "bodies" not in weir(config, "search", "--team", "zz").stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["search", "--since", "soon"], "since: 'soon': wanted a time"),
        (["search", "--where", "modle=x"], "did you mean model?"),
        (["search", "--where", "model"], "wanted NAME=VALUE, given 'model'"),
        (["search", "--limit", "0"], "limit: wanted a number"),
        (["search", "!"], "search"),
        (["show", "7"], "'7' is no id of a row"),
        (["tail", "--where", "limit=7"], "limit: there is no such parameter"),
        (["export", "--where", "cursor=7"], "cursor: there is no such parameter"),
        (["delete", "--yes"], "wanted ids, filters, or --all"),
        (["delete", "--yes", "--all", id_of(1)], "wanted ids, filters, or --all"),
        (["delete", "--yes", "--all", "--team", "a"], "wanted ids, filters, or --all"),
        (["delete", "--all"], "give --yes"),
    ],
)
def test_what_cannot_be_asked_is_an_error_of_usage(config, arguments, told):
    done = weir(config, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(found(config)) == 7


def test_show_lays_a_row_out_and_does_nothing_to_the_terminal(config):
    done = weir(config, "show", id_of(2))
    assert done.exit_code == 0
    assert ["metadata", '{"n":2}'] in [line.split() for line in done.stdout.splitlines()]
    assert '{\n  "text": "number 2"\n}\n' in done.stdout
    assert "\\x1b[31mred" in done.stdout
    assert "\x1b" not in done.stdout


def test_show_gives_json_or_a_body_as_it_is(config):
    row = orjson.loads(weir(config, "show", "--json", id_of(2)).stdout)
    assert (row["id"], row["request"]["text"]) == (id_of(2), '{"text":"number 2"}')
    assert weir(config, "show", id_of(2), "--request").stdout_bytes == b'{"text":"number 2"}'
    assert weir(config, "show", id_of(2), "--response").stdout_bytes == b"\x1b[31mred"


def test_show_says_that_there_is_no_such_row(config):
    done = weir(config, "show", id_of(99))
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"there is no row {id_of(99)}" in done.stderr


def test_an_export_is_json_lines_or_csv_oldest_first(config):
    lines = weir(config, "export", "--team", "a").stdout.splitlines()
    rows = [orjson.loads(line) for line in lines]
    assert [row["id"] for row in rows] == [id_of(2), id_of(4), id_of(6)]
    assert "text" not in rows[0]["request"]
    done = weir(config, "export", "--format", "csv", "--bodies", "--order", "newest")
    table = list(csv.DictReader(io.StringIO(done.stdout_bytes.decode(), newline="")))
    assert [row["id"] for row in table] == [id_of(n) for n in range(7, 0, -1)]
    assert table[0]["request"] == '{"text":"number 7"}'


def test_rows_are_deleted_by_id_by_a_filter_or_all(config):
    assert weir(config, "delete", "--yes", id_of(1), id_of(99)).stdout == "1 rows deleted\n"
    assert weir(config, "delete", "--yes", "--status", "4xx").stdout == "2 rows deleted\n"
    assert found(config) == [id_of(n) for n in (7, 5, 4, 2)]
    assert weir(config, "delete", "--yes", "--all").stdout == "4 rows deleted\n"
    assert found(config) == []


def test_on_a_terminal_delete_asks_with_the_number_of_rows(config):
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "gateway", "logs", "delete", "--team", "a"]
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [*arguments, "--config", str(config)], cwd=root, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while not seen.endswith(b"[y/N]: "):
        seen += os.read(ours, 1000)
    os.write(ours, b"n\n")
    assert process.wait(20) == 0
    os.close(ours)
    assert b"delete 3 rows? [y/N]" in seen
    assert len(found(config)) == 7


def test_without_a_store_there_is_nothing_to_read(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    done = weir(file, "search")
    assert (done.exit_code, "there are no logs yet" in done.stderr) == (78, True)


def test_a_store_that_is_away_is_an_error_of_the_configuration(config):
    file = config.parent / "state" / "logs.db"
    file.write_bytes(b"this is no database" * 100)
    done = weir(config, "search")
    assert (done.exit_code, "file is not a database" in done.stderr) == (78, True)
