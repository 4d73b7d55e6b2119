from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from plugins.logs.options import filters, pairs, searched


def given(*arguments: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    @click.command()
    @filters()
    def command(**asked: object) -> None:
        found.extend(pairs(asked))

    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    return found


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], []),
        (["--since", "7d", "--search", "a b"], [("since", "7d"), ("search", "a b")]),
        (["--team", "a", "--team", "b"], [("team", "a"), ("team", "b")]),
        (
            ["--where", "metadata.q=a=b", "--where", "error="],
            [("metadata.q", "a=b"), ("error", "")],
        ),
        (["--min", "cost=1", "--max", "cost=2"], [("min_cost", "1"), ("max_cost", "2")]),
    ],
)
def test_options_are_pairs_of_name_and_text(arguments, asked):
    assert given(*arguments) == asked


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("quick", "fox"), "quick fox"),
        (("quick brown", "fox"), '"quick brown" fox'),
        (('the "quick brown" fox',), 'the "quick brown" fox'),
    ],
)
def test_an_argument_of_several_words_is_a_phrase(words, text):
    assert searched(words) == text
