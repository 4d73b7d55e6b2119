"""The record of an exchange: in order, what is known and nothing else."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Exchange, UpstreamFault, summary
from gateway.summary import SHOWN_PATH_BYTES_MAX, record, time_of_day
from gateway.testing import exchange
from gateway.testing.exchanges import attempt_of

MS = 1_000_000


def over(path: bytes = b"v1/chat/completions") -> Exchange:
    made = exchange(path=path)
    made.outcome, made.ended_ns = "complete", made.started_ns + 12_345_678
    return made


def told(made: Exchange) -> dict[str, Any]:
    return orjson.loads(record(made, "exchange"))


def test_it_begins_with_when_and_what_and_leaves_out_what_is_unknown():
    made = over()
    found = told(made)
    assert list(found) == [
        *("timestamp", "level", "event", "id", "method", "path", "gateway", "provider"),
        *("outcome", "attempts", "peer", "bytes_received", "bytes_sent", "duration_ms"),
    ]
    assert (found["event"], found["id"], found["provider"]) == ("exchange", made.id, "openai")
    assert found["duration_ms"] == 12.346


def test_it_says_what_came_of_it():
    made = over()
    made.status, made.model, made.parent_id = 429, "m", "p"
    made.error = UpstreamFault("no", code="odd")
    made.known().key_id = "key-7"
    made.answered_ns = made.started_ns + 2 * MS
    attempt = attempt_of(made)
    attempt.connected_ns = attempt.started_ns + 3 * MS
    attempt.sent_ns, attempt.first_byte_ns = attempt.started_ns, attempt.started_ns + 4 * MS
    found = told(made)
    wanted = {"status": 429, "model": "m", "parent_id": "p", "error": "odd", "key_id": "key-7"}
    wanted |= {"head_ms": 2.0, "connect_ms": 3.0, "upstream_ms": 4.0, "attempts": 1}
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"a?key=secret", "/openai/a"),
        (b"\xff", "/openai/\\xff"),
        (b"x" * 5000, "/openai/" + "x" * (SHOWN_PATH_BYTES_MAX - 8)),
    ],
)
def test_a_path_is_shown_without_its_query_and_not_beyond_a_length(path, shown):
    assert told(over(path))["path"] == shown


@given(text=st.text(), target=st.binary(), ns=st.integers(0, 10**18))
def test_whatever_stands_in_it_it_is_json(text, target, ns):
    made = over()
    made.target = b"/" + target
    made.model = made.gateway = made.parent_id = made.outcome = made.peer = text
    made.known().key_id = text
    made.ended_ns = made.started_ns + ns
    for _ in range(2):  # made, and remembered
        found = told(made)
        assert {found[key] for key in ("model", "gateway", "parent_id", "peer", "key_id")} == {text}
        path = made.target.partition(b"?")[0][:SHOWN_PATH_BYTES_MAX]
        assert found["path"] == path.decode("utf-8", "backslashreplace")
        assert found["duration_ms"] == pytest.approx(ns / 1e6, abs=0.000501)


def test_one_target_may_be_asked_for_in_many_ways():
    for _ in range(2):
        for method, gateway, provider in [
            (b"GET", "a", "openai"),
            (b"POST", "a", "openai"),
            (b"POST", "b", "openai"),
            (b"POST", "b", "anthropic"),
            (b"POST", "b", None),
        ]:
            made = over(b"same")
            made.method, made.gateway = method, gateway
            other = None if provider is None else exchange(provider=provider).provider
            made.provider = other
            found = told(made)
            assert (found["method"], found["gateway"]) == (method.decode(), gateway)
            assert found.get("provider") == provider


def test_what_is_remembered_of_callers_words_is_bounded():
    for number in range(summary.QUOTED_MAX + 10):
        made = over(b"%d" % number)
        made.model = str(number)
        assert (told(made)["model"], told(made)["path"]) == (str(number), f"/openai/{number}")
        assert len(summary._quoted) <= summary.QUOTED_MAX
        assert len(summary._known) <= summary.QUOTED_MAX
    made = over()
    made.model = "x" * 1000
    assert told(made)["model"] == made.model
    assert made.model not in summary._quoted


@pytest.mark.parametrize("ago_ns", [0, 1 * MS, 999 * MS, 61_000 * MS, 86_400_000 * MS])
def test_the_time_of_day_is_that_of_the_instant(ago_ns):
    now = datetime.now(UTC)
    shown = time_of_day(time.monotonic_ns() - ago_ns)
    assert shown.endswith("Z")
    found = datetime.fromisoformat(shown)
    assert abs(found - (now - timedelta(microseconds=ago_ns / 1000))) < timedelta(seconds=1)
