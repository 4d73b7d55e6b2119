"""What an exchange reserves, and what it gives back at its end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway import CACHED, Exchange, Usage
from gateway.testing import attempt_of, exchange
from plugins.rate_limit.holds import Hold, Note, Ready, backs
from plugins.rate_limit.rules import Limit, Rule


def limit(text: str, **keys: Any) -> Limit:
    return Limit(Rule(**{"name": "r", "scope": "gateway", "limit": text, **keys}))


def made(document: Any = None) -> Exchange:
    return exchange(body=orjson.dumps({"max_tokens": 5} if document is None else document))


def used(read: int | None = 10, wrote: int | None = 3, **more: Any) -> Usage:
    usage = Usage()
    usage.fresh_input, usage.output_text = read, wrote
    for name, value in more.items():
        setattr(usage, name, value)
    return usage


def ended(
    hold: Hold, usage: Usage | None = None, *, status: int | None = 200, sent: bool = True
) -> int:
    one = made()
    attempt = attempt_of(one)
    attempt.sent_ns = 1 if sent else None
    attempt.status, attempt.usage = status, usage
    found = backs(one, Note(Ready(), holds=[hold]))
    return found[0][1] if found else 0


def hold(text: str, amount: int = 100, **keys: Any) -> Hold:
    return Hold(limit(text, **keys), "default", amount, 0)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("9/s", 1), ("9 concurrent", 1), ("1k tokens/s", 10), ("1k input tokens/s", 5)],
)
def test_what_is_reserved(text, amount):
    assert Note(Ready()).amount(made(), limit(text)) == amount
    assert Note(Ready()).amount(made(), limit("1k output tokens/s")) == 5


def test_a_guess_of_the_output_never_asks_for_more_than_a_limit():
    note = Note(Ready())
    assert note.amount(made({}), limit("100 tokens/s")) == 100
    assert note.amount(made({}), limit("100k tokens/s")) == 1025
    assert note.amount(made({}), limit("100k tokens/s", output_default=7)) == 8
    assert Note(Ready()).amount(made({"x": "y" * 900}), limit("100 tokens/s")) > 200
    assert Note(Ready()).amount(made({"max_tokens": 500}), limit("100 tokens/s")) > 500


@pytest.mark.parametrize(
    ("text", "back"), [("9k tokens/s", 87), ("9k input tokens/s", 90), ("9k output tokens/s", 97)]
)
def test_tokens_that_were_not_used_come_back(text, back):
    assert ended(hold(text), used()) == back


def test_more_tokens_than_were_reserved_are_debt():
    assert ended(hold("9k tokens/s"), used(400, 50)) == -350


def test_what_failed_or_was_never_sent_gives_all_back():
    assert ended(hold("9k tokens/s"), status=500) == 100
    assert ended(hold("9k tokens/s"), status=None) == 100
    assert ended(hold("9k tokens/s"), sent=False) == 100
    assert ended(hold("9/s", 1), sent=False) == 1


def test_an_answer_that_nobody_read_keeps_what_was_reserved():
    assert ended(hold("9k tokens/s")) == 0
    assert ended(hold("9k tokens/s"), used(None, None)) == 0


def test_counts_told_again_are_not_counted_again():
    assert ended(hold("9k tokens/s"), used(reported=True)) == 100


def test_a_request_that_was_sent_counts_whatever_came_of_it():
    assert ended(hold("9/s", 1), status=500) == 0


def test_a_slot_is_always_given_back():
    assert [ended(hold("9 concurrent", 1), sent=sent) for sent in (True, False)] == [1, 1]


def test_an_answer_of_a_cache_is_a_call():
    for counts, back in (("calls", 0), ("upstream", 1)):
        one = made()
        one.outcome = CACHED
        found = backs(one, Note(Ready(), holds=[hold("9/s", 1, counts=counts)]))
        assert sum(each for _, each in found) == back


def test_several_attempts_count_together_and_by_provider():
    one = made()
    for name in ("openai", "anthropic"):
        one.provider = exchange(provider=name).provider
        attempt = attempt_of(one)
        attempt.sent_ns, attempt.status, attempt.usage = 1, 200, used()
    mine = hold("9k tokens/s", scope="provider")
    mine.provider = "anthropic"
    note = Note(Ready(), holds=[hold("9k tokens/s"), mine, hold("9/s", 1)])
    assert [back for _, back in backs(one, note)] == [74, 87]
    assert note.holds == []


def test_the_tightest_of_each_kind_is_remembered():
    note = Note(Ready())
    for text, left in (("9/s", 5), ("8/s", 3), ("9k tokens/s", 7), ("9 concurrent", 0), ("7/s", 4)):
        note.add(Hold(limit(text), "default", 1, left))
    assert note.requests is not None
    assert note.tokens is not None
    assert (note.requests.left, note.tokens.left) == (3, 7)
