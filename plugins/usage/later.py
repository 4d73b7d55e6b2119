"""Counts that are told later: polls of an answer that was asked for before, and batches' results.

Each report of the same answer bears the same id, so that whoever bills counts it once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol

import orjson

from gateway import Usage, read_json, read_usage

from .watching import Lines

# Where the results of a batch lie, a line for each of its requests; a file's content is no type.
_RESULTS: Final = re.compile(
    rb"(?:^|/)(?:batches/([^/?]+)/results|files/([^/?:]+)(?:/content|:download))(?:$|\?)"
)


def results_of(path: bytes) -> str | None:
    """The batch or file whose lines a path asks for, or None."""
    match = _RESULTS.search(path)
    return None if match is None else (match[1] or match[2]).decode("utf-8", "replace")


def is_report(method: bytes, path: bytes, usage: Usage) -> bool:
    """Whether an answer tells of an earlier one: nothing is made by a GET, and what is done to a
    response (a cancel) names it in the path.
    """
    if method == b"GET":
        return True
    named = None if usage.response_id is None else usage.response_id.encode()
    if named is None or path.find(named) < 0:
        return False
    return named in path.partition(b"?")[0].split(b"/")


class Price(Protocol):
    """What a model costs, as another plugin lends it."""

    @property
    def source(self) -> str: ...

    def cost(self, usage: Usage) -> int | None: ...


class Prices(Protocol):
    """The capability `prices`."""

    def price(self, provider: str, model: str, gateway: str = "default") -> Price | None: ...


class Results(Lines):
    """The lines of a batch, one answer each: OpenAI's, Anthropic's, Gemini's. Their sum counts.

    price: of a model, by its name. Each line has its own: another model may have answered, and a
    long answer has another price than many short ones. Where one of them is not known, the sum has
    none, and no model that it could be priced by.
    """

    __slots__ = ("_id", "_is_mixed", "_is_priced", "_is_unpriced", "_model", "_price")

    def __init__(self, identity: str, price: Callable[[str], Price | None] | None = None) -> None:
        super().__init__()
        self._id = identity
        self._price = price
        self._model: str | None = None
        self._is_mixed = False
        self._is_priced = False  # a line's model has a price
        self._is_unpriced = False  # the cost of a line is not known

    def end(self) -> None:
        super().end()
        usage = self.usage
        usage.response_id = self._id
        usage.finish_reason = None
        if self._is_unpriced:
            usage.cost_nanousd = usage.prices = None
        if self._is_mixed or (self._is_priced and self._is_unpriced):
            usage.model = None

    def _line(self, line: bytes) -> None:
        if line[:1] != b"{" or b"oken" not in line:
            return
        try:
            document = read_json(line)
        except orjson.JSONDecodeError as error:  # the others count
            self.usage.problem = f"a line was not read: {error}"
            return
        answer = Usage()
        for holder, member in (("response", "body"), ("result", "message")):
            part = document.get(holder)
            if isinstance(part, dict):
                read_usage(part.get(member, part), answer)
        if not answer.is_known:
            return
        usage = self.usage
        if usage.is_known and answer.model != self._model:
            self._is_mixed = True
            usage.problem = "lines of more than one model"
        self._model = answer.model
        answer.tier = "batch"
        self._charge(answer)
        usage.add(answer)

    def _charge(self, answer: Usage) -> None:
        if self._price is None:
            return
        price = None if answer.model is None else self._price(answer.model)
        if price is not None:
            self._is_priced = True
            answer.cost_nanousd = price.cost(answer)
            answer.prices = price.source
        if answer.cost_nanousd is None:
            self._is_unpriced = True
