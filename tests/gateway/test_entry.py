"""Openings and closings: what is known of an exchange and nothing else, each a line of JSON."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway import Attempt, Exchange, UpstreamFault, Usage, closing_entry, opening_entry
from gateway.entry import MODEL_CHARS_MAX
from gateway.testing import exchange
from gateway.testing.exchanges import attempt_of

US = 1_000


def read(line: bytes) -> dict[str, Any]:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found: dict[str, Any] = orjson.loads(line)
    return found


def asked(body: bytes | None = b'{"model":"m"}') -> tuple[Exchange, Attempt]:
    made = exchange(body=body)
    return made, attempt_of(made)


def used(**known: Any) -> Usage:
    usage = Usage()
    for name, value in known.items():
        setattr(usage, name, value)
    return usage


def test_an_opening_says_who_asks_what_of_whom():
    made, attempt = asked()
    assert read(opening_entry(made, attempt)) == {
        "open": made.id,
        "n": 1,
        "method": "POST",
        "path": "/openai/v1/chat/completions",
        "gateway": "default",
        "provider": "openai",
        "model": "m",
        "bytes": len(b'{"model":"m"}'),
    }
    uuid.UUID(made.id)


def test_an_opening_of_a_body_that_streams_up_says_nothing_of_its_length():
    made, attempt = asked(None)
    found = read(opening_entry(made, attempt))
    assert "bytes" not in found
    assert "model" not in found


def test_the_second_attempt_is_the_second():
    made, _ = asked()
    assert read(opening_entry(made, attempt_of(made)))["n"] == 2


def test_both_say_whose_it_is():
    made, attempt = asked()
    identity = made.known()
    identity.key_id, identity.team, identity.user = "k", "t", "u"
    identity.metadata = {"a": "b", "n": 1, "f": 1.5, "yes": True}
    made.parent_id = "p"
    for line in (opening_entry(made, attempt), closing_entry(made)):
        found = read(line)
        whose = {name: found[name] for name in ("key", "team", "user", "metadata", "parent_id")}
        assert whose == {
            "key": "k",
            "team": "t",
            "user": "u",
            "metadata": {"a": "b", "n": 1, "f": 1.5, "yes": True},
            "parent_id": "p",
        }


def test_a_closing_without_an_attempt_says_what_became_of_it():
    made = exchange()
    made.outcome, made.status = "refused", 429
    made.ended_ns = made.started_ns + 1_500 * US
    assert read(closing_entry(made)) == {
        "id": made.id,
        "method": "POST",
        "path": "/openai/v1/chat/completions",
        "gateway": "default",
        "provider": "openai",
        "status": 429,
        "outcome": "refused",
        "bytes_received": 0,
        "bytes_sent": 0,
        "duration_us": 1_500,
    }


def test_a_closing_says_how_long_each_part_took():
    made, attempt = asked()
    made.outcome, made.streaming, made.end_marker_seen = "complete", True, True
    made.bytes_received, made.bytes_sent = 3, 4
    made.answered_ns, made.ended_ns = made.started_ns + 20 * US, made.started_ns + 90 * US
    attempt.started_ns = made.started_ns + 1 * US
    attempt.connected_ns, attempt.sent_ns = (made.started_ns + n * US for n in (6, 8))
    attempt.first_byte_ns, attempt.status = made.started_ns + 18 * US, 200
    found = read(closing_entry(made))
    assert (found["head_us"], found["ttft_us"], found["duration_us"]) == (20, 18, 90)
    assert (found["streaming"], found["end_marker"]) == (True, True)
    assert (found["bytes_received"], found["bytes_sent"]) == (3, 4)
    assert found["attempts"] == [
        {
            "n": 1,
            "provider": "openai",
            "status": 200,
            "connect_us": 5,
            "sent_us": 7,
            "upstream_us": 10,
        }
    ]


def test_a_kept_connection_was_not_connected():
    made, attempt = asked()
    attempt.reused, attempt.connected_ns = True, attempt.started_ns
    (found,) = read(closing_entry(made))["attempts"]
    assert found["reused"]
    assert "connect_us" not in found


def test_what_was_used_stands_on_the_attempt_and_its_sum_on_the_exchange():
    made, first = asked()
    second = attempt_of(made)
    first.failure = UpstreamFault("no", code="odd")
    first.usage = used(fresh_input=10, estimated=True)
    second.usage = used(
        fresh_input=1,
        cache_read=2,
        cache_write=3,
        output_text=4,
        output_reasoning=5,
        details={"images": 2},
        tier="flex",
        model="m-2",
        response_id="r",
        finish_reason="stop",
        reported=True,
        cost_nanousd=6,
        prices="v1",
        problem="x",
    )
    found = read(closing_entry(made))
    one, two = found["attempts"]
    assert one["error"] == "odd"
    assert (one["fresh_input"], one["estimated"]) == (10, True)
    assert "output_text" not in one
    known = {"cache_read": 2, "cache_write": 3, "output_text": 4, "output_reasoning": 5}
    facts = {
        "details": {"images": 2},
        "cost_nanousd": 6,
        "prices": "v1",
        "tier": "flex",
        "answered_model": "m-2",
        "finish_reason": "stop",
        "response_id": "r",
        "reported": True,
        "problem": "x",
    }
    assert two == {"n": 2, "provider": "openai", "fresh_input": 1, **known, **facts}
    assert {name: found[name] for name in known} == known
    assert (found["fresh_input"], found["estimated"], found["cost_nanousd"]) == (11, True, 6)


def test_zero_is_known_and_unknown_is_left_out():
    made, attempt = asked()
    attempt.usage = used(fresh_input=0, cost_nanousd=0)
    (found,) = read(closing_entry(made))["attempts"]
    assert (found["fresh_input"], found["cost_nanousd"]) == (0, 0)
    assert found.keys().isdisjoint({"cache_read", "output_text", "estimated", "reported"})


def test_the_name_of_a_model_is_bounded():
    made, attempt = asked()
    made.model = "m" * 1_000_000
    for line in (opening_entry(made, attempt), closing_entry(made)):
        assert read(line)["model"] == "m" * MODEL_CHARS_MAX


@given(text=st.text(), target=st.binary(max_size=200))
def test_whatever_stands_in_it_it_is_one_line_of_json(text, target):
    made, attempt = asked()
    made.target = b"/" + target
    made.model = made.parent_id = made.outcome = text
    identity = made.known()
    identity.key_id = identity.team = identity.user = text
    identity.metadata = {text: text}
    attempt.usage = used(model=text, tier=text, finish_reason=text, response_id=text, prices=text)
    attempt.usage.details = {text: 1}
    for _ in range(2):  # made, and remembered
        opened, closed = read(opening_entry(made, attempt)), read(closing_entry(made))
        for found in (opened, closed):
            assert {found[name] for name in ("key", "team", "user", "parent_id")} == {text}
            assert found["model"] == text[:MODEL_CHARS_MAX]
            assert found["metadata"] == {text: text}
        assert closed["attempts"][0]["response_id"] == text
        assert closed["outcome"] == (text or "failed")
