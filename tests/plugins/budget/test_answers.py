"""An answer is counted once, as long as it is remembered, and a guess at it is corrected."""

from __future__ import annotations

from gateway import Usage
from plugins.budget.answers import ANSWERS_MAX, Answers


def used(
    written: int, cost: int | None = 1, *, estimated: bool = False, reported: bool = True
) -> Usage:
    usage = Usage()
    usage.reported = reported
    usage.output_text, usage.cost_nanousd, usage.estimated = written, cost, estimated
    return usage


def test_an_answer_counts_once_for_each_provider():
    answers = Answers()
    usage = used(5)
    assert answers.new_in("openai", "resp_1", usage) is usage
    assert answers.new_in("openai", "resp_1", used(9)) is None
    assert answers.new_in("azure-openai", "resp_1", usage) is usage
    answers.note("openai", "resp_2")
    assert answers.new_in("openai", "resp_2", usage) is None


def test_two_answers_of_which_neither_was_asked_for_again_are_two():
    answers = Answers()
    first, second = used(5, reported=False), used(7, reported=False)
    assert answers.new_in("openai", "resp_1", first) is first
    assert answers.new_in("openai", "resp_1", second) is second
    assert answers.new_in("openai", "resp_1", used(5)) is None
    assert answers.new_in("openai", "resp_2", used(5)) is not None
    assert answers.new_in("openai", "resp_2", used(5, reported=False)) is None  # was told of before


def test_the_oldest_is_forgotten_and_ids_are_as_long_as_in_the_ledger():
    answers = Answers()
    for number in range(ANSWERS_MAX + 1):
        answers.note("openai", str(number))
    assert answers.new_in("openai", "1", used(1)) is None
    assert answers.new_in("openai", "0", used(1)) is not None
    assert answers.new_in("openai", "x" * 501, used(1)) is not None
    assert answers.new_in("openai", "x" * 502, used(1)) is None


def test_a_guess_is_corrected_once():
    answers = Answers()
    answers.new_in("openai", "r", used(100, 1_000, estimated=True))
    assert answers.new_in("openai", "r", used(120, 1_200, estimated=True)) is None
    more = answers.new_in("openai", "r", used(90, 900))
    assert more is not None
    assert (more.output_text, more.cost_nanousd, more.fresh_input) == (-10, -100, None)
    assert answers.new_in("openai", "r", used(80, 800)) is None


def test_what_had_no_price_gets_one_once():
    answers = Answers()
    answers.new_in("openai", "r", used(100, None))
    assert answers.new_in("openai", "r", used(100, None)) is None
    more = answers.new_in("openai", "r", used(100, 700))
    assert more is not None
    assert (more.output_text, more.cost_nanousd) == (0, 700)
