"""What is asked of an SDK, and what came of it.

A way to use an SDK is a generator: it gives the pieces of the text, and the calls of tools when
they are whole. `told` and `told_later` make a function of it that keeps what came and what was
raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

# What the caller pays with.
KEY: Final = "sk-of-the-caller"
PROMPT: Final = "Where does water flow?"
TIMEOUT_S: Final = 20.0
# The tool that may be called, and its arguments as JSON Schema.
TOOL: Final = "weather"
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
# The same as OpenAI's chat completions have it, and those who took the format over.
CHAT_TOOLS: Final[list[Any]] = [
    {"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}
]


class Question(NamedTuple):
    """base: the base URL, as the SDK wants it. key: None to bring none. tools: offer the tool."""

    base: str
    model: str
    streaming: bool = False
    headers: Mapping[str, str] = {}
    key: str | None = KEY
    tools: bool = False


class Call(NamedTuple):
    """A tool that was called, with its decoded arguments."""

    name: str
    arguments: Any


class Heard:
    """Puts calls together again whose arguments come in pieces."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._arguments: dict[int, str] = {}

    def add(self, index: int, name: str | None, arguments: str | None) -> None:
        self._names[index] = self._names.get(index, "") + (name or "")
        self._arguments[index] = self._arguments.get(index, "") + (arguments or "")

    def calls(self) -> Iterator[Call]:
        for index, name in self._names.items():
            yield Call(name, orjson.loads(self._arguments[index]))


class TellsOfAnError(Exception):
    """The SDK gave an event that tells of an error, where others raise."""


class Fault(NamedTuple):
    """What an SDK raised. kinds: the names of its class and of those above it."""

    kinds: tuple[str, ...]
    status: int | None
    text: str


class Got:
    """What an SDK gave. arrived_s: when each piece of the text came (monotonic clock)."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.arrived_s: list[float] = []
        self.calls: list[Call] = []
        self.fault: Fault | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def kinds(self) -> tuple[str, ...]:
        return () if self.fault is None else self.fault.kinds

    def add(self, piece: str | Call | None) -> None:
        if isinstance(piece, Call):
            self.calls.append(piece)
        elif piece:
            self.pieces.append(piece)
            self.arrived_s.append(time.monotonic())

    def raised(self, error: Exception) -> None:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        kinds = tuple(kind.__name__ for kind in type(error).__mro__)
        body = getattr(error, "body", "")
        self.fault = Fault(kinds, status if isinstance(status, int) else None, f"{error} {body}")


def told(tell: Callable[[Question], Iterator[str | Call | None]]) -> Callable[[Question], Got]:
    def ask(question: Question) -> Got:
        got = Got()
        try:
            for piece in tell(question):
                got.add(piece)
        except Exception as error:
            got.raised(error)
        return got

    return ask


def told_later(
    tell: Callable[[Question], AsyncIterator[str | Call | None]],
) -> Callable[[Question], Got]:
    async def listen(question: Question) -> Got:
        got = Got()
        try:
            async for piece in tell(question):
                got.add(piece)
        except Exception as error:
            got.raised(error)
        return got

    return lambda question: asyncio.run(listen(question))
