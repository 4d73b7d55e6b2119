from __future__ import annotations

import pytest

from bench.redact import Config, Plugin
from bench.workers import PROMPT
from gateway.testing import ScriptedUpstream, answers, exchange, plan_of, run


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (b"write to jane.roe@mail.example.org today", b"write to [e-mail] today"),
        (b"card 4111 1111 1111 1111, order 4711", b"card [card], order 4711"),
        (b"pay DE89 3704 0044 0532 0130 00 now", b"pay [account] now"),
        (b"nothing to hide", b"nothing to hide"),
    ],
)
def test_personal_data_does_not_go_up(said, sent):
    assert sent_up(b'{"content":"%s"}' % said) == b'{"content":"%s"}' % sent


def test_nothing_of_the_kind_is_left_of_the_benchs_prompt():
    sent = sent_up(PROMPT)
    assert b"@" not in sent
    assert sent.count(b"[e-mail]") == sent.count(b"[card]") == PROMPT.count(b"@")


def sent_up(body: bytes) -> bytes:
    plan = plan_of(Plugin(Config()))
    with ScriptedUpstream(answers()) as upstream:
        asked = exchange(headers=[(b"content-type", b"application/json")], body=body)
        run(plan, asked, upstream)
    (request,) = upstream.requests
    return bytes(request.body)
