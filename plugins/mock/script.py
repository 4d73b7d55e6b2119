"""What is asked of the mock, whatever the format, and what it will say.

A format reads its request into an `Ask`; `write` makes the `Script` that the format then tells in
its own words, in as many pieces as a model would make tokens. Where tools are offered and none has
answered yet, the script is a call of one of them, with arguments made from its schema, so that a
client's loop of calls and results can be tried to its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import orjson

Document = dict[str, Any]

# Arguments of a tool call come in pieces of this many characters, for clients to put together.
ARGUMENT_PIECE: Final = 12
# Deeper than any schema of use; a schema may refer to itself.
SCHEMA_DEPTH_MAX: Final = 8
# As much of the last message as is said back.
ECHO_CHARACTERS_MAX: Final = 2000

_WORDS: Final = re.compile(r"\s*\S+")


class Refusal(Exception):
    """A request that gets an error; the format gives it its shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Tool(msgspec.Struct, frozen=True):
    """A function that the caller offers."""

    name: str
    schema: object


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request as all formats have it.

    message: the last thing the user said. tool: what is to be called, if anything.
    """

    model: str
    message: str
    prompt_tokens: int
    streaming: bool = False
    tool: Tool | None = None
    tokens_max: int | None = None
    document: Document


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What is said: text in pieces, or the arguments of a call. number: makes ids differ."""

    number: int
    pieces: list[str]
    tool: Tool | None
    is_cut_short: bool
    prompt_tokens: int

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        return len(self.pieces)

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.tokens


def write(ask: Ask, text: str, number: int) -> Script:
    """Decide what to say. `{message}` in the text is the user's last message."""
    if ask.tool is not None:
        made = example(ask.tool.schema, ask.message)
        # A tool's arguments are an object, also where its schema says nothing, or something else.
        arguments = orjson.dumps(made if isinstance(made, dict) else {}).decode()
        pieces = [*_slices(arguments)]
    else:
        pieces = words(text.replace("{message}", ask.message[:ECHO_CHARACTERS_MAX]))
    most = ask.tokens_max
    is_cut_short = ask.tool is None and most is not None and most < len(pieces)
    return Script(
        number=number,
        pieces=pieces[:most] if is_cut_short else pieces,
        tool=ask.tool,
        is_cut_short=is_cut_short,
        prompt_tokens=ask.prompt_tokens,
    )


def words(text: str) -> list[str]:
    """Cut a text into what stands for tokens: words with the space before them."""
    return _WORDS.findall(text)


def plain(content: object) -> str:
    """Take the text of a message's content: a string, or parts of which some are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(text for part in content if (text := _part(part)))
    return ""


def asked(messages: list[Document], content: str = "content") -> str:
    """Take the text of the last message that the user wrote."""
    for message in reversed(messages):
        text = plain(message.get(content))
        if message.get("role") == "user" and text:
            return text
    return ""


def count(*texts: object) -> int:
    """Count the tokens of contents; even an empty prompt has one."""
    return max(1, sum(len(words(plain(text))) for text in texts))


def chosen(tools: list[Tool], choice: str | None, *, answered: bool) -> Tool | None:
    """Choose the tool to call: the one asked for by name, else the first; none after a result.

    choice: a name, "none", or anything else for a free choice.
    """
    if not tools or choice == "none":
        return None
    named = [tool for tool in tools if tool.name == choice]
    if named:
        return named[0]
    return None if answered else tools[0]


def documents(value: object) -> list[Document]:
    """Take the objects of a list, or nothing of what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(document: Document, key: str) -> str:
    """Take a member that has to be there and to be text."""
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise Refusal(400, f"{key}: a text is required")
    return value


def number(document: Document, *keys: str) -> int | None:
    """Take the first of these members that is a number above zero."""
    found = (document.get(key) for key in keys)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def example(schema: object, message: str, depth: int = 0) -> object:
    """Make a value that fits a JSON schema, with the user's message where a text is wanted."""
    if not isinstance(schema, dict) or depth > SCHEMA_DEPTH_MAX:
        return message
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for either in ("anyOf", "oneOf", "allOf"):
        if documents(schema.get(either)):
            return example(documents(schema[either])[0], message, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    match str(kind).lower():
        case "object":
            properties = schema.get("properties")
            members = properties.items() if isinstance(properties, dict) else ()
            return {name: example(inner, message, depth + 1) for name, inner in members}
        case "array":
            return [example(schema.get("items"), message, depth + 1)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return message


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    text = part.get("text")
    return text if isinstance(text, str) else plain(part.get("content"))


def _slices(text: str) -> Iterator[str]:
    for start in range(0, len(text), ARGUMENT_PIECE):
        yield text[start : start + ARGUMENT_PIECE]
