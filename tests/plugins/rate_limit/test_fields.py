"""Fields are written as official SDKs read them."""

from __future__ import annotations

import re

import pytest

from gateway import Headers
from gateway.testing import exchange
from plugins.rate_limit.fields import Names, add_fields, lasting, refusal_fields
from plugins.rate_limit.holds import Hold, Note, Ready, Wish
from plugins.rate_limit.memory import Refused
from plugins.rate_limit.rules import Limit, Rule

OURS = Names(b"weir-")


def hold(text: str, left: int = 3, reset_us: int = 2_000_000) -> Hold:
    limit = Limit(Rule(name="r", scope="key", limit=text))
    return Hold(limit, "k", 1, left, None, 0, reset_us)


def refused(text: str, wait_us: int | None = 1_500_000, *, degraded: bool = False) -> Refused:
    limit = Limit(Rule(name="r", scope="key", limit=text))
    return Refused(Wish(limit, "k", 1), -2, wait_us, 61_000_000, degraded=degraded)


def said(fault: Refused, provider: str = "openai") -> dict[bytes, bytes]:
    path = b"v1/messages" if provider == "anthropic" else b"v1/chat/completions"
    return dict(refusal_fields(exchange(provider=provider, path=path), OURS, fault))


@pytest.mark.parametrize(
    ("span_us", "text"),
    [
        (0, b"0ms"),
        (1, b"1ms"),
        (119_500, b"120ms"),
        (999_999, b"1000ms"),
        (1_000_000, b"1s"),
        (1_000_001, b"2s"),
        (59_000_001, b"1m0s"),
        (72_000_000, b"1m12s"),
        (3_600_000_000, b"1h0m0s"),
    ],
)
def test_spans_of_time(span_us, text):
    assert lasting(span_us) == text


def test_success_has_our_own_fields_beside_the_providers():
    note = Note(Ready())
    note.add(hold("5/min"))
    note.add(hold("9k tokens/min", 70))
    headers = Headers([(b"x-ratelimit-limit-requests", b"500")])
    add_fields(headers, Names(b"cf-aig-"), note)
    assert headers.items == [
        (b"x-ratelimit-limit-requests", b"500"),
        (b"cf-aig-ratelimit-limit-requests", b"5"),
        (b"cf-aig-ratelimit-remaining-requests", b"3"),
        (b"cf-aig-ratelimit-reset-requests", b"2s"),
        (b"cf-aig-ratelimit-limit-tokens", b"9000"),
        (b"cf-aig-ratelimit-remaining-tokens", b"70"),
        (b"cf-aig-ratelimit-reset-tokens", b"2s"),
    ]


def test_ours_of_an_upstream_like_this_one_are_replaced():
    note = Note(Ready(), is_degraded=True)
    note.add(hold("5/min"))
    headers = Headers([(b"Weir-Ratelimit-Limit-Requests", b"500")])
    add_fields(headers, OURS, note)
    assert headers.all(b"weir-ratelimit-limit-requests") == [b"5"]
    assert headers.get(b"weir-ratelimit-degraded") == b"true"


def test_a_refusal_says_when_to_come_again_and_which_rule_it_was():
    assert said(refused("5/min")) == {
        b"Retry-After": b"2",
        b"retry-after-ms": b"1500",
        b"x-ratelimit-limit-requests": b"5",
        b"x-ratelimit-remaining-requests": b"0",
        b"x-ratelimit-reset-requests": b"1m1s",
        b"weir-ratelimit-rule": b"r",
    }


def test_anthropics_callers_get_its_names_too():
    found = said(refused("9k input tokens/min", degraded=True), "anthropic")
    assert found[b"anthropic-ratelimit-input-tokens-limit"] == b"9000"
    assert found[b"anthropic-ratelimit-input-tokens-remaining"] == b"0"
    moment = found[b"anthropic-ratelimit-input-tokens-reset"].decode()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment)
    assert found[b"x-ratelimit-limit-tokens"] == b"9000"
    assert found[b"weir-ratelimit-degraded"] == b"true"


def test_who_would_wait_for_long_is_told_not_to():
    assert b"x-should-retry" not in said(refused("5/min", 60_000_000))
    assert said(refused("5/min", 60_000_001))[b"x-should-retry"] == b"false"
    never = said(refused("5/min", None))
    assert never[b"x-should-retry"] == b"false"
    assert b"Retry-After" not in never


def test_slots_say_no_numbers():
    assert set(said(refused("5 concurrent"))) == {
        b"Retry-After",
        b"retry-after-ms",
        b"weir-ratelimit-rule",
    }
