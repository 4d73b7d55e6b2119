from __future__ import annotations

import orjson
import pytest

from gateway import Event, Splitter
from plugins.usage.asking import Stripper, asked, asks_already
from tests.gateway.answers import OPENAI_COUNTS, chat_chunk, chat_chunks, spaced, sse

PLAIN = b"".join(event for event in (sse(*chat_chunks(), done=True),))


def stripped(body: bytes) -> bytes:
    stripper = Stripper()
    out = [made.raw for event in Splitter().feed(body) for made in stripper.event(event)]
    return b"".join(out) + stripper.end()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"stream":true}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{ "a": {"b": 1} }\n', b'{ "a": {"b": 1} ,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":null}', b'{"stream_options":{"include_usage":true}}'),
        (
            b'{"stream_options": {"include_usage": false, "x": 1.10}}',
            b'{"stream_options": {"include_usage": true, "x": 1.10}}',
        ),
        (b'{"stream_options":{}}', b'{"stream_options":{"include_usage":true}}'),
    ],
)
def test_the_question_is_added_and_all_else_stays(body, expected):
    assert asked(body, orjson.loads(body)) == expected


def test_a_body_that_is_not_the_callers_is_read_first():
    assert asked(b'{"n":1}', None) == b'{"n":1,"stream_options":{"include_usage":true}}'


def test_there_may_be_no_place_for_the_question():
    for options in (7, "all", [True]):
        with pytest.raises(ValueError, match="nothing can be set"):
            asked(orjson.dumps({"stream_options": options}), {"stream_options": options})


def test_who_asks_is_told_apart():
    assert asks_already({"stream_options": {"include_usage": True}})
    for options in (None, {}, {"include_usage": False}, 3):
        assert not asks_already({"stream_options": options})
    assert not asks_already({})


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("place", ["last", "before another", "first", "spaced"])
def test_a_stream_is_what_it_would_have_been(end, place):
    def written(chunks: list[dict[str, object]]) -> bytes:
        if place == "before another":
            chunks = [{**chunk, "obfuscation": "k{3}Qy"} for chunk in chunks]
        if place == "first":
            chunks = [
                dict(sorted(chunk.items(), key=lambda m: m[0] != "usage")) for chunk in chunks
            ]
        as_bytes = spaced if place == "spaced" else orjson.dumps
        lines = [b"data: " + as_bytes(chunk) + end + end for chunk in chunks]
        return b"".join([*lines, b"data: [DONE]" + end + end])

    assert stripped(written(chat_chunks(OPENAI_COUNTS))) == written(chat_chunks())


def test_usage_on_the_last_chunk_of_content_stays():
    last = chat_chunk({"content": "."}, "stop", usage=OPENAI_COUNTS)
    body = sse(*chat_chunks()[:-1], last, done=True)

    assert stripped(body) == body


def test_a_chunk_without_choices_or_usage_stays():
    first = chat_chunk(None, prompt_filter_results=[{"prompt_index": 0}])

    assert stripped(sse({**first, "usage": None})) == sse(first)


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"choices":[{"delta":{"content":"say \\"usage\\":null, please"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"","usage":null}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"}"},"usage":null}],"error":"{"}\n\n',
        b'data: {"choices":[],"usage":7}\n\n',
        b'data: {"choices":[],"usage":{}\n\n',
        b'data: "usage"\n\n',
        b': "usage"\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_what_is_not_the_answer_to_our_question_stays(raw):
    event = Event(raw)

    assert [made.raw for made in Stripper().event(event)] == [raw]
