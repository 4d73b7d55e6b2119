"""What a body says, however it is wrapped, and the same body with some of it replaced."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from plugins.logs.readable import CHARS_MAX, Said, words_of
from plugins.logs.records import Body

SSE = "text/event-stream"


def body(data: bytes, kind: str = "application/json", *, is_cut: bool = False) -> Body:
    return Body(data, kind, len(data), is_cut)


def sse(*documents: Any) -> bytes:
    return b"".join(b"event: e\ndata: " + orjson.dumps(each) + b"\n\n" for each in documents)


def openai(*texts: str, index: int = 0) -> list[Any]:
    return [{"choices": [{"index": index, "delta": {"content": text}}]} for text in texts]


STREAMS = {
    "openai": sse(*openai("Ni", "ne ", "li", "ves")) + b"data: [DONE]\n\n",
    "openai text": sse(*({"choices": [{"index": 0, "text": t}]} for t in ("Nine l", "ives"))),
    "reasoning": sse(
        *(
            {"choices": [{"index": 0, "delta": {"reasoning_content": t}}]}
            for t in ("Nin", "e lives")
        )
    ),
    "tools": sse(
        *(
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": call}]}}]}
            for call in ({"arguments": '{"a":"nine li'}, {"arguments": 'ves"}'})
        )
    ),
    "responses": sse(
        *(
            {"type": "response.output_text.delta", "output_index": 0, "delta": text}
            for text in ("nine", " ", "lives")
        )
    ),
    "anthropic": sse(
        {"type": "message_start", "message": {"model": "claude"}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}}
            for t in ("n", "ine liv", "es")
        ),
    ),
    "gemini": sse(
        *({"candidates": [{"content": {"parts": [{"text": t}]}}]} for t in ("nine li", "ves"))
    ),
    "cohere": sse(
        *({"delta": {"message": {"content": {"text": t}}}} for t in ("nine ", "l", "ives"))
    ),
    "cut": sse(*openai("nine liv", "es")) + b'data: {"choices":[{"ind',
    "no last blank line": sse(*openai("nine liv", "es"))[:-2],
    "CRLF": sse(*openai("nine liv", "es")).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_word_that_lies_in_several_events_is_one(name):
    found = words_of(body(STREAMS[name], SSE))
    assert "nine lives" in found
    assert "claude" not in found


def test_several_answers_of_a_stream_are_told_apart():
    mixed = [
        each
        for pair in zip(openai("re", "d"), openai("bl", "ue", index=1), strict=True)
        for each in pair
    ]
    assert words_of(body(sse(*mixed), SSE)) == "red blue"


@pytest.mark.parametrize(
    ("data", "kind", "wanted"),
    [
        (b'{"messages":[{"role":"user","content":"Hi\\nthere"}],"n":3}', "", "user hi there"),
        (b'["one",{"b":["two"]}]', "application/json", "one two"),
        (b'{"a":"cut in th', "application/json", "a cut in th"),
        (b'{"a":"line\\nbreak \\u00e9t\\u00e9 \\ud800', "application/json", "a line break été"),
        (b"plain text", "text/plain", "plain text"),
        (b"\xff\xfe\x00\x01", "application/octet-stream", ""),
        ("naïv".encode()[:-2] + b"\xc3", "text/plain", "na"),
        (b"", "", ""),
        (b'{"response":"ni"}\n{"response":"ne"}\n', "application/x-ndjson", "nine"),
        (b"x" * 600 + b" word", "text/plain", "word"),
        (json.dumps({"image": "A" * 600, "b": "word"}).encode(), "", "word"),
    ],
)
def test_what_is_said_is_found(data, kind, wanted):
    assert words_of(body(data, kind)) == wanted


def test_both_bodies_are_searched_and_none_without_bounds():
    assert words_of(body(b'"a"', "text/plain"), None, body(b"b", "text/plain")) == "a b"
    assert len(words_of(body(b"word " * CHARS_MAX, "text/plain"))) <= CHARS_MAX


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_nobody_changes_is_the_same(name):
    assert Said(body(STREAMS[name], SSE)).data() == STREAMS[name]


@pytest.mark.parametrize("name", STREAMS)
def test_a_text_of_a_stream_is_replaced_across_its_events(name):
    said = Said(body(STREAMS[name], SSE))
    (place,) = [n for n, text in enumerate(said.texts) if "ine lives" in text.lower()]
    said.replace(place, "gone")
    again = Said(body(said.data(), SSE))
    assert "gone" in again.texts
    assert "lives" not in words_of(body(said.data(), SSE))
    assert len(again.texts) == len(said.texts)
    assert said.data().count(b"\n") == STREAMS[name].count(b"\n")


def test_a_text_of_a_document_is_replaced_where_it_stands():
    said = Said(body(b' {"a": ["x", {"b": "y"}], "c": "x"}'.strip()))
    assert said.texts == ["x", "x", "y"] or sorted(said.texts) == ["x", "x", "y"]
    said.replace(said.texts.index("y"), "z")
    assert orjson.loads(said.data()) == {"a": ["x", {"b": "z"}], "c": "x"}


def test_all_texts_of_a_document_are_seen_however_deep():
    deep = b'{"a":' * 900 + b'"\\u0078"' + b"}" * 900
    assert Said(body(deep)).texts == ["x"]


def test_an_escape_hides_no_text_of_a_stream():
    plain, escaped = sse({"id": "secret", "choices": []}), b'data: {"id":"\\u0073ecret"}\n\n'
    said = Said(body(plain + escaped, SSE))
    assert said.said == []
    assert said.texts == ["secret"]
    said.replace(0, "***")
    assert said.data().endswith(b'data: {"id":"***"}\n\n')


def test_a_piece_with_an_escape_is_one_text():
    said = Said(body(sse(*openai("a\n", "b")), SSE))
    assert said.texts == ["a\nb"]


def test_an_event_of_several_lines_stays_as_it_is():
    data = b'data: {"text":\ndata: "x"}\n\n'
    said = Said(body(data, SSE))
    assert (said.texts, said.data()) == ([], data)
