from __future__ import annotations

import orjson
import pytest

from bench import shapes
from bench.framing import BY_CHUNKS, Body
from bench.script import Script

SHAPES = ("openai", "anthropic", "gemini")
TEXTS = {
    "openai": lambda document: document["choices"][0]["message"]["content"],
    "anthropic": lambda document: document["content"][0]["text"],
    "gemini": lambda document: document["candidates"][0]["content"]["parts"][0]["text"],
}
DELTAS = {
    "openai": lambda document: document["choices"][0]["delta"]["content"],
    "anthropic": lambda document: document["delta"]["text"],
    "gemini": TEXTS["gemini"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_body_has_the_size_that_was_asked_for(shape):
    body = shapes.json_body(shape, 600)
    assert len(body) == 600
    assert "lorem" in TEXTS[shape](orjson.loads(body))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_has_the_size_that_was_asked_for_and_carries_its_stamp(shape):
    payload, rest = Body(BY_CHUNKS).feed(shapes.strip(shape, 320).event(123456789))
    assert (len(payload), rest) == (320, b"")
    data = payload[payload.index(b"data: ") + 6 :]
    assert DELTAS[shape](orjson.loads(data)).startswith("@ns0000000000123456789 lorem")


@pytest.mark.parametrize(
    ("shape", "last"),
    [("openai", b"data: [DONE]"), ("anthropic", b"message_stop"), ("gemini", b'"STOP"')],
)
def test_a_stream_ends_as_the_provider_ends_it(shape, last):
    strip = shapes.strip(shape, 320)
    body = Body(BY_CHUNKS)
    payload, _ = body.feed(strip.opening + strip.event(1) + strip.closing)
    assert body.done
    assert last in payload.strip().splitlines()[-1]


def test_a_refusal_tells_when_to_come_again():
    answer = shapes.answer(Script(status=429, shape="anthropic"))
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nRetry-After: 1\r\n" in answer
    document = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    assert document["error"]["type"] == "rate_limit_error"
