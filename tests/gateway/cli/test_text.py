from __future__ import annotations

import json
import os
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
