from __future__ import annotations

from typing import Any

import orjson
import pytest

from plugins.mock.script import (
    ECHO_CHARACTERS_MAX,
    Ask,
    Refusal,
    Tool,
    asked,
    chosen,
    count,
    documents,
    example,
    number,
    plain,
    string,
    words,
    write,
)

ONE, TWO = Tool("one", {}), Tool("two", {})


def ask(**members: Any) -> Ask:
    return Ask(**{"model": "m", "message": "hi", "prompt_tokens": 3, "document": {}, **members})


def test_the_text_says_the_message_back() -> None:
    script = write(ask(), "You said: {message}", 7)

    assert script.pieces == ["You", " said:", " hi"]
    assert script.text == "You said: hi"
    assert (script.number, script.tokens, script.total_tokens) == (7, 3, 6)
    assert not script.is_cut_short


def test_a_long_message_is_not_said_back_whole() -> None:
    assert len(write(ask(message="x" * 10_000), "{message}", 1).text) == ECHO_CHARACTERS_MAX


@pytest.mark.parametrize(("most", "text"), [(2, "one two"), (3, "one two three"), (9, None)])
def test_a_limit_of_tokens_cuts_it_short(most: int, text: str | None) -> None:
    script = write(ask(tokens_max=most), "one two three four", 1)
    assert script.text == (text or "one two three four")
    assert script.is_cut_short is (text is not None)


def test_a_call_is_said_in_pieces_that_make_json_and_is_never_cut_short() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "number"}}}
    script = write(ask(tool=Tool("weather", schema), tokens_max=1), "unused", 1)

    assert len(script.pieces) > 1
    assert orjson.loads(script.text) == {"city": "hi", "n": 1}
    assert not script.is_cut_short


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "hi"),
        ({"type": "STRING"}, "hi"),
        ({"type": ["null", "string"]}, None),
        ({"type": "integer"}, 1),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "string"}}, ["hi"]),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 5}, 5),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"properties": {"a": {"type": "integer"}}}, {"a": 1}),
        ({"type": "object"}, {}),
        ({"$ref": "#"}, "hi"),
        (None, "hi"),
    ],
)
def test_an_example_fits_its_schema(schema: object, expected: object) -> None:
    assert example(schema, "hi") == expected


def test_a_schema_within_itself_comes_to_an_end() -> None:
    schema: dict[str, object] = {"type": "array"}
    schema["items"] = schema
    assert orjson.dumps(example(schema, "hi")).count(b"[") == 9


@pytest.mark.parametrize(
    ("tools", "choice", "answered", "expected"),
    [
        ([], None, False, None),
        ([ONE, TWO], None, False, ONE),
        ([ONE, TWO], "auto", False, ONE),
        ([ONE, TWO], "two", False, TWO),
        ([ONE, TWO], "two", True, TWO),
        ([ONE, TWO], "none", False, None),
        ([ONE, TWO], None, True, None),
    ],
)
def test_one_tool_is_chosen(
    tools: list[Tool], choice: str | None, answered: bool, expected: Tool | None
) -> None:
    assert chosen(tools, choice, answered=answered) == expected


def test_text_is_taken_from_any_form_of_content() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, "b", {"content": [{"text": "c"}]}, 5]
    assert plain("x") == "x"
    assert plain(parts) == "a b c"
    assert plain(None) == ""


def test_the_last_message_of_the_user_counts() -> None:
    messages: list[Any] = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "third"},
        {"role": "user", "content": None},
    ]
    assert asked(messages) == "second"
    assert asked([]) == ""


def test_tokens_are_words() -> None:
    assert words(" a  b\nc ") == [" a", "  b", "\nc"]
    assert count("a b", [{"text": "c"}], None) == 3
    assert count("") == 1


def test_members_are_what_they_should_be_or_refused() -> None:
    assert documents([{}, 1, "x", {"a": 1}]) == [{}, {"a": 1}]
    assert documents("no list") == []
    assert number({"a": 0, "b": "x", "c": 5}, "a", "b", "c") == 5
    assert number({}, "a") is None
    assert string({"a": "x"}, "a") == "x"
    with pytest.raises(Refusal, match="a: a text is required"):
        string({"a": 5}, "a")
