from __future__ import annotations

import random

import orjson
import pytest

from plugins.usage.guessing import Written, text_bytes
from tests.gateway.answers import chat_chunk, claude_events, gemini_chunk, spaced

TEXT = " it is the year of the cat and of many other animals that nobody has counted yet"


def words(count: int) -> list[str]:
    choose = random.Random(count)
    return [" " + choose.choice(TEXT.split()) for _ in range(count)]


def events(form: str, text: list[str]) -> list[bytes]:
    if form == "chat":
        return [orjson.dumps(chat_chunk({"content": word})) for word in text]
    if form == "anthropic":
        pieces = ["".join(text[at : at + 4]) for at in range(0, len(text), 4)]
        made = map(orjson.dumps, claude_events(pieces))
        return [raw for raw in made if b'"text_delta"' in raw]
    if form == "gemini":
        pieces = ["".join(text[at : at + 30]) for at in range(0, len(text), 30)]
        return [spaced(gemini_chunk(piece, 1)) for piece in pieces]
    frame = {"type": "response.output_text.delta", "item_id": "msg_1", "logprobs": []}
    return [
        orjson.dumps({**frame, "delta": word, "obfuscation": "q" * (len(word) % 5)})
        for word in text
    ]


@pytest.mark.parametrize("form", ["chat", "anthropic", "gemini", "responses"])
@pytest.mark.parametrize("count", [1, 7, 60, 1000, 20_000])
def test_a_guess_is_near_what_was_written(form, count):
    text = words(count)
    written = Written()
    for raw in events(form, text):
        written.part(raw)

    likely = max(len("".join(text)) / 4, 1)
    assert likely / 2 <= written.tokens() <= likely * 2


def test_arguments_of_tools_are_written_too():
    written = Written()
    call = {"index": 0, "id": "call_1", "function": {"name": "get_weather", "arguments": ""}}
    written.part(orjson.dumps(chat_chunk({"tool_calls": [call]})))
    for word in words(40):
        written.part(orjson.dumps(chat_chunk({"tool_calls": [{"function": {"arguments": word}}]})))

    assert 30 <= written.tokens() <= 100


def test_nothing_seen_is_nothing_written():
    assert Written().tokens() == 0


def test_little_is_kept_of_a_long_stream():
    written = Written()
    for number in range(50_000):
        written.part(b'{"delta":"%d"}' % number + b" " * 300)

    kept = sum(map(len, written._samples))
    assert kept <= 16 * 1024


def test_large_events_are_counted_and_not_kept():
    written = Written()
    for _ in range(100):
        written.part(b'{"delta":"' + b"x" * 1_000_000 + b'"}')

    assert written._samples == []
    assert written.tokens() == 100


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"delta":{"content":"four"}}', 4),
        (b'{"text": "with \\" quote"}', 13),
        (b'{"text":"cut he', 6),
        (b'{"signature":"abcdef","index":0}', 0),
    ],
)
def test_text_is_found_by_the_name_of_its_member(raw, expected):
    assert text_bytes(raw) == expected
