from __future__ import annotations

import pytest

from bench.script import Script, line, parse, shape_of


@pytest.mark.parametrize(
    "text", ["sse=250 gap=5 size=400", "sse=250,gap=5,size=400", "sse=250+gap=5+size=400"]
)
def test_words_may_be_divided_as_a_header_or_a_query_likes(text):
    assert parse(text) == Script(sse=250, gap=5.0, size=400)


def test_what_is_written_wins_over_what_the_path_says():
    assert parse("shape=gemini", shape="openai").shape == "gemini"
    assert parse("", shape="anthropic").shape == "anthropic"


@pytest.mark.parametrize(
    "text",
    ["json", "json=many", "colour=red", "shape=bard", "sse=-1", "json=99999999999", "fault=smoke"],
)
def test_a_bad_word_is_refused_and_the_header_named(text):
    with pytest.raises(ValueError, match="x-bench"):
        parse(text)


def test_a_script_written_out_reads_back_the_same():
    script = Script(json=5, sse=3, gap=0.5, shape="gemini", status=429, fault="cut", after=2)
    assert parse(line(script)) == script


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (b"/v1/chat/completions", "openai"),
        (b"/v1/messages", "anthropic"),
        (b"/v1beta/models/g:generateContent", "gemini"),
        (b"/v1beta/models/g:streamGenerateContent?alt=sse", "gemini"),
    ],
)
def test_the_path_tells_whose_api_is_meant(target, shape):
    assert shape_of(target) == shape
