"""An alert is told once, signed, and again until somebody takes it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC
from typing import Any

import orjson
import pytest
import structlog

from gateway import Secret, now_ms
from gateway.testing import ScriptedUpstream, Visit, sized
from plugins.budget import alerts
from plugins.budget.alerts import Alerts, signature
from plugins.budget.counters import Store
from plugins.budget.rules import Limit, Rule
from plugins.budget.windows import Calendar

KEY = b"a secret of ours"


def told(limit: Limit) -> tuple[Any, Any, Any]:
    """Give a counter that has come past two of three shares."""
    store = Store(10, now_ms)
    tally = store.tally(("x",), lambda: Calendar("month", UTC))
    counter = store.counter(tally, "search")
    assert counter is not None
    counter.add(counter.epoch, 0, 85)
    counter.told = limit.told_of(counter.spent)
    return limit, tally, counter


def limit() -> Limit:
    return Limit(Rule(name="team-month", scope="team", limit="100 tokens/month"))


def post(
    script: Callable[[Visit], None], count: int = 1, *, secret: Secret | None = None, wait: int = 1
) -> list[Any]:
    """Tell so many alerts; give the requests that came of them."""

    async def story(upstream: ScriptedUpstream) -> None:
        some = Alerts(upstream.url + "/hook", secret, 5.0)
        async with some.running():
            for _ in range(count):
                some.tell(*told(limit()))
            await asyncio.to_thread(upstream.wait_for_requests, wait)

    with ScriptedUpstream(script) as upstream:
        asyncio.run(story(upstream))
        return list(upstream.requests)


def takes(visit: Visit) -> None:
    visit.read()
    visit.send(sized(b"", status=200))


def test_it_says_what_was_reached_and_who_sends_it():
    (request,) = post(takes, secret=Secret(KEY))
    body = orjson.loads(request.body)
    assert request.target == b"/hook"
    assert body.pop("id") == (request.get(b"weir-alert-id") or b"").decode()
    assert body.pop("at")[:2] == "20"
    assert body.pop("resets_at").endswith("-01T00:00:00Z")
    assert body == {
        "type": "budget_share_reached", "budget": "team-month", "limit": "100 tokens/month",
        "unit": "tokens", "amount": 100, "hard": True, "reached": 0.8,
        "subject": {"team": "search"}, "spent": 85, "reserved": 0, "remaining": 15, "share": 0.85,
    }  # fmt: skip
    stamp = request.get(b"weir-timestamp")
    assert abs(int(stamp) - now_ms() // 1000) < 60
    made = hmac.new(KEY, stamp + b"." + request.body, hashlib.sha256).hexdigest()
    assert request.get(b"weir-signature") == b"sha256=" + made.encode()


def test_without_a_secret_it_is_not_signed():
    (request,) = post(takes)
    assert request.get(b"weir-signature") is None


def test_it_is_sent_again_until_somebody_takes_it():
    asked = 0

    def takes_the_third(visit: Visit) -> None:
        nonlocal asked
        asked += 1
        visit.read()
        if asked == 1:
            visit.reset()
        else:
            visit.send(sized(b"", status=503 if asked == 2 else 204))

    requests = post(takes_the_third, wait=3)
    assert len({request.get(b"weir-alert-id") for request in requests}) == 1
    assert len({request.body for request in requests}) == 1


def test_who_refuses_it_is_not_asked_again():
    def refuses(visit: Visit) -> None:
        visit.read()
        visit.send(sized(b"", status=404))

    with structlog.testing.capture_logs() as logs:
        requests = post(refuses, 2, wait=2)
    assert len(requests) == 2
    assert [line["status"] for line in logs if line["event"] == "alert_refused"] == [404, 404]


def test_the_log_has_it_where_nobody_else_hears_of_it():
    with structlog.testing.capture_logs() as logs:
        Alerts("", None, 1.0).tell(*told(limit()))
    (line,) = logs
    assert (line["event"], line["budget"], line["reached"]) == (
        "budget_share_reached",
        "team-month",
        0.8,
    )


def test_no_more_wait_than_the_queue_takes():
    some = Alerts("http://localhost:9", None, 1.0)
    with structlog.testing.capture_logs() as logs:
        for _ in range(alerts.QUEUE_MAX + 2):
            some.tell(*told(limit()))
    assert sum(line["event"] == "alert_dropped" for line in logs) == 2


def test_what_nobody_takes_is_given_up_in_the_end():
    async def story() -> None:
        some = Alerts("http://localhost:9", None, 0.05)
        async with some.running():
            some.tell(*told(limit()))
            await asyncio.sleep(0.2)

    with structlog.testing.capture_logs() as logs:
        asyncio.run(story())
    assert "alert_not_sent" in [line["event"] for line in logs]


@pytest.mark.parametrize("changed", [b"another body", b""])
def test_another_body_has_another_signature(changed):
    secret = Secret(KEY)
    assert signature(secret, "1", b"body") != signature(secret, "1", changed)
    assert signature(secret, "1", b"body") != signature(secret, "2", b"body")
