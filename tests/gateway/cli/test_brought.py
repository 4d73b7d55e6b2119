"""Commands of plugins are found by their files, and not imported before they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from gateway.cli import brought, main

ROOT = Path(__file__).resolve().parents[3]


def run(code: str, *paths: Path) -> str:
    places = [str(path) for path in (ROOT, *paths)]
    start = f"import sys; sys.path[:0] = {places!r}\nfrom gateway.cli import brought\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_a_file_of_a_plugin_is_a_word():
    assert brought.words()["ledger"] == "plugins.ledger.command_ledger"
    assert set(brought.words()) == set(brought.helps())


def test_each_word_has_its_line_and_its_command():
    result = CliRunner().invoke(main, ["--help"], prog_name="weir")
    for word, text in brought.helps().items():
        command = brought.load(word)
        assert command is not None
        assert command.name == word
        assert command.help
        assert text.endswith(".")
        assert word in result.output
        assert CliRunner().invoke(main, [word, "--help"], prog_name="weir").exit_code == 0


def test_a_word_that_nobody_brings_is_none():
    assert brought.load("nonsense") is None
    result = CliRunner().invoke(main, ["ledgr"], prog_name="weir")
    assert "Did you mean 'ledger'?" in result.output


def test_to_know_the_words_no_plugin_is_imported():
    code = "brought.words(); brought.helps()\nprint([m for m in sys.modules if 'plugins.' in m])"
    assert run(code) == "[]"


def test_an_installed_plugin_brings_its_word_by_an_entry_point(tmp_path):
    (tmp_path / "theirs.py").write_text("import click\ncommand = click.Command('their-word')\n")
    about = tmp_path / "theirs-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[weir.commands]\ntheir-word = theirs\n")
    code = "print(brought.words()['their-word'], 'theirs' in sys.modules)\n"
    code += "print(brought.load('their-word').name)"
    assert run(code, tmp_path).split() == ["theirs", "False", "their-word"]
