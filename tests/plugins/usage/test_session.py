from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway import Usage
from plugins.usage.session import Session
from tests.gateway.answers import RESPONSE_COUNTS, counts_of, response


def done(number: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "response.done",
        "event_id": f"event_{number}",
        "response": {
            "object": "realtime.response",
            "id": f"resp_{number}",
            "status": "completed",
            "usage": {
                "total_tokens": 1300,
                "input_tokens": 1000,
                "output_tokens": 300,
                "input_token_details": {
                    "text_tokens": 400,
                    "audio_tokens": 600,
                    "cached_tokens": 640,
                    "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 512},
                },
                "output_token_details": {"text_tokens": 50, "audio_tokens": 250},
            },
            **more,
        },
    }


CREATED = {"type": "session.created", "session": {"id": "sess_1", "model": "gpt-realtime"}}
AUDIO = {"type": "response.output_audio.delta", "response_id": "resp_1", "delta": "UklGRiQA" * 100}
HEARD = "conversation.item.input_audio_transcription.completed"


def told(*messages: Any, kind: str = "text", direction: str = "down") -> Usage:
    session = Session()
    for message in messages:
        session.message(direction, kind, orjson.dumps(message))
    session.end()
    return session.usage


def test_the_answers_of_a_session_add_up():
    usage = told(CREATED, AUDIO, done(1), AUDIO, done(2), done(3, status="cancelled"))

    assert counts_of(usage) == (1080, 1920, None, 900, None)
    assert usage.details == {"input_audio": 1800, "cache_read_audio": 1536, "output_audio": 750}
    assert (usage.model, usage.finish_reason) == ("gpt-realtime", "cancelled")


def test_responses_over_a_websocket_add_up():
    over = {"type": "response.completed", "response": response(usage=RESPONSE_COUNTS)}
    usage = told({"type": "response.created", "response": response("in_progress")}, over, over)

    assert counts_of(usage) == (132, 128, None, 58, 82)


def test_what_the_caller_says_does_not_count():
    assert not told(done(1), direction="up").is_known


@pytest.mark.parametrize(
    ("counts", "details"),
    [
        (
            {"type": "tokens", "input_tokens": 26, "output_tokens": 17, "total_tokens": 43},
            {"transcription_input": 26, "transcription_output": 17},
        ),
        ({"type": "duration", "seconds": 2.5}, {"transcription_audio_ms": 2500}),
    ],
)
def test_another_models_transcription_stands_apart(counts, details):
    usage = told({"type": HEARD, "item_id": "item_1", "usage": counts})

    assert counts_of(usage) == (None,) * 5
    assert usage.details == details


def turn(prompt: int, answer: int, **more: Any) -> dict[str, Any]:
    return {
        "usageMetadata": {
            "promptTokenCount": prompt,
            "responseTokenCount": answer,
            "totalTokenCount": prompt + answer,
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": answer}],
        },
        **more,
    }


OVER = {"serverContent": {"turnComplete": True}}


@pytest.mark.parametrize(
    "messages",
    [
        (turn(10, 1), turn(10, 5, **OVER), turn(20, 6, **OVER)),
        (turn(10, 1), turn(10, 5), OVER, turn(20, 2), turn(20, 6), OVER),
        (OVER, turn(10, 5), OVER, turn(20, 6)),
    ],
    ids=["with the end", "before the end", "behind the end"],
)
def test_the_turns_of_gemini_live_add_up(messages):
    usage = told({"setupComplete": {}}, *messages, kind="binary")

    assert counts_of(usage) == (30, None, None, 11, None)
    assert usage.details == {"output_audio": 11}


def test_a_message_that_was_not_shown_is_said():
    session = Session()
    session.message("down", "text", None)
    session.message("up", "text", None)
    session.end()

    assert session.usage.problem == "a message was too long to be read"


def test_only_what_may_tell_is_decoded():
    session = Session()
    session.message("down", "text", orjson.dumps(AUDIO)[:-1])  # decoding it would raise
    session.message("down", "text", orjson.dumps(done(1)))
    session.end()

    assert session.usage.output == 300


def test_a_message_that_is_no_object_is_nothing():
    assert not told(["turnComplete"], "session", '"usage').is_known
