"""Counts that are told later: polls of an answer that was asked for before, and batches' results.

Each report of the same answer bears the same id, so that whoever bills counts it once.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from gateway import Usage, read_usage

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
    return named is not None and named in path and named in path.partition(b"?")[0].split(b"/")


class Results(Lines):
    """The lines of a batch, one answer each: OpenAI's, Anthropic's, Gemini's. Their sum counts."""

    __slots__ = ("_id",)

    def __init__(self, identity: str) -> None:
        super().__init__()
        self._id = identity

    def end(self) -> None:
        super().end()
        self.usage.response_id = self._id
        self.usage.finish_reason = None

    def _line(self, line: bytes) -> None:
        if line[:1] != b"{" or b"oken" not in line:
            return
        document = orjson.loads(line)
        answer = Usage()
        for holder, member in (("response", "body"), ("result", "message")):
            part = document.get(holder)
            if isinstance(part, dict):
                read_usage(part.get(member, part), answer)
        if answer.is_known:
            if self.usage.model not in (None, answer.model):
                self.usage.problem = "lines of more than one model"
            self.usage.add(answer)
            self.usage.tier = "batch"
