from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys

import click
import pytest

from gateway.cli.text import COLUMN_MAX, DURATION, aligned, markdown, say, say_json


def test_columns_stand_under_each_other_without_trailing_space():
    assert aligned([("a", "bb", "c"), ("aaa", "b"), ("", "", "x")]) == [
        "a    bb  c",
        "aaa  b",
        "         x",
    ]
    assert aligned([]) == []


def test_one_wide_cell_does_not_push_the_others_away():
    wide = "w" * (COLUMN_MAX + 1)
    assert aligned([("a", "x"), (wide, "x"), ("bbb", "x")]) == ["a    x", f"{wide}  x", "bbb  x"]


def test_a_markdown_table_has_a_head_and_escapes_bars():
    assert markdown(("a", "b"), [("x|y", "z")]) == "| a | b |\n| --- | --- |\n| x\\|y | z |"


def test_json_is_indented(capsys):
    say_json({"a": [1]})
    output = capsys.readouterr().out
    assert json.loads(output) == {"a": [1]}
    assert output.startswith('{\n  "a"')
    assert output.endswith("}\n")


def test_say_writes_to_the_stream_that_is_asked_for(capsys):
    say("one")
    say("two", err=True)
    assert capsys.readouterr() == ("one\n", "two\n")


@pytest.mark.parametrize(("value", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured_on_a_terminal(value, coloured):
    code = "import click; from gateway.cli.text import say; say(click.style('x', fg='red'))"
    leader, follower = os.openpty()
    environ = {**os.environ, "NO_COLOR": value}
    command = [sys.executable, "-c", code]
    subprocess.run(command, stdout=follower, env=environ, check=True, timeout=30)
    os.close(follower)
    assert (b"\x1b[" in os.read(leader, 1000)) is coloured
    os.close(leader)


@pytest.mark.parametrize(("text", "nanoseconds"), [("2s", 2_000_000_000), ("250ms", 250_000_000)])
def test_a_duration_is_written_as_in_the_configuration(text, nanoseconds):
    assert DURATION.convert(text, None, None) == nanoseconds


@pytest.mark.parametrize("text", ["2", "soon", "0s", "-1s"])
def test_another_duration_is_refused(text):
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


WIDE = [("name", "what it is for, at length: " + "word " * 30), ("[bold]", "as it stands")]
SAYING = f"from gateway.cli.text import say_rows; say_rows({WIDE!r}, '  ')"


def said_on_a_terminal(code: str, columns: int) -> list[str]:
    """Give the lines that a program prints on a terminal so many columns wide."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, env=environment) as program:
        os.close(theirs)
        data = b""
        with contextlib.suppress(OSError):  # what Linux says at the end of a terminal
            while piece := os.read(ours, 65536):
                data += piece
        os.close(ours)
    assert program.returncode == 0
    return data.decode().replace("\r\n", "\n").rstrip("\n").split("\n")


def test_rows_are_wrapped_in_their_column_on_a_terminal():
    lines = [line.rstrip() for line in said_on_a_terminal(SAYING, 60)]

    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("  name    what it is for, at length: word")
    assert lines[1].startswith("          word word")
    assert lines[-1] == "  [bold]  as it stands"
    assert sum(line.count("word") for line in lines) == 30


def test_without_rich_or_a_terminal_lines_are_as_long_as_they_are():
    hidden = "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None; "
    piped = subprocess.run(
        [sys.executable, "-c", SAYING], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert len(piped) == len(WIDE)
    assert [line.rstrip() for line in said_on_a_terminal(hidden + SAYING, 60)] == piped
