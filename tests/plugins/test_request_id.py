"""Every answer bears the exchange's id."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    answers,
    running_gateway,
)

UUID7 = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CONFIG = {
    "gateways": {"silent": {"plugins": {"request_id": {"send_upstream": False}}}},
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    fields = ((b"X-Request-Id", b"theirs"), (b"Weir-Request-Id", b"another gateway's"))
    with ScriptedUpstream(answers(b"{}", *fields)) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    config = {**CONFIG, "providers": {"openai": upstream.provider()}}
    with running_gateway(config, plugins=["request_id"]) as made:
        yield made


def ask(
    gateway: RunningGateway, *fields: tuple[bytes, bytes], target: bytes = b"/openai/v1/models"
) -> RawAnswer:
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", target, *fields)
        return caller.answer()


def test_each_answer_has_an_id_of_its_own(gateway):
    ids = [ask(gateway).get(b"weir-request-id") for _ in range(3)]
    assert all(given is not None and UUID7.fullmatch(given) for given in ids)
    assert len(set(ids)) == 3


def test_answers_of_our_own_have_one_too(gateway):
    answer = ask(gateway, target=b"/nobody/x")
    assert answer.status == 404
    assert UUID7.fullmatch(answer.get(b"weir-request-id") or b"")


def test_an_upstreams_own_id_stays_and_another_gateways_does_not(gateway):
    answer = ask(gateway)
    assert answer.get(b"x-request-id") == b"theirs"
    assert [name.lower() for name, _ in answer.fields].count(b"weir-request-id") == 1


def test_the_id_comes_with_the_callers_prefix(gateway):
    answer = ask(gateway, (b"cf-aig-event-id", b"e"))
    assert UUID7.fullmatch(answer.get(b"cf-aig-request-id") or b"")


@pytest.mark.parametrize("prefix", [b"weir-", b"cf-aig-"])
def test_the_callers_event_id_comes_back(gateway, prefix):
    answer = ask(gateway, (prefix + b"Event-Id", b"order 7 \xff"))
    assert answer.get(prefix + b"event-id") == b"order 7 \xff"


def test_without_an_event_id_none_is_made_up(gateway):
    assert ask(gateway).get(b"weir-event-id") is None


def test_the_upstream_is_not_told_the_id_where_that_is_configured(gateway, upstream):
    upstream.forget()
    ask(gateway, (b"weir-gateway", b"silent"))
    assert upstream.requests[0].get(b"weir-request-id") is None


def test_the_upstream_is_told_the_id(gateway, upstream):
    upstream.forget()
    answer = ask(gateway)
    assert upstream.requests[0].get(b"weir-request-id") == answer.get(b"weir-request-id")
