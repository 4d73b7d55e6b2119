from __future__ import annotations

import random

import pytest

from gateway import Splitter, Usage, may_tell, read_usage
from plugins.usage.likeness import Likeness
from tests.gateway.answers import (
    JSON,
    SSE,
    STREAMS,
    chat_chunk,
    claude_events,
    response,
    response_events,
    sse,
)

A, B, C = (sse(chat_chunk({"content": text})) for text in ("a", "bb", "ccc"))


def learned(*events: bytes) -> Likeness:
    likeness = Likeness()
    for raw in events:
        likeness.learn(raw)
    return likeness


def test_events_that_differ_in_text_are_alike():
    likeness = learned(A, B)

    assert [likeness.holds(raw) for raw in (A, B, C)] == [True, True, True]


def test_nothing_is_like_nothing():
    assert not Likeness().holds(A)
    assert not learned(A).holds(A)
    assert not learned(A, A).holds(A)


@pytest.mark.parametrize(
    "other",
    [
        chat_chunk({"content": "a"}, "stop"),
        chat_chunk({"content": "a"}, usage=None),
        chat_chunk({"content": "a", "role": "assistant"}),
        chat_chunk({"content": 'a "quote"'}),
        chat_chunk({"content": None}),
        chat_chunk({"text": "a"}),
        {**chat_chunk({"content": "a"}), "id": "chatcmpl-2"},
    ],
)
def test_what_differs_in_more_is_not_alike(other):
    assert not learned(A, B).holds(sse(other))


@pytest.mark.parametrize("raw", [b"", b'"', A[:-1], A + b" ", A[1:], A * 2])
def test_a_part_is_not_alike(raw):
    assert not learned(A, B).holds(raw)


def test_numbers_and_paddings_may_differ_too():
    def event(number: int) -> bytes:
        frame = {"type": "response.output_text.delta", "sequence_number": number}
        return sse({**frame, "delta": "w" * number, "logprobs": [], "obfuscation": "x" * number})

    assert learned(event(1), event(2)).holds(event(345))


def test_the_object_of_an_event_may_not_differ():
    kinds = [sse({"object": kind, "status": "done", "delta": ""}) for kind in ("a", "b")]

    assert not learned(*kinds).holds(kinds[0])


def test_another_frame_is_learned_after_the_first():
    texts = [sse(event, named=True) for event in claude_events() if "delta" in event][:2]
    thoughts = [raw.replace(b"text_delta", b"thinking_delta") for raw in texts]
    likeness = learned(*texts)
    assert not likeness.holds(thoughts[0])

    for raw in thoughts:
        likeness.learn(raw)
    assert likeness.holds(thoughts[0])


def test_no_event_that_tells_is_like_one_that_does_not():
    choose = random.Random(3)
    cases = [case for case in STREAMS if case.kind == SSE]
    extra = sse(*response_events(response("failed")))
    bodies = [case.body for case in cases if case.kind != JSON] + [extra]
    events = [[one.raw for one in Splitter().feed(body)] for body in bodies]
    held = 0
    for _ in range(20_000):
        stream = choose.choice(events)
        silent = [raw for raw in stream if not may_tell(raw)]
        if len(silent) < 2:
            continue
        likeness = learned(*choose.choices(silent, k=3))
        for raw in choose.choices(stream, k=5):
            if likeness.holds(raw):
                held += 1
                assert not may_tell(raw)
    assert held > 1000


def test_what_was_put_between_quotes_names_nothing():
    likeness = learned(A, B)
    for text in ("usage", "finish_reason", "{", "},", "a:b", "\u2028"):
        usage = Usage()
        read_usage(chat_chunk({"content": text}), usage)
        assert likeness.holds(sse(chat_chunk({"content": text})))
        assert (usage.is_known, usage.finish_reason) == (False, None)
