"""A refusal says what was refused, whose it was and what to do."""

from __future__ import annotations

import pytest

from gateway.testing import exchange
from plugins.rate_limit.fields import Names
from plugins.rate_limit.holds import Wish
from plugins.rate_limit.memory import Crowded, Refused
from plugins.rate_limit.refusing import crowded, lost, refusal
from plugins.rate_limit.rules import Limit, Rule

OURS = Names(b"weir-")


def limit(text: str) -> Limit:
    return Limit(Rule(name="r", scope=("team", "model"), limit=text))


@pytest.mark.parametrize(
    ("text", "amount", "wait_us", "words"),
    [
        ("5/min", 1, 1_500_000, "has 0 requests left; try again in 2s."),
        ("9k tokens/min", 70, 99, "has 0 tokens left, and this request may use 70; try again in"),
        ("9k tokens/min", 70, None, "is smaller than this request, which may use 70 tokens"),
        ("2 concurrent", 1, 1_000_000, "is in use; try again once another request has ended."),
    ],
)
def test_a_refusal_says_why(text, amount, wait_us, words):
    fault = Refused(Wish(limit(text), ("a", "b"), amount), 0, wait_us, 5)
    error = refusal(exchange(), OURS, fault)
    assert error.message.startswith(f'The rate limit r (team "a", model "b") of {text} ')
    assert words in error.message
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert dict(error.headers)[b"weir-ratelimit-rule"] == b"r"


def test_what_is_our_own_fault_is_a_503():
    for error in (crowded(Crowded(limit("5/min"))), lost()):
        assert (error.status, error.code) == (503, "rate_limit_unavailable")
        assert b"Retry-After" in dict(error.headers)
