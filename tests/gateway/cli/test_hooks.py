from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import hooks
from gateway.cli import main
from gateway.cli.hooks import hooks_table, plugins_table, refreshed, rows
from gateway.errors import StartError

README = """# Title

<!-- generated: hooks -->
old text
<!-- end -->

between

<!-- generated: plugins -->
<!-- end -->
after
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["hooks", *arguments])


def test_there_is_a_row_for_every_hook_in_the_order_of_the_line():
    assert tuple(row.name for row in rows()) == hooks.NAMES


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_a_row_is_the_hooks_own_declaration(row):
    hook = getattr(hooks, row.name)
    assert row.signature == f"{row.name}({', '.join(inspect.signature(hook).parameters)})"
    assert row.colour.startswith("async") is (
        inspect.iscoroutinefunction(hook) or row.name == "lifespan"
    )
    assert ("reverse" in row.colour) is (row.name in hooks.REVERSED)
    assert row.when.endswith(".")
    assert row.fault
    assert "fault" not in row.when
    assert " ".join((hook.__doc__ or "").split()).startswith(row.when[:-1])


def test_what_happens_on_a_fault_is_told_apart_from_the_rest():
    found = {row.name: (row.colour, row.when, row.fault) for row in rows()}
    assert found["authenticate"] == (
        "async or sync",
        "Head is in, body not read. A Reply stops the exchange, None goes on.",
        "is a 500",
    )
    assert found["answer"][0] == "sync, reverse order"
    assert found["limit"][2] == "the plugin's `fails` policy decides"
    assert found["lifespan"] == (
        "async context manager",
        "Wrap the process's life: an async context manager, closed in reverse order.",
        "stops the start",
    )


def test_the_command_prints_each_hook_with_its_facts():
    result = run()
    assert result.exit_code == 0
    for row in rows():
        assert f"{row.signature}\n  colour  {row.colour}\n  when    {row.when}\n" in result.output
    found = json.loads(run("--json").output)
    assert [(one["name"], one["fault"]) for one in found] == [(r.name, r.fault) for r in rows()]


def test_the_table_begins_each_row_with_the_signature():
    lines = hooks_table().splitlines()
    assert len(lines) == len(hooks.NAMES) + 2
    for line, row in zip(lines[2:], rows(), strict=True):
        assert line.startswith(f"| `{row.signature}` |")
        assert line.count(" | ") == 3


def test_only_what_stands_between_the_markers_is_replaced():
    text = refreshed(README)
    assert text.startswith("# Title\n\n<!-- generated: hooks -->\n| hook |")
    assert "old text" not in text
    assert "<!-- end -->\n\nbetween\n\n<!-- generated: plugins -->\n| plugin |" in text
    assert text.endswith("<!-- end -->\nafter\n")
    assert hooks_table() in text
    assert plugins_table() in text
    assert refreshed(text) == text


@pytest.mark.parametrize("missing", ["<!-- generated: plugins -->", "<!-- end -->"])
def test_a_missing_marker_is_named(missing):
    with pytest.raises(StartError, match=re.escape("generated: ")):
        refreshed(README.replace(missing, ""))


def test_write_refreshes_the_file_and_says_so(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    first = run("--write", "--readme", str(readme))
    assert (first.exit_code, first.output) == (0, f"{readme}: written\n")
    assert readme.read_text() == refreshed(README)
    second = run("--write", "--readme", str(readme))
    assert (second.exit_code, second.output) == (0, f"{readme}: up to date\n")


def test_write_takes_the_readme_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text(README)
    assert run("--write").output == "README.md: written\n"


def test_write_without_a_file_or_markers_fails_in_words(tmp_path):
    none = run("--write", "--readme", str(tmp_path / "none.md"))
    assert none.exit_code == 2
    assert none.stderr.endswith(f"Error: {tmp_path}/none.md: No such file or directory\n")
    bare = tmp_path / "bare.md"
    bare.write_text("no markers\n")
    result = run("--write", "--readme", str(bare))
    assert result.exit_code == 2
    assert "<!-- generated: hooks --> ... <!-- end -->" in result.stderr
    assert bare.read_text() == "no markers\n"
