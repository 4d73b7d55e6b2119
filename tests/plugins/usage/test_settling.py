"""What an attempt used in the end, known or guessed."""

from __future__ import annotations

import orjson
import pytest

from gateway import COMPLETE, PROVIDER_ERROR, TRUNCATED, Event, Exchange, Usage
from gateway.shapes import Passed
from gateway.testing import attempt_of, exchange
from plugins.usage.settling import settle
from plugins.usage.watching import Events
from plugins.usage.whole import Whole
from tests.gateway.answers import CHAT, OPENAI, WHOLES, chat_chunk, counts_of

RESPONSES = {"input_tokens": 10, "output_tokens": 5}
BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "some words " * 40}]})


def made(
    outcome: str = COMPLETE, attempts: int = 1, *, path: bytes = CHAT, body: bytes = BODY
) -> Exchange:
    """An exchange that is over; all of its attempts were sent."""
    found = exchange(path=path, body=body)
    for _ in range(attempts):
        attempt = attempt_of(found)
        attempt.sent_ns = 1
        attempt.answered(200, Passed.only([(b"Content-Type", b"application/json")]))
    found.outcome = outcome
    return found


def watched(*pieces: bytes) -> Whole:
    watcher = Whole(always=True)
    for piece in pieces:
        watcher(piece)
    return watcher


def used(found: Exchange) -> Usage:
    usage = found.attempts[-1].usage
    assert usage is not None
    return usage


def test_an_exchange_without_an_attempt_used_nothing():
    found = made(attempts=0)
    settle(found, None)
    assert found.usage is None


def test_what_the_answer_says_counts():
    found = made()
    settle(found, watched(WHOLES[0].body))
    assert counts_of(used(found)) == OPENAI
    assert not used(found).estimated


def test_an_answer_that_was_cut_is_guessed_at_from_both_sides():
    found = made(TRUNCATED)
    settle(found, watched(b'{"choices":[{"message":{"content":"' + b"word " * 80))
    usage = used(found)
    assert usage.estimated
    assert usage.problem is not None
    assert usage.fresh_input == len(BODY) // 4 + 1
    assert usage.output_text == 100


def test_what_nobody_watched_read_what_it_was_asked():
    found = made(attempts=3)
    found.attempts[1].sent_ns = None
    found.attempts[2].answered(503, Passed.only([]))
    settle(found, None)
    usages = [attempt.usage for attempt in found.attempts]
    assert usages[1:] == [None, None]
    assert usages[0] is not None
    assert (usages[0].fresh_input, usages[0].estimated) == (len(BODY) // 4 + 1, True)


def test_counts_in_fields_stand_in_where_the_body_has_none():
    found = made()
    fields = [
        (b"x-amzn-bedrock-input-token-count", b"7"),
        (b"x-amzn-bedrock-output-token-count", b"9"),
        (b"x-amzn-bedrock-cache-read-input-token-count", b"-1"),
    ]
    found.attempts[0].answered(200, Passed.only(fields))
    settle(found, watched(b"{}"))
    assert counts_of(used(found)) == (7, None, None, 9, None)


def test_an_error_in_a_200_is_no_success_and_not_estimated():
    found = made()
    settle(found, watched(b'{"error":{"message":"slow"}}'))
    assert found.outcome == PROVIDER_ERROR
    assert not used(found).estimated


def test_spoken_text_is_counted_by_its_characters():
    body = orjson.dumps({"model": "m", "input": "hello"})
    found = made(path=b"v1/audio/speech", body=body)
    settle(found, None)
    assert used(found).details == {"input_characters": 5}


@pytest.mark.parametrize("path", [b"v1/moderations", b"v1/messages/count_tokens?beta=true"])
def test_what_costs_nothing_has_no_guess(path):
    found = made(path=path)
    settle(found, None)
    assert found.usage is None


def test_who_asks_again_is_counted_under_the_model_that_answered():
    body = orjson.dumps({"id": "resp_1", "status": "completed", "model": "m-1", "usage": RESPONSES})
    found = exchange(b"GET", b"/openai/v1/responses/resp_1")
    attempt = attempt_of(found)
    attempt.sent_ns = 1
    attempt.answered(200, Passed.only([(b"Content-Type", b"application/json")]))
    found.outcome = COMPLETE
    assert found.model is None
    settle(found, watched(body))
    assert used(found).reported
    assert found.model == "m-1"


def events(*documents: object) -> Events:
    watcher = Events()
    for document in documents:
        watcher.event(
            Event.make(document if isinstance(document, bytes) else orjson.dumps(document))
        )
    return watcher


COUNTED = chat_chunk({"content": "word "}, usage={"prompt_tokens": 5, "completion_tokens": 1})
BROKEN = b'{"usage":{"prompt_tokens":5,"completion_tokens":500,"x":NaN}}'


def test_what_was_counted_before_something_broken_is_no_count_of_all():
    found = made()
    settle(found, events(*[COUNTED] * 20, BROKEN))
    usage = used(found)
    assert (usage.estimated, usage.output_text) == (True, 25)
    assert usage.problem is not None


def test_a_reason_to_finish_behind_the_counts_does_not_make_them_whole():
    found = made(TRUNCATED)
    settle(found, events(*[COUNTED] * 20, chat_chunk({"content": "word " * 20}, "stop")))
    assert used(found).estimated
    found = made(TRUNCATED)
    settle(found, events(*[COUNTED] * 20, {**COUNTED, **chat_chunk({}, "stop")}))
    assert not used(found).estimated


def test_where_the_request_cannot_be_read_the_answer_names_the_model():
    found = made(body=b'{"model":"m","temperature":NaN}')
    assert found.document is None
    settle(found, events(*[chat_chunk({"content": "word "})] * 20))
    assert (used(found).estimated, found.model) == (True, "gpt-5-2025-08-07")


@pytest.mark.parametrize(("path", "is_guessed"), [(CHAT, True), (b"v1/responses", False)])
def test_only_a_response_can_be_asked_for_in_the_background(path, is_guessed):
    body = orjson.dumps({"model": "m", "background": True})
    found = made(TRUNCATED, path=path, body=body)
    found.model = "m"
    settle(found, events(*[chat_chunk({"content": "word "})] * 20))
    assert used(found).estimated is is_guessed


def test_a_stored_chat_completion_was_counted_when_it_was_made():
    found = exchange(b"GET", b"v1/chat/completions/chatcmpl-1")
    attempt = attempt_of(found)
    attempt.sent_ns = 1
    attempt.answered(200, Passed.only([(b"Content-Type", b"application/json")]))
    found.outcome = COMPLETE
    settle(found, watched(WHOLES[0].body))
    assert used(found).reported
    assert not used(found).is_known
